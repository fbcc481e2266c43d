from typing import NamedTuple, Self, final

class Share(NamedTuple):
    """What the spinner of one CPU found."""

    cpu: int
    idle: float
    """Share of the time, 0 to 1."""
    unit_us: float
    """Time that one unit of work takes there."""

@final
class Spinners:
    """A thread on each CPU that works where nobody else does; they end with this object."""

    def __new__(cls, cpus: list[int]) -> Self:
        """Start the threads and find out how long their unit of work takes. Raises OSError."""
    def begin(self) -> None:
        """Work from now on, at the lowest priority there is."""
    def end(self) -> list[Share]:
        """Let the threads end, and tell what each found since `begin`; does not wait for them."""
    @property
    def unit_us(self) -> list[float]: ...

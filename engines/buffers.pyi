from typing import Any, Self, final

@final
class Buffers:
    """`count` buffers of `length` bytes, in memory of the kind that `mem` names; given back with the object."""

    def __new__(cls, options: dict[str, Any], length: int, count: int) -> Self:
        """Raises SetupError where there is no such memory here, or not so much of it."""
    @property
    def size(self) -> int: ...
    @property
    def stride(self) -> int: ...
    def view(self) -> memoryview:
        """All of it, to be looked at while the object lives."""

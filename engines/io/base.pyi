from typing import Self

from typing_extensions import disjoint_base

class EngineUnavailable(OSError):
    """This host does not allow the engine; another one may do."""

@disjoint_base
class IoEngine:
    """One way to hand an I/O to the kernel, for one target. Subclasses are named `Engine`, one a module."""

    def __new__(cls, fd: int, iodepth: int) -> Self: ...
    @property
    def notes(self) -> list[str]: ...

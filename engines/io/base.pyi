# Native only: nothing here for Python to call.
from typing import Any, Self

from typing_extensions import disjoint_base

from iovigil.engines.target import TargetFiles

class EngineUnavailable(OSError):
    """This host does not allow the engine; another one may do."""

@disjoint_base
class IoEngine:
    """One way to hand I/Os to the kernel, for the files of one job. Subclasses are named `Engine`, one a module."""

    def __new__(cls, targets: TargetFiles, iodepth: int, options: dict[str, Any]) -> Self: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def options(self) -> dict[str, Any]: ...

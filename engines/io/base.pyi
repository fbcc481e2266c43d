class EngineUnavailable(OSError):
    """This host does not allow the engine; another one may do."""

class IoEngine:
    """One way to hand an I/O to the kernel, for one target. Subclasses are named `Engine`, one a module."""

    def __init__(self, fd: int, iodepth: int) -> None: ...
    @property
    def notes(self) -> list[str]: ...

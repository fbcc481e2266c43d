from collections.abc import Sequence
from typing import final

@final
class Recorder:
    """Writes `microseconds file action offset length` for each I/O that a job starts."""

    def __init__(self, path: str, names: Sequence[str]) -> None: ...
    @property
    def notes(self) -> list[str]:
        """What people should know: a log that could not be written to its end."""
    def begin(self, now_ns: int) -> None:
        """The job begins: time 0 of the log."""
    def add(self, ddir: int, file: int, offset: int, length: int, now_ns: int) -> bool:
        """Record one I/O, as the loop does."""
    def finish(self, now_ns: int) -> None:
        """Write everything and close the file."""

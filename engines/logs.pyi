from collections.abc import Mapping
from typing import Any, final

from iovigil.engines.stats import StatsPage

@final
class Logs:
    """What a job logs besides its results, by its options; the files lie in the current directory."""

    def __init__(self, options: Mapping[str, Any], number: int, capacity: int = ...) -> None: ...
    @property
    def is_wanted(self) -> bool:
        """Whether the job asked for any log."""
    @property
    def notes(self) -> list[str]:
        """What people should know: logs that could not be written to their end."""
    def begin(self, epoch_ns: int) -> None:
        """Measuring begins: time 0 of the logs."""
    def add(self, ddir: int, offset: int, length: int, start_ns: int, issued_ns: int, completed_ns: int) -> bool:
        """Log one I/O, as the loop does."""
    def tick(self, page: StatsPage, now_ns: int) -> int:
        """Close what is due; returns when to come again, 0 for never."""
    def finish(self, page: StatsPage, now_ns: int) -> None:
        """Write everything and close the files."""

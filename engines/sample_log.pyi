from collections.abc import Mapping
from typing import Any, Final, final

LOG_NAMES: Final[tuple[str, ...]]

def log_path(prefix: str, name: str, number: int, is_per_job: bool) -> str:
    """Where fio writes a log: NAME_bw.1.log, or NAME_bw.log for jobs that share one."""

@final
class SampleLog:
    """Lines of `time_ms, value, ddir, bs[, offset], priority[, issue_ns]`, in the files that the options ask for."""

    def __init__(self, options: Mapping[str, Any], number: int, capacity: int = ...) -> None: ...
    @property
    def is_wanted(self) -> bool: ...

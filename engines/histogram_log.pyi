from collections.abc import Mapping
from typing import Any, final

@final
class HistogramLog:
    """Lines of `time_ms, ddir, bs, bucket 0, bucket 1, ...`, each the difference to the one before."""

    def __init__(self, options: Mapping[str, Any], number: int) -> None: ...
    @property
    def is_wanted(self) -> bool: ...

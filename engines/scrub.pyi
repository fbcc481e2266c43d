from typing import Any, Self, final

from iovigil.engines.dumps import Dumps
from iovigil.engines.stats import StatsPage
from iovigil.engines.target import TargetFiles

@final
class Scrub:
    """The scrub of one region, in windows: read and checked, some of it written anew, flushed, booked."""

    notes: list[str]
    def __new__(
        cls,
        stats: StatsPage,
        targets: TargetFiles,
        order: dict[str, Any],
        block_bytes: int,
        dumps: Dumps,
    ) -> Self: ...

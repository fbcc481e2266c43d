from typing import Any, Self, final

from iovigil.engines.stats import StatsPage
from iovigil.engines.target import TargetFiles

@final
class Integrity:
    """The write log of a job, the headers of its blocks, and the judgement on blocks read."""

    def __new__(
        cls, stats: StatsPage, targets: TargetFiles, options: dict[str, Any], number: int, seed: int, interval: int
    ) -> Self: ...

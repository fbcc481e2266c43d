from typing import Self, final

from iovigil.engines.dumps import Dumps
from iovigil.engines.stats import StatsPage

@final
class Findings:
    """The bad blocks of a job, on its page and, where they are wanted, in files."""

    def __new__(cls, stats: StatsPage, dumps: Dumps) -> Self: ...

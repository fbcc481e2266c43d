from collections.abc import Sequence

from iovigil.engines.stats import StatsPage

def pre_read(page: StatsPage, regions: Sequence[tuple[int, int, int, int]]) -> bool:
    """Read each (descriptor, size, start, length) from end to end, or until the stop word.

    Returns whether all could be read; if not, the page holds the error and the job is over.
    """

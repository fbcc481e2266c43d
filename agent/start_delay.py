"""How late runs are started: from the planned time to the child, as a distribution."""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

# A tick that is on time takes milliseconds; a start that waits may wait until the next one is due.
BOUNDS_S: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class StartDelays:
    """Counts by delay, and their sum."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def note(self, delay_s: float) -> None:
        delay_s = max(delay_s, 0.0)
        self._counts[bisect_left(BOUNDS_S, delay_s)] += 1
        self.sum_s += delay_s

    @property
    def count(self) -> int:
        return sum(self._counts)

    def buckets(self) -> Sequence[tuple[str, float]]:
        """(upper bound, starts up to it), the last one +Inf."""
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        return list(zip(bounds, itertools.accumulate(self._counts), strict=True))

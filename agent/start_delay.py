"""How late runs are started: from the planned time to the child, as a distribution."""

import itertools
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

# A tick that is on time takes milliseconds; a start that waits may wait until the next one is due.
BOUNDS_S: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
INFINITE: Final = "+Inf"


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

    def by_bound(self) -> dict[str, int]:
        """Starts by the upper bound of their delay, fit to be kept."""
        return dict(zip([*map(str, BOUNDS_S), INFINITE], self._counts, strict=True))

    def restore(self, by_bound: Mapping[str, int], sum_s: float) -> None:
        """Add what was kept, be it of other bounds. Raises ValueError, and adds nothing then."""
        known = [(float(bound), count) for bound, count in by_bound.items()]
        for bound_s, count in known:
            self._counts[bisect_left(BOUNDS_S, bound_s)] += count
        self.sum_s += sum_s

    def buckets(self) -> Sequence[tuple[str, float]]:
        """(upper bound, starts up to it), the last one +Inf."""
        bounds = [*map(str, BOUNDS_S), INFINITE]
        return list(zip(bounds, itertools.accumulate(self._counts), strict=True))

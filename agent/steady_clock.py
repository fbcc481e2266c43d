"""The clock on the wall, for who throws old things away: it is believed when it has gone on steadily for hours."""

import math
import time
from collections.abc import Callable
from typing import Final

STEADY_S: Final = 6 * 3600.0
JUMP_S: Final = 60.0


def since_boot_s() -> float:
    """Time that nobody sets, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """A host that starts with a wrong clock, or is given one, must not take all that it remembers for old."""

    def __init__(
        self, wall_unix: Callable[[], float] = time.time, passed_s: Callable[[], float] = since_boot_s
    ) -> None:
        self._wall_unix = wall_unix
        self._passed_s = passed_s
        self._offset_s = math.inf
        self._since_s = 0.0

    def now_unix(self) -> float:
        """The time, and minus infinity, before which nothing is old, until it can be believed; to be asked often."""
        passed_s, wall_unix = self._passed_s(), self._wall_unix()
        offset_s = wall_unix - passed_s
        if abs(offset_s - self._offset_s) > JUMP_S:
            self._since_s = passed_s
        self._offset_s = offset_s
        return wall_unix if passed_s - self._since_s >= STEADY_S else -math.inf

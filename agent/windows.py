"""Time windows: when, by the clock on the wall of a time zone, a planned start may take place."""

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY: Final = "mon-sun"
DAY_S: Final = 86_400
TIME: Final = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
STEP_S: Final = 6 * 3600  # no zone changes its offset twice within so short a time
FARTHEST_S: Final = 64 * DAY_S


class Span(NamedTuple):
    """A stretch of time, its end not included."""

    start_unix: float
    end_unix: float


def parse_days(text: str) -> frozenset[int]:
    """Return the numbers of `mon-fri`, `sat,sun` or `fri-mon`, Monday being 0. Raises ValueError."""
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        for word in (first, last) if dash else (first,):
            if word not in WEEKDAYS:
                raise ValueError(f"{word or 'nothing'} is not a day: {', '.join(WEEKDAYS)}, as in mon-fri or sat,sun")
        start = WEEKDAYS.index(first)
        length = (WEEKDAYS.index(last) - start) % 7 if dash else 0
        days.update((start + number) % 7 for number in range(length + 1))
    return frozenset(days)


def parse_time_s(text: str) -> int:
    """Return the seconds since midnight of `22:00`; `24:00` is the end of the day. Raises ValueError."""
    match = TIME.fullmatch(text)
    time_s = int(match[1]) * 3600 + int(match[2]) * 60 if match else math.inf
    if time_s > DAY_S:
        raise ValueError(f"{text} is not a time of day: 00:00 to 24:00, as 22:30")
    return int(time_s)


def spell_time_of_day(time_s: int) -> str:
    return f"{time_s // 3600:02d}:{time_s % 3600 // 60:02d}"


@dataclass(frozen=True)
class Window:
    """From one time of day to another, on these days; one that ends before it begins ends on the day after."""

    days: frozenset[int]
    from_s: int
    to_s: int

    def __str__(self) -> str:
        days = "every day" if len(self.days) == 7 else ",".join(WEEKDAYS[day] for day in sorted(self.days))
        return f"{days} {spell_time_of_day(self.from_s)}-{spell_time_of_day(self.to_s)}"

    @property
    def length_s(self) -> int:
        return (self.to_s - self.from_s) % DAY_S or DAY_S

    def shows(self, weekday: int, time_s: float) -> bool:
        """Whether a clock that shows this is within the window."""
        if self.from_s < self.to_s:
            return weekday in self.days and self.from_s <= time_s < self.to_s
        return (weekday in self.days and time_s >= self.from_s) or (
            (weekday - 1) % 7 in self.days and time_s < self.to_s
        )


@dataclass(frozen=True)
class Windows:
    """All windows of a probe; none at all is always.

    A window is open while the clock on the wall shows a time within it. So in the night in which clocks are put back
    an hour that comes twice is open twice, and one that clocks leave out is not there to be open.
    """

    windows: tuple[Window, ...] = ()
    zone: ZoneInfo | None = None
    """None is the zone of the host."""

    @property
    def are_always(self) -> bool:
        return not self.windows

    @property
    def shortest_s(self) -> float:
        return min((window.length_s for window in self.windows), default=math.inf)

    def is_open(self, unix: float) -> bool:
        if not self.windows:
            return True
        wall = self._wall(unix)
        time_s = wall.hour * 3600 + wall.minute * 60 + wall.second + wall.microsecond / 1e6
        return any(window.shows(wall.weekday(), time_s) for window in self.windows)

    def spans(self, from_unix: float, to_unix: float) -> Iterator[Span]:
        """The stretches of open time between the two, in order, none touching the next."""
        if from_unix >= to_unix:
            return
        edges = sorted({from_unix, *(edge for edge in self._edges(from_unix, to_unix) if from_unix < edge < to_unix)})
        start_unix: float | None = None
        for edge in edges:
            is_open = self.is_open(edge)
            if is_open and start_unix is None:
                start_unix = edge
            elif not is_open and start_unix is not None:
                yield Span(start_unix, edge)
                start_unix = None
        if start_unix is not None:
            yield Span(start_unix, to_unix)

    def next_open_unix(self, unix: float) -> float:
        """The first moment from `unix` on at which a window is open; infinity where that is too far to tell."""
        if self.is_open(unix):
            return unix
        days_s = 2 * DAY_S
        while days_s <= FARTHEST_S:
            for span in self.spans(unix, unix + days_s):
                return span.start_unix
            days_s *= 2
        return math.inf

    def _wall(self, unix: float) -> datetime:
        return datetime.fromtimestamp(unix, self.zone).replace(tzinfo=None)

    def _edges(self, from_unix: float, to_unix: float) -> Iterator[float]:
        """The moments at which it may open or close: the clock shows an edge of a window, or is put forward or back."""
        times_s = {time_s for window in self.windows for time_s in (window.from_s, window.to_s)} | {0}
        day = self._wall(from_unix).date()
        last = self._wall(to_unix).date()
        while day <= last:
            midnight = datetime.combine(day, time())
            for time_s in times_s:
                for fold in (0, 1):
                    wall = (midnight + timedelta(seconds=time_s)).replace(tzinfo=self.zone, fold=fold)
                    yield wall.timestamp()
            day += timedelta(days=1)
        before = math.floor(from_unix)
        while before < to_unix:
            after = before + STEP_S
            if self._offset_s(before) != self._offset_s(after):
                yield self._change(before, after)
            before = after

    def _change(self, before: int, after: int) -> float:
        """When between the two the zone changes its offset; that is on a whole second."""
        offset_s = self._offset_s(before)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset_s(middle) == offset_s:
                before = middle
            else:
                after = middle
        return float(after)

    def _offset_s(self, unix: float) -> float:
        return (self._wall(unix) - datetime.fromtimestamp(unix, UTC).replace(tzinfo=None)).total_seconds()


ALWAYS: Final = Windows()

# A fixed time of both halves of a year, so that what is chosen by it stays: in one of them clocks are put forward.
REFERENCES_UNIX: Final = (
    datetime(2026, 1, 5, tzinfo=UTC).timestamp(),
    datetime(2026, 7, 6, tzinfo=UTC).timestamp(),
)
REFERENCE_S: Final = 28 * DAY_S


@functools.lru_cache(maxsize=64)
def reference_halves(windows: Windows, length_s: float) -> tuple[tuple[Span, ...], ...]:
    """The open time of a winter, and of a summer, each at least so long."""
    length_s = max(length_s, REFERENCE_S)
    return tuple(tuple(windows.spans(start, start + length_s)) for start in REFERENCES_UNIX)

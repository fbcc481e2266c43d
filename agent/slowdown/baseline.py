"""Baseline: what an operation usually costs at one foreign load, with a memory that does not get used to decay."""

import math
from typing import Final

import msgspec

from iovigil.agent.slowdown.figures import UNKNOWN, Figures, medians, spreads
from iovigil.agent.slowdown.sample import Last, Pick

WARM_RUNS: Final = 30
"""Without so many nothing is said."""
SETTLED_S: Final = 86_400.0
"""For so long it learns from every run, slow ones too: the first day is what all others are measured by."""
DAY_S: Final = 86_400.0
LEAST_A_DAY: Final = 4
FIRST_DAY_KEPT: Final = 64
DAY_KEPT: Final = 24
DAYS: Final = 28
SPREAD_DAYS: Final = 7
DAYS_TO_MOVE: Final = 7
"""So many days outweigh the first one."""
MOST_DRIFT: Final = math.log(1.25)
"""Above the best it ever settled at. A disk that ages by a little each day must not teach it to call that usual."""


class BaselineState(msgspec.Struct, array_like=True):
    """What is kept of a baseline for the next agent."""

    runs: int
    began_unix: float
    anchor: Figures | None
    first: tuple[bytes, int, int]
    today: tuple[bytes, int, int]
    today_unix: float
    days: bytes
    day_spreads: bytes


class Baseline:
    """The first day's median is its anchor; from there it moves by the median of the last weeks, upwards a little only.

    Runs that are slow are not to be shown to it: who judges them knows.
    """

    __slots__ = ("_anchor", "_days", "_first", "_spreads", "_today", "_today_unix", "began_unix", "runs", "spread",
                 "usual")  # fmt: skip

    def __init__(self, began_unix: float) -> None:
        self.runs = 0
        self.began_unix = began_unix
        self.usual = UNKNOWN
        self.spread = UNKNOWN
        self._anchor: Figures | None = None
        self._first = Pick(FIRST_DAY_KEPT)
        self._today = Pick(DAY_KEPT)
        self._today_unix = began_unix
        self._days = Last(DAYS)
        self._spreads = Last(SPREAD_DAYS)

    @property
    def is_warm(self) -> bool:
        return self.runs >= WARM_RUNS

    @property
    def is_settled(self) -> bool:
        return self._anchor is not None

    def learn(self, run: Figures, now_unix: float) -> None:
        self.runs += 1
        if self._anchor is None:
            self._learn_first(run, now_unix)
        else:
            self._today.add(run)
            if now_unix < self._today_unix:  # the clock was set back
                self._today_unix = now_unix
            if now_unix - self._today_unix >= DAY_S and len(self._today) >= LEAST_A_DAY:
                self._end_day(now_unix)

    def _learn_first(self, run: Figures, now_unix: float) -> None:
        is_taken = self._first.add(run)
        self.began_unix = min(self.began_unix, now_unix)
        is_over = self.is_warm and now_unix - self.began_unix >= SETTLED_S
        if is_taken or is_over:
            rows = self._first.rows()
            self.usual = medians(rows)
            self.spread = spreads(rows, self.usual)
        if is_over:
            self._anchor = self.usual
            self._spreads.add(self.spread)
            self._first.clear()
            self._today_unix = now_unix

    def _end_day(self, now_unix: float) -> None:
        rows = self._today.rows()
        middle = medians(rows)
        self._days.add(middle)
        self._spreads.add(spreads(rows, middle))
        self._today.clear()
        self._today_unix = now_unix
        self._weigh()

    def _weigh(self) -> None:
        """What is usual by now, of the days and the anchor."""
        assert self._anchor is not None
        of_weeks = medians([*self._days.rows(), *[self._anchor] * (DAYS_TO_MOVE - len(self._days))])
        self._anchor = Figures(*map(lower, self._anchor, of_weeks))
        self.usual = Figures(
            *(lower(anchor + MOST_DRIFT, now) for anchor, now in zip(self._anchor, of_weeks, strict=True))
        )
        self.spread = medians(self._spreads.rows())

    def state(self) -> BaselineState:
        return BaselineState(
            self.runs,
            self.began_unix,
            self._anchor,
            self._first.state(),
            self._today.state(),
            self._today_unix,
            self._days.data(),
            self._spreads.data(),
        )

    @classmethod
    def restored(cls, state: BaselineState) -> "Baseline":
        """Raises ValueError."""
        self = cls(state.began_unix)
        self.runs = state.runs
        self._anchor = state.anchor
        self._first = Pick(FIRST_DAY_KEPT, state.first)
        self._today = Pick(DAY_KEPT, state.today)
        self._today_unix = state.today_unix
        self._days, self._spreads = Last(DAYS, state.days), Last(SPREAD_DAYS, state.day_spreads)
        if self._anchor is not None:
            self._weigh()
        else:
            rows = self._first.rows()
            self.usual = medians(rows)
            self.spread = spreads(rows, self.usual) if rows else UNKNOWN
        return self


def lower(one: float, other: float) -> float:
    """The lower of two; the one that is known where one is not."""
    return other if math.isnan(one) else one if math.isnan(other) else min(one, other)

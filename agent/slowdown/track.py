"""Track: one operation of one probe on one disk, run by run against what is usual there."""

import enum
import math
from collections import deque
from typing import Final, NamedTuple

import msgspec

from iovigil.agent.slowdown import score
from iovigil.agent.slowdown.baseline import Baseline, BaselineState
from iovigil.agent.slowdown.figures import Figures, middle_of
from iovigil.agent.slowdown.foreign_load import ForeignLoad

LEAST_IOS: Final = 30
LEAST_IOS_P99: Final = 300
LOADS: Final = (0.05, 0.15, 0.3, 0.5)
"""Foreign I/Os in flight, on average, up to which runs are compared with each other. Above the last one every second
I/O waits for others: what takes longer there says nothing about the disk."""
SLOW: Final = math.log(1.7)
SPREADS: Final = 4.0
MOST_ALLOWED: Final = math.log(3.0)
TAIL: Final = math.log(2.5)
"""The 99th percentile of a healthy disk moves by so much more than its median."""
LEARNT: Final = math.log(1.5)
"""From what takes longer nothing is learnt."""
LEAST_EXCESS_S: Final = 30e-6
"""What is slower by less is the CPU."""
MOST_LOGARITHM: Final = 100.0
RECENT_S: Final = 3600.0
RECENT_RUNS: Final = 15
LEAST_IDLE_S: Final = 3600.0
IDLE_INTERVALS: Final = 4.0
"""The first run after a rest that long wakes the disk."""


class State(enum.StrEnum):
    """What can be said of a disk by the last run."""

    LEARNING = "learning"
    USUAL = "usual"
    SLOW = "slow"
    NODE = "node"  # slow, with most other disks
    BUSY = "busy"  # cannot tell: too much foreign load
    FEW = "few"  # cannot tell: too few I/Os, a failed run, the first after a rest, or an unknown load


class Measurement(NamedTuple):
    """One operation of one run that succeeded."""

    ended_unix: float
    interval_s: float
    ios: int
    p50_s: float
    p99_s: float
    bytes_per_second: float
    load: ForeignLoad


class TrackState(msgspec.Struct, kw_only=True):
    """What is kept of a track for the next agent. Fields may come and go."""

    score: float
    last_unix: float
    baselines: dict[int, BaselineState]
    ratio: float = math.nan
    state: str = State.LEARNING
    recent: list[tuple[float, float]] = []


class Track:
    """Keeps a baseline for each foreign load, the ratios of the last hour, and the score."""

    __slots__ = ("_baselines", "_recent", "_time_s", "_usual", "last_unix", "ratio", "score", "state")

    def __init__(self) -> None:
        self.score = 0.0
        self.ratio = math.nan
        """How many times as slow as usual, the last hour over; NaN before anything can be said."""
        self.state = State.LEARNING
        self.last_unix = 0.0
        self._baselines: dict[int, Baseline] = {}
        self._usual: Baseline | None = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT_RUNS)
        self._time_s = 0.0

    def look(self, run: Measurement) -> State:
        """Judge a run and learn from it; the score waits for `settle`."""
        gap_s = run.ended_unix - self.last_unix
        self._time_s = min(max(gap_s, 0.0), 2 * run.interval_s) if self.last_unix else 0.0
        is_rested = self.last_unix > 0 and gap_s > max(LEAST_IDLE_S, IDLE_INTERVALS * run.interval_s)
        self.last_unix = run.ended_unix
        self.state = self._judged(run, is_rested)
        return self.state

    def settle(self, *, is_node_slow: bool) -> None:
        """Have the last run count, unless most other disks are slow as well."""
        if self.state is State.SLOW and is_node_slow:
            self.state = State.NODE
        elif self.state is State.SLOW:
            self.score = score.after_slow(self.score, self.ratio, self._time_s)
        elif self.state is State.USUAL:
            self.score = score.after_usual(self.score, self._time_s)

    def _judged(self, run: Measurement, is_rested: bool) -> State:
        if run.ios < LEAST_IOS or not run.p50_s > 0 or is_rested:
            return State.FEW
        place = self.place_of(run)
        if place is None:
            return State.BUSY
        found = figures_of(run)
        baseline = self._baselines.get(place)
        if baseline is None:
            baseline = self._baselines[place] = Baseline(run.ended_unix)
        self._usual = baseline
        if not baseline.is_warm:
            if self.score < 0.1 and self.state is not State.SLOW:
                baseline.learn(found, run.ended_unix)
            return State.LEARNING
        slowness = slowness_of(found, baseline)
        self._recent.append((run.ended_unix, slowness))
        recent = middle_of([each for at_unix, each in self._recent if abs(run.ended_unix - at_unix) < RECENT_S])
        self.ratio = math.exp(recent)
        if not baseline.is_settled or max(slowness, recent) < LEARNT:
            baseline.learn(found, run.ended_unix)
        return State.SLOW if recent >= SLOW else State.USUAL

    def place_of(self, run: Measurement) -> int | None:
        """Which baseline is that of this foreign load; None where it is too much."""
        if run.load.in_flight <= LOADS[0]:
            return 0
        quiet = self._baselines.get(0)
        usual_s = math.exp(quiet.usual.p50) if quiet is not None and quiet.is_warm else math.inf
        # A disk that is slow has more in its queue of the same work: by its usual speed that is little.
        load = min(run.load.in_flight, run.load.demand(usual_s))
        return next((place for place, most in enumerate(LOADS) if load <= most), None)

    @property
    def usual(self) -> Figures | None:
        """What is usual at the foreign load of the last run; None before that is known."""
        return self._usual.usual if self._usual is not None and self._usual.is_warm else None

    @property
    def runs(self) -> int:
        """How many runs that was learnt from."""
        return self._usual.runs if self._usual is not None else 0

    def kept(self) -> TrackState:
        return TrackState(
            score=self.score,
            last_unix=self.last_unix,
            ratio=self.ratio,
            state=self.state,
            recent=list(self._recent),
            baselines={place: baseline.state() for place, baseline in self._baselines.items()},
        )

    @classmethod
    def restored(cls, kept: TrackState) -> "Track":
        """Raises ValueError."""
        track = cls()
        track.score, track.last_unix, track.ratio = kept.score, kept.last_unix, kept.ratio
        track.state = State(kept.state)
        track._recent.extend(kept.recent)
        track._baselines = {place: Baseline.restored(state) for place, state in kept.baselines.items()}
        usual = [value for baseline in track._baselines.values() for value in (*baseline.usual, *baseline.spread)]
        ratios = [ratio for _, ratio in track._recent]
        # Of what is damaged, all else is believed; this would be an error at every run.
        if not 0 <= track.score <= score.MOST or any(abs(each) > MOST_LOGARITHM for each in (*usual, *ratios)):
            raise ValueError("no score, or no logarithms of times")
        warm = [baseline for _, baseline in sorted(track._baselines.items()) if baseline.is_warm]
        track._usual = next(iter(warm), None)
        return track


def figures_of(run: Measurement) -> Figures:
    p99 = math.log(run.p99_s) if run.ios >= LEAST_IOS_P99 and run.p99_s > 0 else math.nan
    byte = -math.log(run.bytes_per_second) if run.bytes_per_second > 0 else math.nan
    return Figures(math.log(run.p50_s), p99, byte)


def slowness_of(run: Figures, baseline: Baseline) -> float:
    """The logarithm of the ratio to what is usual: of the median, the throughput or the tail, whichever is worst."""
    usual, spread = baseline.usual, baseline.spread
    p50 = beyond(run.p50, usual.p50, spread.p50)
    if p50 > 0 and math.exp(run.p50) - math.exp(usual.p50) < LEAST_EXCESS_S:
        p50 = 0.0
    found = [p50]
    if not math.isnan(byte := beyond(run.byte, usual.byte, spread.byte)):
        found.append(byte)
    if not math.isnan(p99 := beyond(run.p99, usual.p99, spread.p99) - TAIL):
        is_felt = p99 > 0 and math.exp(run.p99) - math.exp(usual.p99) >= LEAST_EXCESS_S
        found.append(p99 if is_felt else min(p99, 0.0))
    return max(found)


def beyond(value: float, usual: float, spread: float) -> float:
    """By how much it is more than usual; where that varies a lot, less what it may vary by."""
    allowed = max(min(SPREADS * spread, MOST_ALLOWED) - SLOW, 0.0)
    return value - usual - allowed

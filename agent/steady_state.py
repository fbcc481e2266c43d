"""Tells when a job's throughput, I/O rate or latency no longer changes: fio's steadystate."""

import math
from collections import deque
from typing import Any, Final, NamedTuple

SLOPE: Final = "_slope"


class Sample(NamedTuple):
    """One interval's rates."""

    iops: int
    bw: int
    """Bytes per second."""
    lat_ns: int
    """Mean latency; 0 where no I/O ended."""


class Figures(NamedTuple):
    """What a window of samples says of steadiness."""

    criterion: float
    """What is held against the limit, in its unit; a slope keeps its sign."""
    max_deviation: float
    slope: float


class SteadyState:
    """Rates over a sliding window, held against a limit; a group of jobs counts as one.

    `begin` starts the clock, `sample` takes the counters at each `next_s` after that.
    """

    def __init__(
        self,
        criterion: str,
        limit: float,
        is_percent: bool,
        *,
        duration_s: float,
        ramp_s: float = 0.0,
        interval_s: float = 1.0,
    ) -> None:
        self.criterion = criterion
        self.limit = limit
        self.is_percent = is_percent
        self.duration_s = duration_s
        self.ramp_s = ramp_s
        self.interval_s = min(interval_s, duration_s)
        self.length = max(1, round(duration_s / self.interval_s))
        """Samples in a full window."""
        self.samples: deque[Sample] = deque(maxlen=self.length)
        self.is_attained = False
        self.figures = Figures(0.0, 0.0, 0.0)
        self._before = (0.0, 0, 0, 0, 0)
        self._is_ramping = ramp_s > 0

    @property
    def next_s(self) -> float:
        """When to sample next, counted from the start of measuring."""
        return self.ramp_s if self._is_ramping else self._before[0] + self.interval_s

    def begin(self, at_s: float, ios: int, size: int, lat_ns: int, samples: int) -> None:
        self._before = (at_s, ios, size, lat_ns, samples)

    def sample(self, at_s: float, ios: int, size: int, lat_ns: int, samples: int) -> None:
        """Take in the counters of now; `is_attained` may become true."""
        before_s, *before = self._before
        elapsed_s = at_s - before_s
        if elapsed_s <= 0:
            return
        self._before = (at_s, ios, size, lat_ns, samples)
        if self._is_ramping:
            self._is_ramping = False  # what ran until now was not to be looked at
            return
        done, moved, took_ns, count = (now - was for now, was in zip((ios, size, lat_ns, samples), before, strict=True))
        # Whole numbers, so that whoever has the output can do the sum again.
        mean_ns = round(took_ns / count) if count else 0
        self.samples.append(Sample(round(done / elapsed_s), round(moved / elapsed_s), mean_ns))
        if len(self.samples) == self.length:
            self.figures = self.judged([getattr(one, self.quantity) for one in self.samples])
            self.is_attained = abs(self.figures.criterion) < self.limit

    @property
    def quantity(self) -> str:
        """The field of Sample that counts."""
        name = self.criterion.removesuffix(SLOPE)
        return "lat_ns" if name == "lat" else name

    def judged(self, values: list[float]) -> Figures:
        """The figures of a full window."""
        mean = math.fsum(values) / len(values)
        if self.criterion.endswith(SLOPE):
            slope = least_squares_slope(values)
            return Figures(self.relative(slope, mean), 0.0, slope)
        deviation = max(abs(value - mean) for value in values)
        return Figures(self.relative(deviation, mean), deviation, 0.0)

    def relative(self, value: float, mean: float) -> float:
        if not self.is_percent:
            return value
        return 100 * value / mean if mean else math.inf  # nothing moves: that is no steady state

    def as_json(self) -> dict[str, Any]:
        """fio's `steadystate` object; places of the window that are still empty are zeroes at its end."""
        unit = "%" if self.is_percent else ""
        window = [*self.samples, *[Sample(0, 0, 0)] * (self.length - len(self.samples))]
        data: dict[str, Any] = {
            "bw_mean": sum(one.bw for one in window) // self.length,
            "iops_mean": sum(one.iops for one in window) // self.length,
        }
        if self.quantity == "lat_ns":
            data["lat_mean"] = sum(one.lat_ns for one in window) // self.length
        data["iops"] = [one.iops for one in window]
        data["bw"] = [one.bw for one in window]
        if self.quantity == "lat_ns":
            data["lat"] = [one.lat_ns for one in window]
        criterion = self.figures.criterion if math.isfinite(self.figures.criterion) else 0.0
        return {
            "ss": f"{self.criterion}:{self.limit:.6f}{unit}",
            "duration": round(self.duration_s),
            "attained": int(self.is_attained),
            "criterion": f"{criterion:.6f}{unit}",
            "max_deviation": round(self.figures.max_deviation, 6),
            "slope": round(self.figures.slope, 6),
            "data": data,
        }


def least_squares_slope(values: list[float]) -> float:
    """Slope of the line through values one interval apart."""
    count = len(values)
    if count < 2:
        return 0.0
    middle = (count - 1) / 2
    spread = math.fsum((place - middle) ** 2 for place in range(count))
    return math.fsum((place - middle) * value for place, value in enumerate(values)) / spread

"""Runs of one probe, told how slow to be, on a clock of the test's."""

import math
import random
from collections.abc import Iterator
from typing import Any

from iovigil.agent.slowdown.foreign_load import ForeignLoad
from iovigil.agent.slowdown.track import Measurement, State, Track

P50_S = 0.004
P99_S = 0.011
BYTES_PER_SECOND = 400_000.0
BEGAN_UNIX = 1_700_000_000.0
HOUR_S = 3600.0
DAY_S = 86_400.0


class Disk:
    """A disk, its probe and the track that judges it."""

    def __init__(self, interval_s: float = 600.0, noise: float = 0.05, seed: int = 1, p50_s: float = P50_S) -> None:
        self.track = Track()
        self.interval_s = interval_s
        self.now_unix = BEGAN_UNIX
        self.p50_s = p50_s
        self._noise = noise
        self._random = random.Random(seed)

    def run(self, factor: float = 1.0, *, is_node_slow: bool = False, **more: Any) -> State:
        """One run, so many times as slow as usual."""
        self.now_unix += self.interval_s
        self.track.look(self.measurement(factor, **more))
        self.track.settle(is_node_slow=is_node_slow)
        return self.track.state

    def measurement(self, factor: float = 1.0, in_flight: float = 0.0, **more: Any) -> Measurement:
        slow = factor * math.exp(self._random.gauss(0, self._noise))
        tail = math.exp(self._random.gauss(0, 2 * self._noise))
        return Measurement(
            ended_unix=self.now_unix,
            interval_s=self.interval_s,
            ios=500,
            p50_s=self.p50_s * slow,
            p99_s=self.p50_s * slow * tail * P99_S / P50_S,
            bytes_per_second=BYTES_PER_SECOND,
            load=ForeignLoad(in_flight=in_flight),
        )._replace(**more)

    def runs(self, time_s: float, factor: float = 1.0, **more: Any) -> Iterator[State]:
        end_unix = self.now_unix + time_s
        while self.now_unix < end_unix:
            yield self.run(factor, **more)

    def live(self, time_s: float, factor: float = 1.0, **more: Any) -> set[State]:
        """The states it was in."""
        return set(self.runs(time_s, factor, **more))

    def hours_to_1(self, factor: float, most_h: float = 200.0, **more: Any) -> float:
        """How long a slowness takes to use up all patience; `most_h` where it does not."""
        began_unix = self.now_unix
        for _ in self.runs(most_h * HOUR_S, factor, **more):
            if self.track.score >= 1:
                break
        return (self.now_unix - began_unix) / HOUR_S


def settled(interval_s: float = 600.0, noise: float = 0.05, seed: int = 1, p50_s: float = P50_S) -> Disk:
    """A disk whose first days were good ones."""
    disk = Disk(interval_s, noise, seed, p50_s)
    disk.live(2 * DAY_S)
    return disk

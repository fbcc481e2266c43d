"""Standing: how a probe on a disk compares with its own past, as it is shown."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from iovigil.agent.slowdown.track import State, Track


class Slowness(NamedTuple):
    """One operation's; None is what is not known."""

    state: State
    score: float
    runs: int
    ratio: float | None = None
    p50_s: float | None = None
    """What is usual, and so are those that follow."""
    p99_s: float | None = None
    bytes_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known by the last run. It is replaced as a whole, so that it tells by its value that it has changed."""

    foreign_busy_ratio: float | None = None
    """None where that could not be told."""
    operations: tuple[tuple[str, Slowness], ...] = ()


def slowness_of(track: Track) -> Slowness:
    found = Slowness(track.state, track.score, track.runs, known(track.ratio))
    if (usual := track.usual) is None:
        return found
    return found._replace(
        p50_s=known(math.exp(usual.p50)),
        p99_s=known(math.exp(usual.p99)),
        bytes_per_second=known(math.exp(-usual.byte)),
    )


def known(value: float) -> float | None:
    return None if math.isnan(value) else value

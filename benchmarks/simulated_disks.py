"""Disks that never were: months of one probe's figures on each disk of a node, healthy or going bad in a known way.

What healthy disks do is after The Tail at Store (FAST '16): 0.2 % of disk-hours (0.6 % of SSD-hours) are more than
twice as slow as those of peers. How long such an episode lasts, and how slow it is, that abstract does not say: the
lengths are taken to be exponential, the factor is 2 and an exponential of mean 0.3 more. Milder ones, of 1.3 to 2
times, are taken to be five times as frequent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
P50_S: Final = 0.008
P99_OF_P50: Final = 2.5
RATE_IOPS: Final = 100.0
BLOCK: Final = 4096
BETWEEN_DISKS: Final = 0.05
NOISE: Final = 0.06
TAIL_NOISE: Final = 0.2
MILD_TIMES: Final = 5.0


@dataclass(frozen=True)
class Healthy:
    """What a healthy disk does now and then."""

    slow_share: float = 0.002
    """Of the hours, more than twice as slow."""
    episode_h: float = 6.0
    """Such an episode, on average."""
    excess: float = 0.3
    """By how much more than twice it is slow, on average."""


@dataclass(frozen=True)
class Months:
    """Figures of each disk (rows) at each run (columns)."""

    times_s: Array
    p50_s: Array
    p99_s: Array
    bytes_per_second: Array
    in_flight: Array
    """Foreign I/Os."""


Fault = Callable[[Array], Array]
"""By how much a disk is slower at these seconds since its fault began."""


def steady(since_s: Array, *, factor: float) -> Array:
    return np.where(since_s >= 0, factor, 1.0)


def creeping(since_s: Array, *, doubling_days: float, most: float = 6.0) -> Array:
    return np.clip(2.0 ** (since_s / DAY_S / doubling_days), 1.0, most)


def intermittent(since_s: Array, *, factor: float, period_h: float, share: float) -> Array:
    place = (since_s / HOUR_S / period_h) % 1.0
    return np.where((since_s >= 0) & (place < share), factor, 1.0)


def months(
    rng: np.random.Generator,
    disks: int,
    days: float,
    interval_s: float,
    healthy: Healthy,
    faults: dict[int, Fault],
    *,
    fault_day: float = 10.0,
    busy: set[int] = frozenset(),  # type: ignore[assignment]
    node: tuple[float, float, float] | None = None,
) -> Months:
    """`node` is a slowdown of all disks: from which day, for how many hours, how much."""
    times_s = np.arange(interval_s, days * DAY_S, interval_s)
    shape = (disks, len(times_s))
    base_s = P50_S * np.exp(rng.normal(0, BETWEEN_DISKS, (disks, 1)))
    slow = np.ones(shape)
    for disk in range(disks):
        for share, more in ((healthy.slow_share, True), (MILD_TIMES * healthy.slow_share, False)):
            add_episodes(rng, slow[disk], times_s, share, healthy, is_slow=more)
        if disk in faults:
            since_s = times_s - fault_day * DAY_S
            slow[disk] *= faults[disk](since_s)
    if node is not None:
        day, hours, factor = node
        at = (times_s >= day * DAY_S) & (times_s < day * DAY_S + hours * HOUR_S)
        slow[:, at] *= factor
    demand = foreign(rng, shape, times_s, busy)
    p50_s = base_s * slow * (1 + demand) * np.exp(rng.normal(0, NOISE, shape))
    p99_s = p50_s * P99_OF_P50 * np.exp(rng.normal(0, TAIL_NOISE, shape))
    return Months(
        times_s=times_s,
        p50_s=p50_s,
        p99_s=p99_s,
        bytes_per_second=BLOCK * np.minimum(RATE_IOPS, 1 / p50_s),
        in_flight=demand * slow,
    )


def add_episodes(
    rng: np.random.Generator, slow: Array, times_s: Array, share: float, healthy: Healthy, *, is_slow: bool
) -> None:
    hours, mean_h = times_s[-1] / HOUR_S, healthy.episode_h
    for _ in range(rng.poisson(hours * share / mean_h)):
        begin_s, length_s = rng.uniform(0, times_s[-1]), rng.exponential(mean_h) * HOUR_S
        factor = 2 + rng.exponential(healthy.excess) if is_slow else rng.uniform(1.3, 2.0)
        at = slice(*np.searchsorted(times_s, (begin_s, begin_s + length_s)))
        slow[at] = np.maximum(slow[at], factor)


def foreign(rng: np.random.Generator, shape: tuple[int, int], times_s: Array, busy: set[int]) -> Array:
    """Foreign I/Os in flight: a little by day, hardly any by night, a rush now and then; days of it on busy disks."""
    of_day = 0.5 + 0.5 * np.sin(2 * np.pi * times_s / DAY_S)
    load = 0.12 * of_day * np.exp(rng.normal(0, 0.5, shape)) * rng.uniform(0.2, 1.0, (shape[0], 1))
    rushes = rng.random(shape) < 0.02
    load[rushes] = rng.uniform(0.5, 8.0, int(rushes.sum()))
    for disk in busy:
        begin_s = 10 * DAY_S
        while begin_s < times_s[-1]:
            length_s = rng.exponential(18) * HOUR_S
            at = slice(*np.searchsorted(times_s, (begin_s, begin_s + length_s)))
            load[disk, at] = rng.uniform(0.6, 12.0) * np.exp(rng.normal(0, 0.3, len(load[disk, at])))
            begin_s += length_s + rng.exponential(24) * HOUR_S
    return load

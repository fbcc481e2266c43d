"""The rules of grafana/rules once more, on arrays: a month of a node in a second; promtool is the judge of them.

Rows are disks of one model, columns the runs of one probe, at a steady interval that divides an hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

HOUR_S: Final = 3600
BASELINE_H: Final = 168
OFFSET_H: Final = 24
LEAST_H: Final = 24
LEAST_PEERS: Final = 4
LEAST_DISKS: Final = 3


@dataclass(frozen=True)
class Recorded:
    """The recorded series that alerts read."""

    to_peers: Array
    slow_hours_24: Array
    slow_hours_72: Array
    to_self: Array
    excess_s: Array
    spread_s: Array
    throughput: Array
    slow_disks: Array
    """Of the node."""


def recorded(p50_s: Array, bytes_per_second: Array, is_busy: Flags, interval_s: float) -> Recorded:
    of_hour = int(HOUR_S // interval_s)
    p50 = np.where(is_busy, np.nan, last_hour(p50_s, of_hour))
    speed = np.where(is_busy, np.nan, last_hour(bytes_per_second, of_hour))
    (typical,) = quantiles(p50.T, (0.5,), LEAST_PEERS)
    with np.errstate(invalid="ignore"):
        to_peers = p50 / typical
        is_slow = to_peers[:, of_hour - 1 :: of_hour] > 2
    low, base, high = baselines(p50[:, of_hour - 1 :: of_hour], (0.25, 0.5, 0.75))
    (base_speed,) = baselines(speed[:, of_hour - 1 :: of_hour], (0.5,))
    base, spread, base_speed = (since(each, of_hour, p50.shape[1]) for each in (base, high - low, base_speed))
    to_self = p50 / base
    known = (~np.isnan(to_self)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        slow_disks = np.where(known >= LEAST_DISKS, (to_self > 2).sum(axis=0) / np.maximum(known, 1), 0.0)
    return Recorded(
        to_peers=to_peers,
        slow_hours_24=since(sums(is_slow, 24), of_hour, p50.shape[1]),
        slow_hours_72=since(sums(is_slow, 72), of_hour, p50.shape[1]),
        to_self=to_self,
        excess_s=p50 - base,
        spread_s=spread,
        throughput=speed / base_speed,
        slow_disks=slow_disks,
    )


def quantiles(rows: Array, qs: Sequence[float], least: int = 1) -> list[Array]:
    """Of what is known of each row; NaN where that is less than so many. As numpy's nanquantile, and much faster."""
    ordered = np.sort(rows, axis=-1)  # NaN last
    known = (~np.isnan(rows)).sum(axis=-1)
    found = []
    for q in qs:
        place = q * np.maximum(known - 1, 0)
        low = np.floor(place).astype(np.intp)
        high = np.minimum(low + 1, np.maximum(known - 1, 0))
        below, above = (np.take_along_axis(ordered, at[..., None], axis=-1)[..., 0] for at in (low, high))
        found.append(np.where(known >= least, below + (place - low) * (above - below), np.nan))
    return found


def last_hour(values: Array, of_hour: int) -> Array:
    """quantile_over_time(0.5, ...[1h]); of fewer at the beginning."""
    (found,) = quantiles(windows(values, of_hour), (0.5,))
    return found


def windows(values: Array, length: int) -> Array:
    """The last so many of each moment; NaN before the first."""
    padded = np.concatenate([np.full((len(values), length - 1), np.nan), values], axis=1)
    return sliding_window_view(padded, length, axis=1)


def baselines(hourly: Array, qs: Sequence[float]) -> list[Array]:
    """quantile_over_time(q, ...[7d] offset 1d), of a day at least."""
    found = [np.full(hourly.shape, np.nan) for _ in qs]
    for disk, row in enumerate(hourly):  # one at a time: all windows of a year are half a gigabyte
        of_disk = quantiles(windows(row[None, :-OFFSET_H], BASELINE_H)[0], qs, LEAST_H)
        for each, values in zip(found, of_disk, strict=True):
            each[disk, OFFSET_H:] = values
    return found


def sums(flags: Flags, hours: int) -> Array:
    total = np.cumsum(flags, axis=1, dtype=np.float64)
    total[:, hours:] = total[:, hours:] - total[:, :-hours].copy()
    return total


def since(hourly: Array, of_hour: int, runs: int) -> Array:
    """last_over_time(...[3h]) at each run."""
    spread = np.repeat(hourly, of_hour, axis=1)
    ahead = np.full((len(hourly), of_hour - 1), np.nan)
    return np.concatenate([ahead, spread, np.repeat(hourly[:, -1:], of_hour, axis=1)], axis=1)[:, :runs]


def held(flags: Flags, hours: float, interval_s: float) -> Flags:
    """`for`: true once it has been true for so long."""
    steps = round(hours * HOUR_S / interval_s)
    if steps == 0:
        return flags
    total = np.cumsum(flags, axis=-1, dtype=np.int64)
    before = np.concatenate([np.zeros((*flags.shape[:-1], steps + 1), np.int64), total], axis=-1)[
        ..., : flags.shape[-1]
    ]
    found: Flags = total - before == steps + 1
    return found


def kept(flags: Flags, hours: float, interval_s: float) -> Flags:
    """`keep_firing_for`: true for so long after it was."""
    steps = round(hours * HOUR_S / interval_s)
    total = np.cumsum(flags, axis=-1, dtype=np.int64)
    before = np.concatenate([np.zeros((*flags.shape[:-1], steps + 1), np.int64), total], axis=-1)[
        ..., : flags.shape[-1]
    ]
    found: Flags = total > before
    return found


def alerts(series: Recorded, score: Array, ratio: Array, interval_s: float) -> dict[str, Flags]:
    """Which alert fires for which disk at which run."""
    with np.errstate(invalid="ignore"):
        to_self, to_peers = series.to_self, series.to_peers
        is_node = series.slow_disks > 0.5
        regression = (to_self > 2) & (series.excess_s > 3 * series.spread_s) & (series.excess_s > 0.0002) & ~is_node
        drop = (series.throughput < 0.7) & ~is_node
        peers = held((series.slow_hours_72 >= 60) & (to_peers > 2), 1, interval_s)
        suspect = held((series.slow_hours_24 >= 12) & (to_peers > 2), 1, interval_s)
        slow = score >= 1
        return {
            "DiskSlow": kept(slow, 1, interval_s),
            "DiskVerySlow": kept(slow & (ratio > 4), 1, interval_s),
            "DiskSlowSuspect": suspect,
            "DiskSlowVsPeers": kept(peers, 6, interval_s),
            "DiskVerySlowVsPeers": held(to_peers > 5, 2, interval_s),
            "DiskLatencyRegression": kept(held(regression, 6, interval_s), 1, interval_s),
            "DiskThroughputDrop": held(drop, 6, interval_s),
            "NodeStorageSlowdown": np.broadcast_to(held(is_node[None], 1, interval_s), to_self.shape),
        }

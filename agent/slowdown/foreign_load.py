"""Foreign load: what others did on a disk during a run, by the kernel's counters less our own I/O."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from iovigil.agent.disks import sysfs, utilisation

SECTOR: Final = 512
BLOCK: Final = 4096
"""Hardly any I/O is smaller."""
FULL_QUEUE: Final = 0.9
MOST_LEVELS: Final = 16
SLOWEST_BYTES_PER_SECOND: Final = {"1": 100e6, "0": 500e6}
"""What a healthy disk moves at least, in order, by `rotational`."""


class Own(NamedTuple):
    """What a run itself did."""

    ios: int = 0
    bytes: int = 0
    time_s: float = 0.0
    """All its I/Os took, one after the other."""


class Counters(NamedTuple):
    """Of a block device since it was there."""

    ios: int
    bytes: int
    queue_s: float
    """All I/Os took, one after the other."""
    busy_s: float


class ForeignLoad(NamedTuple):
    """On average over a run."""

    in_flight: float = 0.0
    """Foreign I/Os that the disk had at a time."""
    busy_ratio: float = 0.0
    """Share of the time in which it had one, at most."""
    ios_per_second: float = 0.0
    bytes_per_second: float = 0.0
    stream_bytes_per_second: float = math.nan
    """What the disk moves at least, in order; NaN where that cannot be said."""

    def demand(self, usual_s: float) -> float:
        """How many would be in flight if the disk took its usual time for each; infinite where that is not known."""
        if math.isinf(usual_s) or math.isnan(self.stream_bytes_per_second):
            return math.inf
        return self.ios_per_second * usual_s + self.bytes_per_second / self.stream_bytes_per_second


def look(device: str, root: str = "/") -> dict[str, Counters]:
    """The counters of a device, and of those it is built on; none of one that is gone."""
    found: dict[str, Counters] = {}
    names = [device]
    while names and len(found) < MOST_LEVELS:
        name = names.pop(0)
        numbers = utilisation.counters(name, root)
        if name in found or len(numbers) < utilisation.LEAST_FIELDS:
            continue
        field = utilisation.FIELDS
        found[name] = Counters(
            ios=numbers[field["read_ios"]] + numbers[field["write_ios"]],
            bytes=SECTOR * (numbers[field["read_sectors"]] + numbers[field["write_sectors"]]),
            queue_s=numbers[field["in_queue"]] / 1e3,
            busy_s=numbers[utilisation.BUSY_MS] / 1e3,
        )
        names += [sysfs.whole_disk(slave, root) for slave in sysfs.slaves(name, root)]
    return found


def between(
    before: Mapping[str, Counters], after: Mapping[str, Counters], elapsed_s: float, own: Own, rotational: str = ""
) -> ForeignLoad | None:
    """What others did meanwhile; None where the disk was not there all the time."""
    stream = SLOWEST_BYTES_PER_SECOND.get(rotational, math.nan)
    loads = [
        load_of(before[name], after[name], elapsed_s, own, stream) for name in after if name in before and elapsed_s > 0
    ]
    # Of a stack the device that others use most: a volume is quiet on a disk that its neighbour keeps busy.
    return max(loads, default=None)


def load_of(before: Counters, after: Counters, elapsed_s: float, own: Own, stream: float) -> ForeignLoad:
    ios, size, queue_s = after.ios - before.ios, after.bytes - before.bytes, after.queue_s - before.queue_s
    # An I/O of ours may have become several, or have been one of the page cache's: only bytes cannot be too many.
    foreign_bytes = max(size - own.bytes, 0)
    foreign_ios = max(min(ios - own.ios, foreign_bytes // BLOCK), 0)
    if not foreign_ios or queue_s <= 0:
        return ForeignLoad(stream_bytes_per_second=stream)
    # Ours took no longer in the disk than we saw, so that the rest is foreign, at least. Where we kept the queue full,
    # what we saw has our own waiting in it, and the share of what was done says more.
    share_s, foreign_s = queue_s * foreign_ios / ios, max(queue_s - own.time_s, 0.0)
    if own.time_s >= FULL_QUEUE * elapsed_s or own.time_s == 0.0:
        foreign_s = share_s if own.time_s == 0.0 else max(foreign_s, share_s)
    in_flight = foreign_s / elapsed_s
    busy_s = min(after.busy_s - before.busy_s, elapsed_s)
    return ForeignLoad(
        in_flight,
        max(min(in_flight, busy_s / elapsed_s), 0.0),
        foreign_ios / elapsed_s,
        foreign_bytes / elapsed_s,
        stream,
    )

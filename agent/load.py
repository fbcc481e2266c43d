"""The load that a plan puts on each disk at worst: what its probes may do, not what they do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from iovigil.agent.config import Assignment, Config, DiskSettings, LimitSettings, ScrubSettings, scrubbing
from iovigil.agent.config.model import works_in_region
from iovigil.agent.config.rules import portion
from iovigil.agent.order import NO_TARGET_ENGINES
from iovigil.engines.options import SECOND_US, JobOptions

DAY_S: Final = 86_400
READ, WRITE, TRIM = range(3)
SYNCHRONOUS_ENGINES: Final = frozenset({"mmap", "psync", "pvsync2", "splice", "sync"})
"""Those that have one I/O in flight, whatever iodepth says."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a probe asks of a disk, or several together; math.inf where nothing bounds it."""

    iops: float = 0.0
    """While it runs, on average over the run."""
    depth: int = 0
    """I/Os in flight."""
    read_bytes_a_day: float = 0.0
    written_bytes_a_day: float = 0.0
    busy: float = 0.0
    """Share of the time in which it runs."""
    unbounded: tuple[str, ...] = ()
    """Options that would bound it: `rate_iops for reads`."""
    needs_limits: bool = False
    """Whether a bound is one that only the kernel keeps, in a control group."""

    def wear_a_day(self, disk_bytes: int) -> float:
        """How often a disk of this size is written over in a day (DWPD); 0 where the size is not known."""
        return self.written_bytes_a_day / disk_bytes if disk_bytes else 0.0


class Planned(msgspec.Struct, frozen=True):
    """One probe on one disk, with what it asks of it."""

    disk: str
    probe: str
    demand: Demand


def planned(loaded: Config, device_bytes: Mapping[str, int]) -> Iterator[Planned]:
    """What each probe asks of each of its disks; `device_bytes` are the sizes of the devices that are there, by disk.

    A kind of probe that is no job of fio's has its own demand: nothing else needs to know of it.
    """
    for each in loaded.assignments():
        limits = loaded.limits_of(each.probe)
        yield Planned(each.disk.name, each.probe.name, demand(each, limits, device_bytes.get(each.disk.name, 0)))


def together(demands: Iterable[Demand]) -> Demand:
    """What several probes ask of one disk. One runs at a time there: peaks are not added, sums over a day are."""
    known = list(demands)
    return Demand(
        iops=max((each.iops for each in known), default=0.0),
        depth=max((each.depth for each in known), default=0),
        read_bytes_a_day=sum(each.read_bytes_a_day for each in known),
        written_bytes_a_day=sum(each.written_bytes_a_day for each in known),
        busy=sum(each.busy for each in known),
        unbounded=tuple(dict.fromkeys(text for each in known for text in each.unbounded)),
        needs_limits=any(each.needs_limits for each in known),
    )


def demand(each: Assignment, limits: LimitSettings, device_bytes: int = 0) -> Demand:
    """What one probe asks of one disk; of a device that is absent the size is 0."""
    options = each.probe.options
    if each.probe.scrub is not None:
        return scrub_demand(each, each.probe.scrub, limits)
    busy = options.longest_us / SECOND_US / each.probe.every_s
    if options.ioengine in NO_TARGET_ENGINES:
        return Demand(busy=busy)
    runs_a_day = DAY_S / each.probe.every_s
    rates = Rates(options, limits)
    written = bytes_of_a_run(options, rates, region_bytes(each.disk, options, device_bytes), WRITE)
    read = bytes_of_a_run(options, rates, region_bytes(each.disk, options, device_bytes), READ)
    if options.reads_back or options.verify_only:
        # What was written is read once more; what an earlier run left unread is part of that run's own.
        read += written
    if options.verify_only:
        written = 0.0
    if options.pre_read:
        read += region_bytes(each.disk, options, device_bytes)
    used = [way for way, is_used in enumerate(directions(options)) if is_used]
    return Demand(
        iops=max(rates.iops(way) for way in used) if is_in_turn(options) else sum(rates.iops(way) for way in used),
        depth=1 if options.ioengine in SYNCHRONOUS_ENGINES else options.iodepth,
        read_bytes_a_day=read * runs_a_day,
        written_bytes_a_day=written * runs_a_day,
        busy=busy,
        unbounded=tuple(f"rate_iops for {WORDS[way]}" for way in used if math.isinf(rates.iops(way))),
        needs_limits=any(rates.is_of_limits(way) for way in used),
    )


def scrub_demand(each: Assignment, settings: ScrubSettings, limits: LimitSettings) -> Demand:
    """What a scrub asks of its disk in a cycle; not in the first, which writes everything."""
    options = each.probe.options
    asked = scrubbing.demand(settings, options, scrubbing.region_of(options, each.disk.writable_bytes))
    rates = Rates(options, limits)
    # Its rate is for reads and writes together.
    iops = max(rates.iops(READ), rates.iops(WRITE))
    return Demand(
        iops=iops,
        depth=1 if options.ioengine in SYNCHRONOUS_ENGINES else options.iodepth,
        read_bytes_a_day=asked.read_bytes_a_day,
        written_bytes_a_day=asked.written_bytes_a_day,
        busy=options.longest_us / SECOND_US / each.probe.every_s,
        unbounded=("rate_iops",) if math.isinf(iops) else (),
        needs_limits=any(rates.is_of_limits(way) for way in (READ, WRITE)),
    )


WORDS: Final = ("reads", "writes", "trims")


def directions(options: JobOptions) -> tuple[bool, bool, bool]:
    """Which of reads, writes and trims a job makes, the reads that check included."""
    reads, writes, trims = options.uses
    if options.verify_only:
        return True, False, False
    return reads or options.reads_back or options.pre_read, writes, trims or options.trim_percentage > 0


def is_in_turn(options: JobOptions) -> bool:
    """Whether a job reads only what it has written before, so that the two rates do not add up."""
    return not options.does_read and not options.verify_backlog and not options.does_trim


class Rates:
    """What bounds the rates of a job, for reads, writes and trims."""

    def __init__(self, options: JobOptions, limits: LimitSettings) -> None:
        self._options = options
        self._limits_iops = (limits.riops or math.inf, limits.wiops or math.inf, math.inf)
        self._limits_bytes = (limits.rbps or math.inf, limits.wbps or math.inf, math.inf)
        # What is read back between the writes does not wait for a rate, and neither does pre_read.
        self._is_paced = (not options.verify_backlog and not options.pre_read, True, options.trim_percentage == 0)

    def iops(self, way: int) -> float:
        shortest = self._options.lengths[way][0]
        return min(self._own_iops(way), self._limits_iops[way], self._limits_bytes[way] / shortest)

    def bytes_per_s(self, way: int) -> float:
        longest = self._options.lengths[way][1]
        own = min(self._own_bytes(way), self._own_iops(way) * longest)
        return min(own, self._limits_bytes[way], self._limits_iops[way] * longest)

    def is_of_limits(self, way: int) -> bool:
        return math.isinf(self._own_iops(way)) and not math.isinf(self.iops(way))

    def _own_iops(self, way: int) -> float:
        options = self._options
        if not self._is_paced[way]:
            return math.inf
        bounds = [options.rate_iops[way] or math.inf, self._own_bytes(way) / options.lengths[way][0]]
        if options.thinktime and not options.thinktime_iotime:
            bounds.append(options.thinktime_blocks * SECOND_US / options.thinktime)
        return min(bounds)

    def _own_bytes(self, way: int) -> float:
        return self._options.rate[way] or math.inf if self._is_paced[way] else math.inf


def bytes_of_a_run(options: JobOptions, rates: Rates, region: float, way: int) -> float:
    """The most bytes that the workload itself reads or writes in one run; the reads that check are another matter."""
    if not (options.does_read, options.does_write)[way]:
        return 0.0
    by_rate = rates.bytes_per_s(way) * phase_s(options, rates)
    if options.time_based:
        by_size = math.inf
    else:
        by_size = (portion(options.io_size, int(region)) if options.io_size and region < math.inf else 0) or region
        by_size *= options.loops
    if options.number_ios:
        by_size = min(by_size, options.number_ios * options.lengths[way][1])
    if options.direction in ("rw", "randrw"):
        by_size *= (options.rwmixread if way == READ else 100 - options.rwmixread) / 100
    return min(by_rate, by_size)


def phase_s(options: JobOptions, rates: Rates) -> float:
    """How long of a run the workload itself may take, without the check of what it wrote."""
    runtime_s = options.runtime / SECOND_US
    if options.reads_back and not options.verify_backlog and not options.verify_only:
        if not options.time_based and options.loops == 1:
            runtime_s /= 2
        elif not math.isinf(reading := rates.bytes_per_s(READ)):
            # Round after round: each takes the time of its writes and that of reading them back.
            writing = rates.bytes_per_s(WRITE)
            runtime_s *= reading / (reading + writing) if not math.isinf(writing) else 1
    return runtime_s + options.ramp_time / SECOND_US


def region_bytes(disk: DiskSettings, options: JobOptions, device_bytes: int) -> float:
    """How much of a disk a job works on; math.inf where nobody knows."""
    whole = disk.writable_bytes if disk.file or (disk.region and works_in_region(options)) else device_bytes
    if not whole:
        return options.size if options.size > 0 else math.inf
    return portion(options.size, whole) or whole - portion(options.offset, whole)

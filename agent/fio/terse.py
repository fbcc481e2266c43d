"""The results of a session as lines of semicolons: fio's terse output, versions 2 to 5."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import iovigil
from iovigil.agent.fio import figures
from iovigil.agent.fio.figures import MIXED, Directions
from iovigil.agent.fio.groups import Entry, reported
from iovigil.engines.latency import Histogram
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, RateSamples, StatsPage

VERSIONS: Final = (2, 3, 4, 5)
PERCENTILE_PLACES: Final = 20
US_STEPS: Final = (2, 4, 10, 20, 50, 100, 250, 500, 750, 1000)
MS_STEPS: Final = (2, 4, 10, 20, 50, 100, 250, 500, 750, 1000, 2000)
DISK_FIELDS: Final = (
    "read_ios", "write_ios", "read_merges", "write_merges", "read_ticks", "write_ticks", "in_queue",
)  # fmt: skip


def render(entries: Sequence[Entry], version: int = 3, disk_util: Sequence[dict[str, Any]] = ()) -> str:
    """A line for each job or group, as fio 3.33 writes it."""
    return "".join(f"{line}\n" for entry in reported(entries) for line in lines(entry, version, disk_util))


def lines(entry: Entry, version: int, disk_util: Sequence[dict[str, Any]] = ()) -> Iterator[str]:
    options = entry.plan.options
    line = ";".join(fields(entry, version, disk_util))
    if not options.description:
        yield line
    elif version == 2:
        # Version 2 has the description on a line of its own.
        yield line
        yield f";{options.description}"
    else:
        yield f"{line};{options.description}"


def fields(entry: Entry, version: int, disk_util: Sequence[dict[str, Any]]) -> Iterator[str]:
    result, options = entry.result, entry.plan.options
    page = result.page
    yield str(version)
    if version > 2:
        yield f"iovigil-{iovigil.__version__}"
    yield from (options.name.replace(";", "_"), str(entry.plan.group), str(figures.error_of(result)))
    for ddirs in shown(options, version):
        yield from direction(options, page, ddirs, version)
    runtime_ms = figures.job_runtime_ms(page)
    usage = page.usage
    yield f"{figures.percent(usage.user_s * 1000, runtime_ms):f}%"
    yield f"{figures.percent(usage.system_s * 1000, runtime_ms):f}%"
    yield from (str(usage.context_switches), str(usage.major_faults), str(usage.minor_faults))
    levels = page.depth_levels()
    yield from (f"{figures.percent(level, sum(levels)):3.1f}%" for level in levels)
    yield from latency_shares(figures.histogram(page, Latency.LAT, MIXED))
    if version > 2:
        for disk in disk_util:
            yield disk["name"]
            yield from (str(disk[name]) for name in DISK_FIELDS)
            yield f"{disk['util']:.2f}%"
    if options.continue_on_error != "none":
        yield from (str(page.total_errors), str(page.first_error))


def shown(options: JobOptions, version: int) -> Iterator[Directions]:
    """Which directions a line holds: version 3 leaves trims out."""
    if options.unified_rw_reporting != "mixed":
        yield from ((0,), (1,))
        if version != 3:
            yield (2,)
    if options.unified_rw_reporting != "none":
        yield MIXED


def direction(options: JobOptions, page: StatsPage, ddirs: Directions, version: int) -> Iterator[str]:
    rate = figures.bytes_per_second(page, ddirs)
    yield str(figures.total(page, Counter.BYTES, ddirs) >> 10)
    yield str(rate >> 10)
    yield str(int(figures.ios_per_second(page, ddirs)))
    yield str(figures.runtime_ms(page, ddirs))
    slat, clat, lat = (figures.histogram(page, kind, ddirs) for kind in (Latency.SLAT, Latency.CLAT, Latency.LAT))
    yield from latency(slat)
    yield from latency(clat)
    # One set of percentiles has a place: of lat only where clat's are not wanted.
    yield from percentiles(options, clat if options.clat_percentiles else lat)
    yield from latency(lat)
    bw = figures.bw_samples(page, ddirs)
    share = min(figures.percent(bw.mean * 1024, rate), 100.0)
    yield from (str(round(bw.minimum)), str(round(bw.maximum)), f"{share:f}%", f"{bw.mean:f}", f"{bw.stddev:f}")
    if version == 5:
        yield str(bw.samples)
        yield from rates(figures.iops_samples(page, ddirs))


def rates(samples: RateSamples) -> Iterator[str]:
    yield from (str(round(samples.minimum)), str(round(samples.maximum)))
    yield from (f"{samples.mean:f}", f"{samples.stddev:f}", str(samples.samples))


def latency(histogram: Histogram) -> Iterator[str]:
    """Least, most, mean and deviation in microseconds, the first two without fraction."""
    yield from (str(histogram.min_ns // 1000), str(histogram.max_ns // 1000))
    yield from (f"{histogram.mean_ns / 1000:f}", f"{histogram.stddev_ns / 1000:f}")


def percentiles(options: JobOptions, histogram: Histogram) -> Iterator[str]:
    """Always as many places; those without a percentile say nothing of nothing."""
    wanted = options.percentile_list if options.clat_percentiles or options.lat_percentiles else ()
    for percent in wanted[:PERCENTILE_PLACES]:
        us = histogram.quantile_ns(percent / 100) // 1000 if histogram.count else 0
        yield f"{percent:f}%={us}"
    yield from ["0%=0"] * (PERCENTILE_PLACES - len(wanted))


def latency_shares(histogram: Histogram) -> Iterator[str]:
    """Shares of I/Os below each step: microseconds, then milliseconds; the last is 2 s and more."""
    bounds_ns = [step * 1000 for step in US_STEPS] + [step * 1_000_000 for step in MS_STEPS]
    below_before = 0
    for below in histogram.cumulative(bounds_ns):
        yield f"{figures.percent(below - below_before, histogram.count):3.2f}%"
        below_before = below
    yield f"{figures.percent(histogram.count - below_before, histogram.count):3.2f}%"

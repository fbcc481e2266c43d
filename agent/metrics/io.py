"""I/O: what went to and from the disk over all runs, the one in progress included, and how long it took."""

import errno

from iovigil.agent.ledger import ProbeEntry
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.operations import NAMES, fallible, is_paced, transfers
from iovigil.agent.metrics.scrape import Scrape
from iovigil.engines.latency import Histogram
from iovigil.engines.stats import Counter, Latency, StatsPage

OPERATION = ("disk", "probe", "operation")

IO_BYTES = Family("counter", "iovigil_io_bytes_total", "Bytes completed.", OPERATION, "bytes")
IOS = Family("counter", "iovigil_ios_total", "I/Os completed, good or bad.", OPERATION)
SHORT_IOS = Family("counter", "iovigil_short_ios_total", "I/Os that moved fewer bytes than asked for.", OPERATION)
IO_ERRORS = Family("counter", "iovigil_io_errors_total", "I/Os that returned an error.", (*OPERATION, "error"))
IO_LATENCY = Family("histogram", "iovigil_io_latency_seconds", "Submission to completion.", OPERATION, "seconds")
IO_RESPONSE = Family(
    "histogram",
    "iovigil_io_response_seconds",
    "Intended start to completion, of probes with a rate: a stalled disk's queue is in it.",
    OPERATION,
    "seconds",
)
DROPPED_IOS = Family(
    "counter", "iovigil_dropped_ios_total", "I/Os of probes with a rate that a stall cost: never started.", OPERATION
)
OLDEST_INFLIGHT_IO = Family(
    "gauge",
    "iovigil_oldest_inflight_io_seconds",
    "Age of the oldest submitted, uncompleted I/O; 0 when none. After a run that was killed with it, until a run ends.",
    ("disk", "probe"),
    "seconds",
)

PER_OPERATION = {Counter.BYTES: IO_BYTES, Counter.IOS: IOS, Counter.SHORT_IOS: SHORT_IOS}

# 1 us to 8.4 s in powers of two, as ebpf_exporter's bio_latency_seconds: panels can lay one over the other.
# Each is the edge of one of the engine's own buckets, so the counts are exact.
BOUNDS_NS = tuple(1000 << power for power in range(24))
BOUNDS = tuple(str(bound_ns / 1e9) for bound_ns in BOUNDS_NS)


def fill(scrape: Scrape, entry: ProbeEntry, view: StatsPage) -> None:
    scrape.add(OLDEST_INFLIGHT_IO, entry.oldest_inflight_s(), entry.disk, entry.probe)
    for ddir in transfers(entry.options):
        where = (entry.disk, entry.probe, NAMES[ddir])
        for counter, family in PER_OPERATION.items():
            scrape.add(family, view.counter(counter, ddir), *where)
        add_latency(scrape, IO_LATENCY, view.histogram(Latency.CLAT, ddir), where)
        if is_paced(entry.options, ddir):
            add_latency(scrape, IO_RESPONSE, view.histogram(Latency.RESPONSE, ddir), where)
            scrape.add(DROPPED_IOS, view.counter(Counter.DROPPED_IOS, ddir), *where)
    for ddir in fallible(entry.options, is_scrub=entry.scrub is not None):
        where = (entry.disk, entry.probe, NAMES[ddir])
        # EIO is there from the start: increase() cannot see the first appearance of a series.
        for number, count in {errno.EIO: 0, **view.errors(ddir)}.items():
            scrape.add(IO_ERRORS, count, *where, error_name(number))


def add_latency(scrape: Scrape, family: Family, latency: Histogram, where: tuple[str, ...]) -> None:
    buckets = [*zip(BOUNDS, latency.cumulative(BOUNDS_NS), strict=True), ("+Inf", latency.count)]
    scrape.add_histogram(family, buckets, latency.sum_ns / 1e9, *where)


def error_name(number: int) -> str:
    """EIO and the like; `other` for what the stats page could not tell apart."""
    return errno.errorcode.get(number, str(number)) if number else "other"

"""Against the disk's own past: what is usual, how far the last runs were from it, and for how long they have been."""

from iovigil.agent.ledger import ProbeEntry
from iovigil.agent.metrics.family import Family, names
from iovigil.agent.metrics.scrape import Scrape
from iovigil.agent.slowdown.track import State

OPERATION = ("disk", "probe", "operation")

SLOWDOWN_RATIO = Family(
    "gauge",
    "iovigil_slowdown_ratio",
    "How many times as slow as usual at this foreign load, the last hour over: by median latency, by throughput, or by "
    "the 99th percentile over 2.5, whichever is worst.",
    OPERATION,
    "ratio",
)
SLOWDOWN_SCORE = Family(
    "gauge",
    "iovigil_slowdown_score",
    "For how long and how much it has been slow: 1 after 65 hours at twice, or 1.75 hours at five times as slow; good "
    "hours take it back.",
    OPERATION,
)
SLOWDOWN_STATE = Family(
    "gauge",
    "iovigil_slowdown_state",
    "What can be said by the last run; always 1.",
    (*OPERATION, "state"),
    values={"state": names(State)},
)
BASELINE_LATENCY = Family(
    "gauge",
    "iovigil_baseline_latency_seconds",
    "Latency quantiles that are usual at the foreign load of the last run.",
    (*OPERATION, "q"),
    "seconds",
    values={"q": ("0.5", "0.99")},
)
BASELINE_BYTES_PER_SECOND = Family(
    "gauge",
    "iovigil_baseline_bytes_per_second",
    "Throughput that is usual at the foreign load of the last run.",
    OPERATION,
    "bytes",
)
BASELINE_RUNS = Family(
    "gauge",
    "iovigil_baseline_runs",
    "Runs that the baseline of this foreign load was learnt from; nothing is said before there are 30.",
    OPERATION,
)
LAST_RUN_FOREIGN_BUSY = Family(
    "gauge",
    "iovigil_last_run_foreign_busy_ratio",
    "Share of the last run, at most, in which the disk had I/O that was not ours.",
    ("disk", "probe"),
    "ratio",
)


def fill(scrape: Scrape, entry: ProbeEntry) -> None:
    standing = entry.slowdown
    if standing.foreign_busy_ratio is not None:
        scrape.add(LAST_RUN_FOREIGN_BUSY, standing.foreign_busy_ratio, entry.disk, entry.probe)
    for operation, slowness in standing.operations:
        where = (entry.disk, entry.probe, operation)
        scrape.add(SLOWDOWN_SCORE, slowness.score, *where)
        scrape.add(SLOWDOWN_STATE, 1, *where, slowness.state)
        scrape.add(BASELINE_RUNS, slowness.runs, *where)
        if slowness.ratio is not None:
            scrape.add(SLOWDOWN_RATIO, slowness.ratio, *where)
        if slowness.p50_s is not None:
            scrape.add(BASELINE_LATENCY, slowness.p50_s, *where, "0.5")
        if slowness.p99_s is not None:
            scrape.add(BASELINE_LATENCY, slowness.p99_s, *where, "0.99")
        if slowness.bytes_per_second is not None:
            scrape.add(BASELINE_BYTES_PER_SECOND, slowness.bytes_per_second, *where)

"""Against the disk's own past: what is usual, how far the last runs were from it, and for how long they have been."""

import math

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
    for operation, track in standing.tracks.items():
        where = (entry.disk, entry.probe, operation)
        scrape.add(SLOWDOWN_SCORE, track.score, *where)
        scrape.add(SLOWDOWN_STATE, 1, *where, track.state)
        scrape.add(BASELINE_RUNS, track.runs, *where)
        if not math.isnan(track.ratio):
            scrape.add(SLOWDOWN_RATIO, track.ratio, *where)
        if (usual := track.usual) is None:
            continue
        for q, value in (("0.5", usual.p50), ("0.99", usual.p99)):
            if not math.isnan(value):
                scrape.add(BASELINE_LATENCY, math.exp(value), *where, q)
        if not math.isnan(usual.byte):
            scrape.add(BASELINE_BYTES_PER_SECOND, math.exp(-usual.byte), *where)

"""The last run's measurements: exact quantiles and rates, for alerts buckets are too coarse for; not of scrubs."""

from iovigil.agent.ledger import ProbeEntry
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.operations import NAMES, transfers
from iovigil.agent.metrics.scrape import Scrape
from iovigil.engines.stats import Counter, Latency

OPERATION = ("disk", "probe", "operation")
QUANTILES = {"0.5": 0.5, "0.99": 0.99, "0.999": 0.999, "1": 1.0}

# `q` and not `quantile`: promtool refuses that label on a gauge.
LAST_RUN_LATENCY = Family(
    "gauge",
    "iovigil_last_run_latency_seconds",
    "Latency quantiles of the last run, within 1 %.",
    (*OPERATION, "q"),
    "seconds",
    values={"q": tuple(QUANTILES)},
)
LAST_RUN_LATENCY_MEAN = Family(
    "gauge", "iovigil_last_run_latency_mean_seconds", "Mean latency of the last run.", OPERATION, "seconds"
)
LAST_RUN_BYTES_PER_SECOND = Family(
    "gauge", "iovigil_last_run_bytes_per_second", "Throughput of the last run.", OPERATION, "bytes"
)
LAST_RUN_IOS_PER_SECOND = Family("gauge", "iovigil_last_run_ios_per_second", "I/O rate of the last run.", OPERATION)


def fill(scrape: Scrape, entry: ProbeEntry) -> None:
    # What a scrub reaches follows its schedule, and its first cycle is another workload than all later ones: an alert
    # that compares a week with the next would be about that.
    if entry.last is None or entry.scrub is not None:
        return
    page = entry.last.page
    for ddir in transfers(entry.last.options):
        where = (entry.disk, entry.probe, NAMES[ddir])
        latency = page.histogram(Latency.CLAT, ddir)
        # A run that completed no I/O has no latency, and one that never got going has no rate: 0 would be a lie.
        if latency.count:
            for label, q in QUANTILES.items():
                scrape.add(LAST_RUN_LATENCY, latency.quantile_ns(q) / 1e9, *where, label)
            scrape.add(LAST_RUN_LATENCY_MEAN, latency.mean_ns / 1e9, *where)
        runtime_s = page.runtime_ns(ddir) / 1e9
        if runtime_s > 0:
            scrape.add(LAST_RUN_BYTES_PER_SECOND, page.counter(Counter.BYTES, ddir) / runtime_s, *where)
            scrape.add(LAST_RUN_IOS_PER_SECOND, page.counter(Counter.IOS, ddir) / runtime_s, *where)

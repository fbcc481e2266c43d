"""Runs: how many there were, how they ended, and the times of the last one."""

from iovigil.agent.ledger import Failure, ProbeEntry, Skip
from iovigil.agent.metrics.family import Family, names
from iovigil.agent.metrics.scrape import Scrape

PROBE = ("disk", "probe")

RUNS = Family("counter", "iovigil_runs_total", "Runs finished, whatever the outcome.", PROBE)
RUN_FAILURES = Family(
    "counter",
    "iovigil_run_failures_total",
    "Runs that failed, by first cause.",
    (*PROBE, "reason"),
    values={"reason": names(Failure)},
)
RUNS_SKIPPED = Family(
    "counter",
    "iovigil_runs_skipped_total",
    "Planned runs that were not started.",
    (*PROBE, "reason"),
    values={"reason": names(Skip)},
)
ENGINE_FALLBACKS = Family(
    "counter",
    "iovigil_engine_fallbacks_total",
    "Runs that used another engine than the configured one because the host does not allow it.",
    PROBE,
)
RUN_IN_PROGRESS = Family("gauge", "iovigil_run_in_progress", "Whether a run is active.", PROBE)
LAST_RUN_SUCCESS = Family("gauge", "iovigil_last_run_success", "Whether the last finished run succeeded.", PROBE)
LAST_RUN_START = Family(
    "gauge",
    "iovigil_last_run_start_timestamp_seconds",
    "Unix start time of the last finished run.",
    PROBE,
    "seconds",
)
LAST_RUN_END = Family(
    "gauge", "iovigil_last_run_end_timestamp_seconds", "Unix end time of the last finished run.", PROBE, "seconds"
)
LAST_SUCCESS = Family(
    "gauge", "iovigil_last_success_timestamp_seconds", "Unix end time of the last successful run.", PROBE, "seconds"
)
LAST_RUN_DURATION = Family(
    "gauge", "iovigil_last_run_duration_seconds", "Wall time of the last finished run.", PROBE, "seconds"
)


def fill(scrape: Scrape, entry: ProbeEntry) -> None:
    where = (entry.disk, entry.probe)
    scrape.add(RUNS, entry.runs, *where)
    for failure, count in entry.failures.items():
        scrape.add(RUN_FAILURES, count, *where, failure)
    for skip, count in entry.skips.items():
        scrape.add(RUNS_SKIPPED, count, *where, skip)
    scrape.add(ENGINE_FALLBACKS, entry.fallbacks, *where)
    scrape.add(RUN_IN_PROGRESS, entry.live is not None, *where)
    if entry.last_success_unix:
        scrape.add(LAST_SUCCESS, entry.last_success_unix, *where)
    if entry.last is None:
        return
    scrape.add(LAST_RUN_SUCCESS, entry.last.is_success, *where)
    scrape.add(LAST_RUN_START, entry.last.started_unix, *where)
    scrape.add(LAST_RUN_END, entry.last.ended_unix, *where)
    scrape.add(LAST_RUN_DURATION, entry.last.duration_s, *where)

"""Scrubs: how far each is in its region, and when the block longest unread was read."""

from iovigil.agent.ledger import ProbeEntry
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.scrape import Scrape
from iovigil.engines.stats import StatsPage

PROBE = ("disk", "probe")

SCRUB_PERIOD = Family(
    "gauge", "iovigil_scrub_period_seconds", "Configured time within which every block is to be read again.", PROBE,
    "seconds",
)  # fmt: skip
SCRUB_REGION_BYTES = Family(
    "gauge", "iovigil_scrub_region_bytes", "Size of the region that is scrubbed.", PROBE, "bytes"
)
SCRUB_PROGRESS = Family(
    "gauge", "iovigil_scrub_progress_ratio", "How far the present cycle is: 0 to 1.", PROBE, "ratio"
)
SCRUB_CYCLES = Family(
    "counter",
    "iovigil_scrub_cycles_total",
    "Complete cycles of the region's present life; the first one writes every block.",
    PROBE,
)
SCRUB_CYCLE_START = Family(
    "gauge",
    "iovigil_scrub_cycle_start_timestamp_seconds",
    "Unix time at which the present cycle began.",
    PROBE,
    "seconds",
)
SCRUB_LAST_CYCLE_END = Family(
    "gauge",
    "iovigil_scrub_last_cycle_end_timestamp_seconds",
    "Unix time at which the last complete cycle ended; 0 before.",
    PROBE,
    "seconds",
)
SCRUB_OLDEST_UNREAD = Family(
    "gauge",
    "iovigil_scrub_oldest_unread_timestamp_seconds",
    "Unix time at which the block longest unread was read, or first written, if not later.",
    PROBE,
    "seconds",
)
SCRUB_UNKNOWN_BLOCKS = Family(
    "gauge", "iovigil_scrub_unknown_blocks", "Blocks that could not be written: what they hold is not known.", PROBE
)


def fill(scrape: Scrape, entry: ProbeEntry, view: StatsPage) -> None:
    if entry.scrub is None:
        return
    where = (entry.disk, entry.probe)
    scrape.add(SCRUB_PERIOD, entry.scrub.period_s, *where)
    figures = view.scrub
    if figures is None:
        return  # the first run since the agent's start has not read the state yet
    scrape.add(SCRUB_REGION_BYTES, figures.region_bytes, *where)
    scrape.add(SCRUB_PROGRESS, figures.cursor_bytes / figures.region_bytes, *where)
    scrape.add(SCRUB_CYCLES, figures.cycles_completed, *where)
    scrape.add(SCRUB_CYCLE_START, figures.cycle_begun_unix, *where)
    scrape.add(SCRUB_LAST_CYCLE_END, figures.last_ended_unix, *where)
    scrape.add(SCRUB_OLDEST_UNREAD, figures.oldest_unix, *where)
    scrape.add(SCRUB_UNKNOWN_BLOCKS, figures.unknown_blocks, *where)

"""Probes: what is configured to run on each disk, and how often."""

from iovigil.agent.ledger import DiskEntry, ProbeEntry
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.scrape import Scrape

PROBE_INFO = Family(
    "gauge",
    "iovigil_probe_info",
    "Workload definition; always 1.",
    ("disk", "probe", "rw", "block_size", "iodepth", "engine", "target", "verify"),
    values={"target": ("file", "device")},
)
INTERVAL = Family(
    "gauge",
    "iovigil_interval_seconds",
    "Configured interval between planned starts.",
    ("disk", "probe"),
    "seconds",
)
TIMEOUT = Family("gauge", "iovigil_timeout_seconds", "Configured hard limit of one run.", ("disk", "probe"), "seconds")

LONGEST_GAP = Family(
    "gauge",
    "iovigil_longest_gap_seconds",
    "Longest time between two planned starts: the interval, or more where windows keep starts out.",
    ("disk", "probe"),
    "seconds",
)
PAUSED = Family("gauge", "iovigil_probe_paused", "Whether somebody paused it.", ("disk", "probe"))


def fill(scrape: Scrape, entry: ProbeEntry, disk: DiskEntry | None) -> None:
    options = entry.options
    scrape.add(
        PROBE_INFO,
        1,
        entry.disk,
        entry.probe,
        options.rw,
        str(options.max_bs),
        str(options.iodepth),
        entry.engine,
        disk.target if disk else "",
        "crc32c" if entry.scrub else options.verify,
    )
    scrape.add(INTERVAL, entry.interval_s, entry.disk, entry.probe)
    scrape.add(LONGEST_GAP, entry.longest_gap_s or entry.interval_s, entry.disk, entry.probe)
    scrape.add(PAUSED, entry.is_paused, entry.disk, entry.probe)
    scrape.add(TIMEOUT, entry.timeout_s, entry.disk, entry.probe)

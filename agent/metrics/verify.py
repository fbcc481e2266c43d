"""Verification: how much was read back and checked, and what was wrong with it."""

from iovigil.agent.ledger import ProbeEntry
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.operations import READ, WRITE
from iovigil.agent.metrics.scrape import Scrape
from iovigil.agent.mismatch_text import NAMES
from iovigil.engines.stats import Counter, StatsPage

PROBE = ("disk", "probe")

VERIFIED_BYTES = Family("counter", "iovigil_verified_bytes_total", "Bytes read back and checked.", PROBE, "bytes")
UNVERIFIED_BYTES = Family(
    "counter",
    "iovigil_unverified_bytes_total",
    "Bytes written under verify and never read back: something else was written there before it came to that.",
    PROBE,
    "bytes",
)
PENDING_BYTES = Family(
    "gauge",
    "iovigil_verify_pending_bytes",
    "Bytes that the last run wrote and had no time to read back: the next run begins with them.",
    PROBE,
    "bytes",
)
VERIFY_MISMATCHES = Family(
    "counter",
    "iovigil_verify_mismatches_total",
    "Blocks that failed verification, by kind.",
    (*PROBE, "kind"),
    values={"kind": tuple(NAMES.values())},
)
VERIFY_LAST_MISMATCH = Family(
    "gauge",
    "iovigil_verify_last_mismatch_timestamp_seconds",
    "Unix time of the last mismatch, also of one before a restart of the agent; 0 if none is known.",
    PROBE,
    "seconds",
)


def fill(scrape: Scrape, entry: ProbeEntry, view: StatsPage) -> None:
    where = (entry.disk, entry.probe)
    verified = sum(view.counter(Counter.VERIFIED_BYTES, ddir) for ddir in (READ, WRITE))
    scrape.add(VERIFIED_BYTES, verified, *where)
    scrape.add(UNVERIFIED_BYTES, entry.unverified_bytes, *where)
    scrape.add(PENDING_BYTES, entry.pending_bytes, *where)
    for kind, label in NAMES.items():
        scrape.add(VERIFY_MISMATCHES, view.mismatch(kind), *where, label)
    scrape.add(VERIFY_LAST_MISMATCH, entry.last_mismatch_unix, *where)

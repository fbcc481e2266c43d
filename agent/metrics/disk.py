"""Disks: which device is behind each configured disk, and whether it is there and answers."""

from iovigil.agent.disks.identity import LABELS
from iovigil.agent.ledger import DiskEntry
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.scrape import Scrape

DISK_INFO = Family(
    "gauge", "iovigil_disk_info", "Identity of the disk behind the disk label; always 1.", ("disk", *LABELS)
)
DISK_PRESENT = Family(
    "gauge", "iovigil_disk_present", "Whether the configured selector resolves to a device now.", ("disk",)
)
DISK_STUCK = Family(
    "gauge",
    "iovigil_disk_stuck",
    "Whether the disk does not answer: an I/O is in flight for over a minute, or a run had to be killed with one in "
    "flight and none has ended by itself since, or a child does not end on SIGKILL.",
    ("disk",),
)
DISK_QUARANTINED = Family(
    "gauge",
    "iovigil_disk_quarantined",
    "Whether an I/O did not come back: nothing starts but a trial now and then, until one ends by itself.",
    ("disk",),
)
DISK_QUARANTINES = Family(
    "counter", "iovigil_disk_quarantines_total", "Quarantines begun; trials that hang are part of one.", ("disk",)
)
DISK_QUARANTINE_END = Family(
    "gauge",
    "iovigil_disk_quarantine_end_timestamp_seconds",
    "Unix time from which the disk is tried again; 0 without a quarantine, and while a child that does not end holds "
    "the disk.",
    ("disk",),
    "seconds",
)


def fill(scrape: Scrape, disk: DiskEntry) -> None:
    # An absent disk keeps its row, with empty labels: a join on disk_info must not lose the disks that matter most.
    scrape.add(DISK_INFO, 1, disk.name, *(disk.identity.get(label, "") for label in LABELS))
    scrape.add(DISK_PRESENT, disk.is_present, disk.name)
    scrape.add(DISK_STUCK, disk.is_stuck, disk.name)
    scrape.add(DISK_QUARANTINED, disk.is_quarantined, disk.name)
    scrape.add(DISK_QUARANTINES, disk.quarantines, disk.name)
    scrape.add(DISK_QUARANTINE_END, disk.quarantine_end_unix, disk.name)

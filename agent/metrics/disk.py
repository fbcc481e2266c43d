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
    "Whether a worker on this disk ignored SIGKILL (uninterruptible I/O).",
    ("disk",),
)


def fill(scrape: Scrape, disk: DiskEntry) -> None:
    # An absent disk keeps its row, with empty labels: a join on disk_info must not lose the disks that matter most.
    scrape.add(DISK_INFO, 1, disk.name, *(disk.identity.get(label, "") for label in LABELS))
    scrape.add(DISK_PRESENT, disk.is_present, disk.name)
    scrape.add(DISK_STUCK, disk.is_stuck, disk.name)

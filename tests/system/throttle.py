"""Has a block device of a test hang: the kernel lets a byte a second through, for every process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device")


def can_throttle() -> bool:
    return os.access(LIMIT, os.W_OK)


class Throttle:
    """The hand on one device: reads that are begun while it is shut come back when it is open again."""

    def __init__(self, device: Path) -> None:
        number = device.stat().st_rdev
        self._number = f"{os.major(number)}:{os.minor(number)}"

    def shut(self) -> None:
        LIMIT.write_text(f"{self._number} 1")

    def open(self) -> None:
        LIMIT.write_text(f"{self._number} 0")


@contextlib.contextmanager
def throttled(device: Path) -> Iterator[Throttle]:
    throttle = Throttle(device)
    try:
        yield throttle
    finally:
        throttle.open()

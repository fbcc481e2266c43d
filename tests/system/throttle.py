"""Has a block device of a test hang or be slow: a byte a second, or so many I/Os, are let through for everybody."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LIMITS = Path("/sys/fs/cgroup/blkio")
BYTES, IOS = "blkio.throttle.read_bps_device", "blkio.throttle.read_iops_device"


def can_throttle() -> bool:
    return os.access(LIMITS / BYTES, os.W_OK)


class Throttle:
    """The hand on one device: reads that are begun while it is shut come back when it is open again."""

    def __init__(self, device: Path, most: int = 1, of: str = BYTES) -> None:
        """`most` is what a second is to bring while it is shut."""
        number = device.stat().st_rdev
        self._number = f"{os.major(number)}:{os.minor(number)}"
        self._file = LIMITS / of
        self._most = most

    def shut(self) -> None:
        self._file.write_text(f"{self._number} {self._most}")

    def open(self) -> None:
        self._file.write_text(f"{self._number} 0")


@contextlib.contextmanager
def throttled(device: Path, most: int = 1, of: str = BYTES) -> Iterator[Throttle]:
    throttle = Throttle(device, most, of)
    try:
        yield throttle
    finally:
        throttle.open()

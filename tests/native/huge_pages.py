"""Huge pages for tests: more than there are, for a while."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
RETURN_DEADLINE_S = 10.0


def free() -> int:
    try:
        return int((POOL / "free_hugepages").read_text())
    except OSError:
        return 0


@contextlib.contextmanager
def more(count: int) -> Iterator[None]:
    """So many pages of 2 MiB more, for as long as the block runs."""
    setting = POOL / "nr_hugepages"
    try:
        before = int(setting.read_text())
        setting.write_text(str(before + count))
    except OSError:
        pytest.skip("needs root and huge pages of 2 MiB")
    try:
        if int(setting.read_text()) < before + count:
            pytest.skip("this machine has no memory for huge pages")
        yield
    finally:
        # What io_uring had registered comes back a little after its process has ended.
        end = time.monotonic() + RETURN_DEADLINE_S
        while int(setting.read_text()) > before and time.monotonic() < end:
            setting.write_text(str(before))
            time.sleep(0.01)

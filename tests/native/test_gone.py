"""A device that vanishes under an open descriptor is said to be gone: not short, not full, not corrupt."""

import contextlib
import errno
import fcntl
import os
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scrubbing import order_of, state_file, states

from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Mismatch, RunState, StatsPage

pytestmark = [pytest.mark.requires_root, pytest.mark.requires_loop]

READ, WRITE = 0, 1
MIB = 1 << 20
SIZE = 16 * MIB
DEADLINE_S = 20.0
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
LOOP_INFO_BYTES, LOOP_OFFSET_AT = 232, 24
ENGINES = [
    pytest.param(name, marks=pytest.mark.requires_io_uring if name == "io_uring" else ())
    for name in ("psync", "sync", "pvsync2", "io_uring", "libaio", "posixaio")
]


class Disk:
    """A loop device that can be made to have size 0, as a disk that was pulled has: its I/Os end as there."""

    def __init__(self, device: str) -> None:
        self.device = device

    def vanish(self) -> None:
        """Have it begin where its file ends. To shorten the file would leave a moment for other errors."""
        with Path(self.device).open("rb") as device:
            status = bytearray(LOOP_INFO_BYTES)
            fcntl.ioctl(device, LOOP_GET_STATUS64, status)
            struct.pack_into("<Q", status, LOOP_OFFSET_AT, SIZE)
            end_s = time.monotonic() + DEADLINE_S
            while True:
                try:
                    fcntl.ioctl(device, LOOP_SET_STATUS64, status)
                except BlockingIOError:  # pages are on their way
                    assert time.monotonic() < end_s
                else:
                    return


def command(*arguments: str) -> str:
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=DEADLINE_S).stdout.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, SIZE)
    device = command("losetup", "--find", "--show", str(image))
    try:
        yield Disk(device)
    finally:
        command("losetup", "--detach", device)


@contextlib.contextmanager
def opened(device: str, direct: int = 1) -> Iterator[int]:
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC | (os.O_DIRECT if direct else 0))
    try:
        yield fd
    finally:
        os.close(fd)


def run_until_gone(disk: Disk, scrub: dict[str, Any] | None = None, ios: int = 1, **changes: Any) -> StatsPage:
    """A job that would go on for a minute, on a disk that vanishes under it after so many I/Os."""
    options = {
        "bs": (4096,) * 3,
        "size": SIZE,
        "time_based": True,
        "runtime": 60_000_000,
        "iodepth": 4,
        "direct": 1,
        "invalidate": False,
        **changes,
    }
    page = StatsPage.create()
    with opened(disk.device, int(options["direct"])) as fd:
        # Set up where it runs: a ring has one thread.
        thread = threading.Thread(
            target=lambda: Job(JobOptions(**options).native(), page, [(fd, SIZE)], scrub=scrub).run(), daemon=True
        )
        thread.start()
        end_s = time.monotonic() + DEADLINE_S
        while page.counter(Counter.IOS, READ) < ios and page.counter(Counter.IOS, WRITE) < ios:
            assert time.monotonic() < end_s, "no I/O was done"
            time.sleep(0.01)
        disk.vanish()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert page.is_complete
    return page


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rw", ["randread", "randwrite"])
def test_a_device_that_vanishes_is_gone_whatever_the_kernel_says_of_the_io(disk: Disk, engine: str, rw: str) -> None:
    page = run_until_gone(disk, ioengine=engine, rw=rw)
    assert page.error == errno.ENODEV
    assert page.text.endswith("No such device (ENODEV): the device was removed while it was open")
    ddir = READ if rw == "randread" else WRITE
    assert set(page.errors(ddir)) == {errno.ENODEV}


def test_an_error_of_a_flush_is_told_as_what_it_comes_from(disk: Disk) -> None:
    page = run_until_gone(disk, rw="randwrite", ioengine="psync", direct=0, fdatasync=1, iodepth=1)
    assert page.error == errno.ENODEV
    assert "removed while it was open" in page.text


def test_a_device_that_is_gone_is_not_full(disk: Disk) -> None:
    page = run_until_gone(disk, rw="randwrite", ioengine="psync", fill_device=True)
    assert page.error == errno.ENODEV


def test_what_was_written_to_a_device_that_is_gone_is_no_mismatch(disk: Disk) -> None:
    page = run_until_gone(disk, rw="randwrite", ioengine="io_uring", verify="crc32c")
    assert page.error == errno.ENODEV
    assert [page.mismatch(kind) for kind in Mismatch] == [0] * len(Mismatch)
    assert page.state == RunState.EXITED


def test_a_job_that_goes_on_after_errors_ends_all_the_same(disk: Disk) -> None:
    page = run_until_gone(disk, rw="randread", ioengine="psync", continue_on_error="all")
    assert page.error == errno.ENODEV
    assert page.total_errors == 1


def test_a_scrub_does_not_take_the_blocks_of_a_device_that_is_gone_for_bad_ones(disk: Disk) -> None:
    with state_file() as state_fd:
        order = order_of(state_fd, cycles=100_000, window_bytes=MIB)
        page = run_until_gone(disk, order, ios=1000, rw="rw", bs=(65536,) * 3, ioengine="io_uring", time_based=False)
        assert page.error == errno.ENODEV
        assert "removed while it was open" in page.text
        state = states(state_fd)
    assert state["cycle"] > 1
    assert state["exception_count"] == 0
    assert [page.mismatch(kind) for kind in Mismatch] == [0] * len(Mismatch)

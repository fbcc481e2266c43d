"""The fault disk does what it says, with plain Python I/O: through FUSE and through a loop device on top."""

import errno
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_disk import FaultDisk, fuse_connection, mounted
from processes import wait_until

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop]

BLOCK = 4096


class Direct:
    """A file or device opened past the page cache, read and written a block at a time."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, BLOCK)  # O_DIRECT wants aligned memory; a mapping starts on a page

    def read(self, offset: int) -> bytes:
        assert os.preadv(self.fd, [self.buffer], offset) == BLOCK
        return bytes(self.buffer)

    def write(self, offset: int, data: bytes) -> None:
        self.buffer[:] = data
        assert os.pwritev(self.fd, [self.buffer], offset) == BLOCK


@pytest.fixture(params=["fuse", "loop"])
def direct(request: pytest.FixtureRequest, fault_disk: FaultDisk) -> Iterator[Direct]:
    opened = Direct(fault_disk.path if request.param == "fuse" else fault_disk.as_loop_device())
    yield opened
    fault_disk.clear()  # closing a device waits for what is in flight
    os.close(opened.fd)


def pattern(seed: int) -> bytes:
    return bytes((seed + i) % 256 for i in range(BLOCK))


def errno_of(action, *arguments) -> int:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is the assertion
        action(*arguments)
    assert caught.value.errno is not None
    return caught.value.errno


def test_a_good_disk_gives_back_what_was_written(direct, fault_disk):
    direct.write(8 * BLOCK, pattern(1))
    assert direct.read(8 * BLOCK) == pattern(1)
    assert fault_disk.backing.read_bytes()[8 * BLOCK : 9 * BLOCK] == pattern(1)


def test_reads_fail_in_the_range_and_nowhere_else(direct, fault_disk):
    fault_disk.fail_reads(2 * BLOCK, BLOCK)
    assert errno_of(direct.read, 2 * BLOCK) == errno.EIO
    direct.read(BLOCK)
    direct.read(3 * BLOCK)
    direct.write(2 * BLOCK, pattern(2))
    assert fault_disk.hits >= 1
    fault_disk.clear()
    assert direct.read(2 * BLOCK) == pattern(2)


def test_reads_fail_with_the_errno_asked_for(direct, fault_disk):
    fault_disk.fail_reads(0, BLOCK, errno=errno.ENODATA)
    assert errno_of(direct.read, 0) == errno.ENODATA


def test_writes_fail_in_the_range_and_nowhere_else(direct, fault_disk):
    fault_disk.fail_writes(2 * BLOCK, BLOCK)
    assert errno_of(direct.write, 2 * BLOCK, pattern(3)) == errno.EIO
    direct.write(3 * BLOCK, pattern(3))
    assert direct.read(2 * BLOCK) == bytes(BLOCK)


def test_a_full_disk_says_that_there_is_no_space(direct, fault_disk):
    fault_disk.fill_up(4 * BLOCK)
    direct.write(3 * BLOCK, pattern(4))
    assert errno_of(direct.write, 4 * BLOCK, pattern(4)) == errno.ENOSPC


def test_syncs_fail(direct, fault_disk):
    fault_disk.fail_syncs()
    assert errno_of(os.fsync, direct.fd) == errno.EIO


def test_a_flipped_bit_is_in_what_is_read_and_not_in_what_is_stored(direct, fault_disk):
    direct.write(0, pattern(5))
    fault_disk.flip(1000, bit=3)
    wrong = [i for i, (got, stored) in enumerate(zip(direct.read(0), pattern(5), strict=True)) if got != stored]
    assert wrong == [1000]
    assert direct.read(0)[1000] == pattern(5)[1000] ^ 0b1000
    assert fault_disk.backing.read_bytes()[:BLOCK] == pattern(5)


def test_dropped_writes_leave_the_old_data(direct, fault_disk):
    direct.write(0, pattern(6))
    fault_disk.drop_writes(0, BLOCK)
    direct.write(0, pattern(7))
    assert direct.read(0) == pattern(6)


def test_writes_are_dropped_in_the_range_and_nowhere_else(direct, fault_disk):
    fault_disk.drop_writes(100, 50)
    direct.write(0, pattern(8))
    assert direct.read(0) == pattern(8)[:100] + bytes(50) + pattern(8)[150:]


def test_a_bit_flipped_on_the_way_down_is_stored(direct, fault_disk):
    fault_disk.flip(1000, bit=3, operation="write")
    direct.write(0, pattern(5))
    fault_disk.clear()
    assert direct.read(0) == pattern(5)[:1000] + bytes([pattern(5)[1000] ^ 0b1000]) + pattern(5)[1001:]
    assert fault_disk.intended.read_bytes()[:BLOCK] == pattern(5)


def test_zeroes_are_read_or_written_in_the_range_and_nowhere_else(direct, fault_disk):
    direct.write(0, pattern(9))
    fault_disk.zero(100, 50)
    assert direct.read(0) == pattern(9)[:100] + bytes(50) + pattern(9)[150:]
    assert fault_disk.backing.read_bytes()[:BLOCK] == pattern(9)
    fault_disk.clear()
    fault_disk.zero(100, 50, "write")
    direct.write(0, pattern(9))
    assert fault_disk.backing.read_bytes()[:BLOCK] == pattern(9)[:100] + bytes(50) + pattern(9)[150:]


def test_the_first_writes_may_be_good_ones(direct, fault_disk):
    fault_disk.drop_writes(0, BLOCK, skip=2)
    for seed in (1, 2, 3):
        direct.write(0, pattern(seed))
    assert direct.read(0) == pattern(2)


def test_a_torn_write_keeps_its_beginning(direct, fault_disk):
    direct.write(0, pattern(1))
    fault_disk.tear(0, BLOCK, keep=1000)
    direct.write(0, pattern(2))
    assert direct.read(0) == pattern(2)[:1000] + pattern(1)[1000:]


def test_a_stray_write_is_elsewhere_and_not_in_its_place(direct, fault_disk):
    direct.write(BLOCK, pattern(1))
    direct.write(5 * BLOCK, pattern(2))
    fault_disk.misdirect(BLOCK, BLOCK, 5 * BLOCK)
    direct.write(BLOCK, pattern(3))
    assert direct.read(BLOCK) == pattern(1)
    assert direct.read(5 * BLOCK) == pattern(3)
    # It may have passed one that was issued before it.
    direct.write(5 * BLOCK, pattern(4))
    os.fsync(direct.fd)
    assert direct.read(5 * BLOCK) == pattern(3)
    assert fault_disk.intended.read_bytes()[5 * BLOCK : 6 * BLOCK] == pattern(4)


def test_a_stray_read_comes_from_elsewhere(direct, fault_disk):
    direct.write(BLOCK, pattern(1))
    direct.write(5 * BLOCK, pattern(2))
    fault_disk.misdirect(BLOCK, BLOCK, 5 * BLOCK, "read")
    assert direct.read(BLOCK) == pattern(2)
    assert direct.read(2 * BLOCK) == bytes(BLOCK)


def test_an_old_copy_is_read_while_the_new_one_is_stored(direct, fault_disk):
    direct.write(0, pattern(1))
    fault_disk.age(0, BLOCK)
    direct.write(0, pattern(2))
    assert direct.read(0) == pattern(1)
    fault_disk.clear()
    assert direct.read(0) == pattern(2)


def test_what_was_written_is_gone_after_a_sync(direct, fault_disk):
    direct.write(0, pattern(1))
    fault_disk.age(0, BLOCK, "sync")
    direct.write(0, pattern(2))
    assert direct.read(0) == pattern(2)
    os.fsync(direct.fd)
    assert direct.read(0) == pattern(1)


def test_a_delay_is_kept(direct, fault_disk):
    fault_disk.delay(0.2, operation="read")
    start = time.monotonic()
    direct.read(0)
    assert 0.2 <= time.monotonic() - start < 2


def reader(path: Path) -> subprocess.Popen[bytes]:
    """A process that reads the first block directly and says so. Never this process: it could not be killed."""
    program = (
        "import mmap, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT);"
        "os.preadv(fd, [mmap.mmap(-1, 4096)], 0)"
    )
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", program, path], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", ["fuse", "loop"])
def test_a_hung_read_comes_back_when_it_is_released(fault_disk, kind):
    path = fault_disk.path if kind == "fuse" else fault_disk.as_loop_device()
    fault_disk.hang(operation="read")
    process = reader(path)
    fault_disk.wait_for_hung()
    assert process.poll() is None
    fault_disk.release()
    assert process.wait(5) == 0
    assert fault_disk.hung == 0


def test_a_reader_of_a_hung_loop_device_survives_sigkill_until_released(fault_disk):
    device = fault_disk.as_loop_device()
    fault_disk.hang(operation="read")
    process = reader(device)
    fault_disk.wait_for_hung()
    process.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    fault_disk.release()
    assert process.wait(5) == -9


def test_a_hung_disk_is_taken_down_with_its_requests(tmp_path, monkeypatch):
    with mounted(tmp_path) as disk:
        mountpoint = disk.path.parent
        device = disk.as_loop_device()
        disk.hang(operation="read")
        processes = [reader(disk.path), reader(device)]
        disk.wait_for_hung(2)
        monkeypatch.setattr(disk, "clear", lambda: None)  # the requests are still held when the daemon is killed
    assert [process.wait(5) for process in processes] == [1, 1]
    assert fuse_connection(mountpoint) == ""
    wait_until(lambda: is_detached(device), "detached", 5)


def test_file_system_and_loop_device_go_when_their_test_is_killed(tmp_path):
    program = (
        "import os, pathlib, sys; sys.path.insert(0, sys.argv[1]); import fault_disk\n"
        "with fault_disk.mounted(pathlib.Path(sys.argv[2])) as disk:\n"
        "    print(disk.as_loop_device(), flush=True); disk.hang(); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=20)
    assert killed.returncode == -9
    wait_until(lambda: not fuse_connection(tmp_path / "fault-mount"), "unmounted", 5)
    wait_until(lambda: is_detached(Path(killed.stdout.strip())), "detached", 5)


def is_detached(device: Path) -> bool:
    """Whether a loop device shows no fault disk, but nothing, or by now somebody else's file."""
    try:
        return not Path(f"/sys/block/{device.name}/loop/backing_file").read_text().strip().endswith("/disk")
    except OSError:
        return True

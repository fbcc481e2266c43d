"""splice: contents as fio's, any length at any offset, and no byte of a failed I/O in the next one."""

import errno
from pathlib import Path
from typing import Any

import pytest
from engine_runs import KIB, MIB, READ, SYNC, WRITE, data_file, run_job
from fault_disk import FaultDisk

from iovigil.engines.stats import Counter, Mismatch

BLOCK = 4 * KIB
SIZE = MIB
directs = pytest.mark.parametrize("direct", [0, 1])


def run(path: Path, **options: Any) -> Any:
    return run_job(path, **{"ioengine": "splice", "bs": BLOCK, "size": SIZE, **options})


@pytest.mark.parametrize("bs", [512, 1000, 4097, 3 * MIB + 17])
def test_any_length_at_any_offset_comes_back_whole(tmp_path: Path, bs: int) -> None:
    size = 6 * bs
    path = data_file(tmp_path / "data", size + 123)
    done = run(path, rw="randwrite", bs=bs, size=size, offset=123, verify="crc32c")
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == size


@pytest.mark.requires_loop
@directs
def test_a_device_is_read_as_a_file_is(loop_device: Any, direct: int) -> None:
    done = run(loop_device(SIZE), rw="randread", bs=64 * KIB, direct=direct)
    assert done.status == 0, done.show()
    assert done.bytes(READ) == SIZE


@pytest.mark.requires_fuse
@directs
@pytest.mark.parametrize("bs", [4 * KIB, 32 * KIB])
def test_after_an_error_the_next_block_is_its_own(fault_disk: FaultDisk, bs: int, direct: int) -> None:
    done = run(fault_disk.path, rw="write", bs=bs, verify="crc32c", direct=direct)
    assert done.status == 0, done.show()
    # In the middle of a block, so that pages before it are in the pipe already.
    fault_disk.fail_reads(8 * bs + bs // 2, 512)
    done = run(fault_disk.path, rw="randread", bs=bs, verify="crc32c", direct=direct, continue_on_error="read")
    assert done.page.errors(READ) == {errno.EIO: 1}, done.show()
    assert done.mismatches == {}
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE - bs


@pytest.mark.requires_fuse
def test_a_write_that_the_disk_refuses_is_an_error(fault_disk: FaultDisk) -> None:
    fault_disk.fail_writes(10 * BLOCK, BLOCK)
    done = run(fault_disk.path, rw="write", direct=1, continue_on_error="write", verify="crc32c")
    assert done.page.errors(WRITE) == {errno.EIO: 1}, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE - BLOCK
    assert done.mismatches == {}


@pytest.mark.requires_fuse
def test_a_failed_sync_ends_the_job(fault_disk: FaultDisk) -> None:
    fault_disk.fail_syncs()
    done = run(fault_disk.path, rw="write", fsync=10)
    assert done.status == 1
    assert done.page.errors(SYNC) == {errno.EIO: 1}


@pytest.mark.requires_fuse
def test_a_file_that_ends_within_a_block_is_short_and_then_an_error(fault_disk: FaultDisk) -> None:
    fault_disk.shorten(1000, 20 * BLOCK, BLOCK, "read")
    done = run(fault_disk.path, rw="read", direct=1, continue_on_error="read")
    assert done.status == 0, done.show()
    assert done.bytes(READ) == SIZE
    assert done.page.counter(Counter.SHORT_IOS, READ) + done.ios(READ) >= SIZE // BLOCK


@pytest.mark.requires_fuse
def test_the_check_sees_what_the_disk_holds(fault_disk: FaultDisk) -> None:
    fault_disk.flip(20 * BLOCK + 1000)
    done = run(fault_disk.path, rw="randwrite", verify="crc32c", direct=1)
    assert done.status == 1
    assert done.mismatches == {Mismatch.CHECKSUM: 1}, done.show()

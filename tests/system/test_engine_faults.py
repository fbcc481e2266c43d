"""What a job makes of a disk that fails: errors counted and told, damage found, nothing made worse."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ASYNCHRONOUS, ENGINES, KIB, MIB, READ, SYNC, WRITE, Outcome, data_file, run_job, running
from fault_disk import FaultDisk, abort, fuse_connection

from iovigil.agent.ledger import Failure
from iovigil.agent.verdict import judge
from iovigil.engines.stats import Counter, Mismatch

pytestmark = pytest.mark.requires_fuse

BLOCK = 4 * KIB
BLOCKS = 256
SIZE = BLOCKS * BLOCK

engines = pytest.mark.parametrize("engine", ENGINES)

# The kernel's FUSE makes an error of a short write that is asynchronous. For posixaio threads make the plain calls, and
# those for one file come one after the other.
FUSE_SEES_AS_ASYNCHRONOUS = ("io_uring", "libaio")


def errors(done: Outcome) -> dict[int, dict[int, int]]:
    """{direction: {errno: times}} of all that went wrong."""
    return {ddir: done.page.errors(ddir) for ddir in range(4) if done.page.errors(ddir)}


def work(disk: FaultDisk, **options: Any) -> Outcome:
    return run_job(disk.path, **{"bs": BLOCK, "size": SIZE, "iodepth": 4, "direct": 1, **options})


def verified(disk: FaultDisk, **options: Any) -> Outcome:
    return work(disk, **{"rw": "randwrite", "verify": "crc32c", **options})


@engines
@pytest.mark.parametrize("rw", ["read", "write"])
def test_a_job_ends_at_the_first_error_and_says_where(fault_disk: FaultDisk, engine: str, rw: str) -> None:
    (fault_disk.fail_reads if rw == "read" else fault_disk.fail_writes)(100 * BLOCK, BLOCK)
    done = work(fault_disk, rw=rw, ioengine=engine)
    ddir = READ if rw == "read" else WRITE
    assert done.status == 1
    assert done.page.error == errno.EIO
    assert done.page.text == f"{rw} at offset {100 * BLOCK}, length {BLOCK}: Input/output error (EIO)"
    assert done.messages == (f"error: {done.page.text}",)
    assert errors(done) == {ddir: {errno.EIO: 1}}
    assert done.page.total_errors == 1
    # The others in flight go on until the answer is there.
    assert 96 <= done.bytes(ddir) // BLOCK < (BLOCKS if engine in ASYNCHRONOUS else 101)
    assert done.page.is_complete


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (errno.ENODATA, "ENODATA"),
        (errno.ETIMEDOUT, "ETIMEDOUT"),
        (errno.EREMOTEIO, "EREMOTEIO"),
        # What the kernel says when a disk's own protection information is wrong.
        (errno.EILSEQ, "EILSEQ"),
    ],
)
def test_the_errno_is_the_disks_own(fault_disk: FaultDisk, number: int, name: str) -> None:
    fault_disk.fail_reads(0, BLOCK, errno=number)
    done = work(fault_disk, rw="read")
    assert done.page.error == done.page.first_error == number
    assert errors(done) == {READ: {number: 1}}
    assert done.page.text.endswith(f"{os.strerror(number)} ({name})")


@engines
def test_errors_passed_over_are_counted_exactly_and_the_rest_is_read(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.fail_reads(10 * BLOCK, 7 * BLOCK)
    fault_disk.fail_reads(200 * BLOCK, BLOCK, errno=errno.ENODATA)
    done = work(fault_disk, rw="randread", ioengine=engine, continue_on_error="read")
    assert errors(done) == {READ: {errno.EIO: 7, errno.ENODATA: 1}}
    assert done.page.total_errors == 8
    assert done.page.first_error in (errno.EIO, errno.ENODATA)
    assert done.page.error == 0
    assert done.bytes(READ) == SIZE - 8 * BLOCK
    assert done.status == 0


@pytest.mark.parametrize(
    ("passed", "reads", "writes"),
    [
        ("none", False, False),
        ("read", True, False),
        ("write", False, True),
        ("io", True, True),
        ("verify", False, False),
        ("all", True, True),
    ],
)
@pytest.mark.parametrize("rw", ["read", "write"])
def test_continue_on_error_names_what_may_fail(
    fault_disk: FaultDisk, passed: str, rw: str, reads: bool, writes: bool
) -> None:
    (fault_disk.fail_reads if rw == "read" else fault_disk.fail_writes)(3 * BLOCK, 5 * BLOCK)
    done = work(fault_disk, rw=rw, continue_on_error=passed)
    may_pass = reads if rw == "read" else writes
    assert done.page.total_errors == (5 if may_pass else 1)
    assert done.status == (0 if may_pass else 1)


@engines
def test_a_failed_fsync_ends_the_job(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.fail_syncs()
    done = work(fault_disk, rw="write", fsync=10, ioengine=engine, iodepth=1)
    assert done.status == 1
    assert done.page.error == errno.EIO
    assert done.page.text == "fsync: Input/output error (EIO)"
    assert errors(done) == {SYNC: {errno.EIO: 1}}
    assert done.ios(WRITE) == 10


@pytest.mark.parametrize("options", [{"end_fsync": 1}, {"verify": "crc32c"}], ids=["end_fsync", "verify"])
def test_a_failed_fsync_at_the_end_is_a_failure_too(fault_disk: FaultDisk, options: dict[str, Any]) -> None:
    fault_disk.fail_syncs(errno=errno.ENOSPC)
    done = work(fault_disk, rw="write", **options)
    assert done.status == 1
    assert done.page.error == errno.ENOSPC
    assert done.page.first_error == errno.ENOSPC
    assert done.page.text == "fsync: No space left on device (ENOSPC)"
    assert errors(done) == {SYNC: {errno.ENOSPC: 1}}
    assert done.ios(READ) == 0


def test_a_failed_fdatasync_is_named_so(fault_disk: FaultDisk) -> None:
    fault_disk.fail_syncs()
    done = work(fault_disk, rw="write", fdatasync=10)
    assert done.page.text == "fdatasync: Input/output error (EIO)"


def test_fsyncs_passed_over_are_counted(fault_disk: FaultDisk) -> None:
    fault_disk.fail_syncs()
    done = work(fault_disk, rw="write", fsync=32, end_fsync=1, continue_on_error="write")
    assert done.status == 0, done.show()
    assert errors(done) == {SYNC: {errno.EIO: 9}}
    assert done.page.first_error == errno.EIO
    assert done.ios(WRITE) == BLOCKS


@engines
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fsync": 16}, 16),
        ({"fsync": 100}, 2),
        ({"fdatasync": 64}, 4),
        ({"end_fsync": 1}, 1),
        ({"fsync": 100, "end_fsync": 1}, 3),
        ({"verify": "crc32c"}, 1),
        ({}, 0),
    ],
    ids=str,
)
def test_the_disk_sees_as_many_fsyncs_as_asked_for(
    fault_disk: FaultDisk, engine: str, options: dict[str, Any], expected: int
) -> None:
    fault_disk.delay(0, operation="sync")
    done = work(fault_disk, rw="randwrite", ioengine=engine, **options)
    assert done.status == 0, done.show()
    assert fault_disk.hits == expected
    assert done.ios(SYNC) == sum(BLOCKS // int(options.get(name, BLOCKS + 1)) for name in ("fsync", "fdatasync"))


@engines
@pytest.mark.parametrize("operation", ["read", "write"])
def test_a_short_transfer_is_taken_up_where_it_ended(fault_disk: FaultDisk, engine: str, operation: str) -> None:
    if operation == "write" and engine in FUSE_SEES_AS_ASYNCHRONOUS:
        pytest.skip("FUSE makes an error of it")
    fault_disk.shorten(1000, 32 * KIB, 64 * KIB, operation)
    ddir = READ if operation == "read" else WRITE
    done = work(fault_disk, rw=f"rand{operation}", ioengine=engine, direct=0)
    assert done.status == 0, done.show()
    assert (done.ios(ddir), done.bytes(ddir)) == (BLOCKS, SIZE)
    # 16 blocks in five pieces each: four times there was something left.
    assert done.page.counter(Counter.SHORT_IOS, ddir) == 16 * 4


@engines
def test_what_came_in_pieces_is_verified_whole(fault_disk: FaultDisk, engine: str) -> None:
    is_short_both_ways = engine not in FUSE_SEES_AS_ASYNCHRONOUS
    fault_disk.shorten(1500, operation="any" if is_short_both_ways else "read")
    done = verified(fault_disk, ioengine=engine, direct=0)
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    assert done.page.counter(Counter.SHORT_IOS, WRITE) == 2 * BLOCKS * is_short_both_ways
    assert done.page.counter(Counter.SHORT_IOS, READ) == 2 * BLOCKS


@engines
def test_a_file_that_ends_too_early_is_an_error_at_its_end(tmp_path: Path, engine: str) -> None:
    """A disk that is gone reads as nothing."""
    path = data_file(tmp_path / "data", SIZE)
    with running(path, rw="read", bs=BLOCK, ioengine=engine, rate_iops=50) as job:
        job.wait_for_ios(READ, 2)
        os.truncate(path, 20 * BLOCK + 1000)
        done = job.outcome()
    assert done.status == 1
    assert done.page.error == errno.EIO
    assert done.page.text == f"read at offset {20 * BLOCK + 1000}, length {BLOCK - 1000}: Input/output error (EIO)"
    assert done.page.counter(Counter.SHORT_IOS, READ) == 1
    assert done.bytes(READ) == 20 * BLOCK


@engines
def test_a_file_system_that_has_lost_its_server_is_gone(fault_disk: FaultDisk, engine: str) -> None:
    with running(fault_disk.path, rw="randread", bs=BLOCK, ioengine=engine, rate_iops=200, iodepth=4, direct=1) as job:
        job.wait_for_ios(READ, 2)
        abort(fuse_connection(fault_disk.path.parent))
        done = job.outcome()
    assert done.page.error in (errno.ENOTCONN, errno.ECONNABORTED)
    assert done.page.text.endswith(": the server of its file system has died; mount it anew")
    verdict = judge(done.exit, done.page, done.messages)
    assert verdict.failure == Failure.GONE


@engines
@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
@pytest.mark.parametrize("bs", ["64k", "16m"])
def test_filling_a_filesystem_ends_well_when_it_is_full(ext4_mount: Callable[..., Path], engine: str, bs: str) -> None:
    path = ext4_mount(32 * MIB) / "fill"
    done = run_job(path, rw="write", bs=bs, fill_device=1, ioengine=engine, iodepth=2)
    assert done.status == 0, done.show()
    assert errors(done) == {}
    assert done.page.error == 0
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    assert free < 2 * MIB
    assert path.stat().st_size >= done.bytes(WRITE) > 0


@engines
def test_filling_a_disk_ends_at_its_end(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.fill_up(100 * BLOCK)
    done = work(fault_disk, rw="write", fill_device=1, ioengine=engine)
    assert done.status == 0, done.show()
    assert done.bytes(WRITE) == 100 * BLOCK
    assert errors(done) == {}


def test_a_full_disk_is_an_error_for_a_job_that_does_not_fill_it(fault_disk: FaultDisk) -> None:
    fault_disk.fill_up(100 * BLOCK)
    done = work(fault_disk, rw="write")
    assert done.status == 1
    assert done.page.error == errno.ENOSPC
    assert done.page.text.endswith("No space left on device (ENOSPC)")


def test_other_errors_end_the_filling_of_a_disk_as_a_failure(fault_disk: FaultDisk) -> None:
    fault_disk.fail_writes(50 * BLOCK, BLOCK)
    done = work(fault_disk, rw="write", fill_device=1)
    assert done.status == 1
    assert done.page.error == errno.EIO


@engines
@pytest.mark.parametrize(("at", "kind"), [(0, Mismatch.HEADER), (40, Mismatch.HEADER), (2345, Mismatch.CHECKSUM)])
def test_a_bit_that_flips_on_the_way_is_found_where_it_flipped(
    fault_disk: FaultDisk, engine: str, at: int, kind: Mismatch
) -> None:
    fault_disk.flip(77 * BLOCK + at, bit=5)
    done = verified(fault_disk, ioengine=engine)
    assert done.status == 1
    assert done.page.error == errno.EILSEQ
    (record,) = done.page.mismatches()
    assert (record.kind, record.offset, record.first_byte) == (kind, 77 * BLOCK, 77 * BLOCK + at)
    assert done.page.text == "data corruption: 1 block failed verification"
    assert done.ios(READ) == BLOCKS


def test_a_write_that_was_lost_on_a_new_disk_is_zeroed(fault_disk: FaultDisk) -> None:
    fault_disk.drop_writes(5 * BLOCK, 2 * BLOCK)
    done = verified(fault_disk)
    assert done.status == 1
    assert done.mismatches == {Mismatch.ZEROED: 2}
    assert {record.offset for record in done.page.mismatches()} == {5 * BLOCK, 6 * BLOCK}


@pytest.mark.parametrize("layout", ["fio-3.41", "fio-2.2"])
def test_a_write_that_was_lost_over_an_older_one_is_stale(fault_disk: FaultDisk, layout: str) -> None:
    assert verified(fault_disk, verify_header=layout).status == 0
    fault_disk.drop_writes(5 * BLOCK, 3 * BLOCK)
    done = verified(fault_disk, verify_header=layout)
    assert done.status == 1
    assert done.mismatches == {Mismatch.STALE: 3}
    # Stale data are good data in themselves: a later run cannot tell.
    fault_disk.clear()
    assert work(fault_disk, rw="read", verify="crc32c").status == 0


def test_a_write_lost_in_a_later_pass_of_one_run_is_stale(fault_disk: FaultDisk) -> None:
    """Both passes are of one run: only the generation tells them apart."""
    with running(
        fault_disk.path, rw="write", verify="crc32c", bs=BLOCK, size="64k", io_size="128k", rate_iops="0,100", direct=1
    ) as job:
        job.wait_for_ios(WRITE, 16)
        fault_disk.drop_writes(12 * BLOCK, BLOCK)
        done = job.outcome()
    assert done.mismatches == {Mismatch.STALE: 1}
    (record,) = done.page.mismatches()
    assert (record.offset, record.expected, record.found) == (12 * BLOCK, 16 + 13, 13)


def test_a_write_that_went_elsewhere_is_misplaced_there(fault_disk: FaultDisk) -> None:
    assert verified(fault_disk).status == 0
    with fault_disk.backing.open("r+b") as backing:
        backing.seek(9 * BLOCK)
        block = backing.read(BLOCK)
        backing.seek(30 * BLOCK)
        backing.write(block)
    done = work(fault_disk, rw="read", verify="crc32c")
    assert done.mismatches == {Mismatch.MISPLACED: 1}
    assert done.page.mismatches()[0].offset == 30 * BLOCK


def test_all_damage_is_counted_and_the_first_of_it_recorded(fault_disk: FaultDisk) -> None:
    for block in range(0, 200, 2):
        fault_disk.flip(block * BLOCK + 3000)
    done = verified(fault_disk, rw="write")
    assert done.mismatches == {Mismatch.CHECKSUM: 100}
    assert done.page.total_errors == 100
    assert [record.offset // BLOCK for record in done.page.mismatches()] == list(range(0, 128, 2))
    assert done.page.text == "data corruption: 100 blocks failed verification"


@engines
def test_verify_fatal_ends_the_job_at_the_first_damage(fault_disk: FaultDisk, engine: str) -> None:
    for block in range(20, BLOCKS, 100):
        fault_disk.flip(block * BLOCK + 3000)
    done = verified(fault_disk, rw="write", verify_fatal=1, ioengine=engine)
    assert done.status == 1
    assert done.page.error == errno.EILSEQ
    assert done.mismatches == {Mismatch.CHECKSUM: 1}
    assert done.page.mismatches()[0].first_byte == 20 * BLOCK + 3000
    assert done.ios(READ) < 100


def test_damage_may_be_passed_over_even_when_it_is_fatal(fault_disk: FaultDisk) -> None:
    fault_disk.flip(20 * BLOCK)
    fault_disk.flip(40 * BLOCK)
    done = verified(fault_disk, verify_fatal=1, continue_on_error="verify")
    assert done.mismatches == {Mismatch.HEADER: 2}
    assert done.ios(READ) == BLOCKS
    assert done.status == 1  # fio exits with 0 here; a script that looks at nothing else must hear of corruption


def test_damage_does_not_keep_a_time_based_job_from_going_on(fault_disk: FaultDisk) -> None:
    fault_disk.flip(3 * BLOCK + 100)
    done = verified(fault_disk, size="64k", time_based=1, runtime="400ms")
    assert done.status == 1
    assert done.page.mismatch(Mismatch.CHECKSUM) >= 3
    assert (done.page.ended_ns - done.page.epoch_ns) / 1e9 == pytest.approx(0.4, abs=0.1)


@engines
def test_a_block_whose_write_failed_is_not_held_against_the_disk_twice(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.fail_writes(50 * BLOCK, 4 * BLOCK)
    done = verified(fault_disk, continue_on_error="write", ioengine=engine)
    assert errors(done) == {WRITE: {errno.EIO: 4}}
    assert done.mismatches == {}
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE - 4 * BLOCK


@engines
def test_a_block_that_cannot_be_read_back_is_an_error_and_no_mismatch(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.fail_reads(50 * BLOCK, 4 * BLOCK)
    done = verified(fault_disk, continue_on_error="all", ioengine=engine)
    assert errors(done) == {READ: {errno.EIO: 4}}
    assert done.mismatches == {}
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE - 4 * BLOCK


@pytest.mark.requires_io_uring
def test_blocks_written_again_while_they_are_in_flight_raise_no_false_alarm(fault_disk: FaultDisk) -> None:
    """Sixteen in flight over eight blocks, drawn at random."""
    fault_disk.delay(0.002, operation="write")
    done = verified(fault_disk, norandommap=1, size=8 * BLOCK, io_size="1m", ioengine="io_uring", iodepth=16)
    assert done.status == 0, done.show()
    assert done.ios(WRITE) == BLOCKS
    assert done.ios(READ) == 8


@engines
def test_the_age_of_a_hung_io_grows_until_it_comes_back(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.hang(50 * BLOCK, BLOCK, "read")
    with running(fault_disk.path, rw="read", bs=BLOCK, size=SIZE, ioengine=engine, iodepth=2, direct=1) as job:
        fault_disk.wait_for_hung()
        first = job.page.oldest_inflight_ns()
        time.sleep(0.2)
        assert job.page.oldest_inflight_ns() - first == pytest.approx(0.2e9, abs=0.1e9)
        # With two in flight the other one does all the rest.
        assert job.page.counter(Counter.IOS, READ) == (BLOCKS - 1 if engine in FUSE_SEES_AS_ASYNCHRONOUS else 50)
        fault_disk.release()
        done = job.outcome()
    assert done.status == 0, done.show()
    assert done.page.oldest_inflight_ns() == 0
    assert done.ios(READ) == BLOCKS


@engines
@pytest.mark.parametrize(
    "options",
    [
        {"fsync": 8},
        {"end_fsync": 1},
        {"verify": "crc32c"},
    ],
    ids=str,
)
def test_a_hung_fsync_is_in_flight_like_any_io(fault_disk: FaultDisk, engine: str, options: dict[str, Any]) -> None:
    fault_disk.hang(operation="sync")
    with running(fault_disk.path, rw="write", bs=BLOCK, size=SIZE, ioengine=engine, **options, direct=1) as job:
        fault_disk.wait_for_hung()
        time.sleep(0.1)
        age_ns = job.page.oldest_inflight_ns()
        fault_disk.release()
        done = job.outcome()
    assert age_ns > 0.05e9
    assert done.status == 0, done.show()
    assert done.page.oldest_inflight_ns() == 0


@pytest.mark.requires_io_uring
@pytest.mark.requires_loop
def test_sigkill_ends_an_io_uring_child_on_a_hung_device_at_once(fault_disk: FaultDisk) -> None:
    """A child in pread or pwrite stays until the device answers."""
    device = fault_disk.as_loop_device()
    fault_disk.hang(operation="read")
    with running(device, rw="randread", bs=BLOCK, ioengine="io_uring", iodepth=8, direct=1) as job:
        fault_disk.wait_for_hung()
        start = time.monotonic()
        job.kill()
        done = job.outcome(5)
        assert time.monotonic() - start < 1
    assert done.exit.signal == 9
    assert done.page.oldest_inflight_ns() > 0
    fault_disk.clear()


@pytest.mark.requires_loop
def test_the_page_of_a_child_that_cannot_be_killed_goes_on_telling(fault_disk: FaultDisk) -> None:
    device = fault_disk.as_loop_device()
    fault_disk.hang(operation="read")
    with running(device, rw="randread", bs=BLOCK, ioengine="psync", direct=1) as job:
        fault_disk.wait_for_hung()
        job.kill()
        time.sleep(0.3)
        assert not job.has_ended()
        assert job.page.oldest_inflight_ns() > 0.25e9
        fault_disk.clear()
        assert job.outcome(5).exit.signal == 9


def test_a_disk_that_fails_every_write_does_not_hold_a_job_beyond_its_time(fault_disk: FaultDisk) -> None:
    fault_disk.fail_writes()
    done = verified(fault_disk, continue_on_error="all", time_based=1, runtime="300ms", size="64k")
    assert done.status == 0, done.show()
    assert done.took_s < 2
    assert errors(done) == {WRITE: {errno.EIO: done.page.total_errors}}
    assert done.page.total_errors > 16
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == 0

"""What verification must neither miss nor raise a false alarm about, whatever it goes together with."""

import errno
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, KIB, MIB, READ, SYNC, WRITE, data_file, run_job
from fault_disk import FaultDisk

from iovigil.engines.stats import Counter

TRIM = 2
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", 4 * MIB)


@engines
def test_blocks_with_the_threads_are_beyond_the_depth(path: Path, engine: str) -> None:
    done = run_job(path, rw="randwrite", ioengine=engine, iodepth=1, verify="crc32c", verify_async=16)
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == 4 * MIB
    assert done.page.oldest_inflight_ns() == 0


@pytest.mark.parametrize("options", [{}, {"verify_async": 2}])
def test_a_block_partly_written_again_while_it_is_read_back_raises_no_alarm(
    path: Path, options: dict[str, Any]
) -> None:
    done = run_job(
        path, rw="randwrite", ioengine="libaio", iodepth=32, bsrange="4k-32k", norandommap=1, size="256k",
        io_size="32m", verify="crc32c", verify_interval="4k", verify_backlog=2, **options,
    )  # fmt: skip
    assert done.status == 0, done.show()


def test_trims_are_read_back_in_blocks_that_the_buffers_have_room_for(path: Path) -> None:
    done = run_job(
        path, rw="randwrite", bs="1m,4k,4k", verify="crc32c", trim_percentage=100, trim_backlog=1024, iodepth=1
    )
    assert done.status == 0, done.show()
    assert done.ios(TRIM) == 1024
    assert done.bytes(READ) == 4 * MIB
    assert done.ios(READ) == 1024


def test_damage_found_by_a_backlog_ends_the_job_where_it_is_fatal(fault_disk: FaultDisk) -> None:
    fault_disk.flip(20 * 4 * KIB + 3000)
    fault_disk.flip(24 * 4 * KIB + 3000)
    done = run_job(fault_disk.path, rw="write", size="4m", verify="crc32c", verify_backlog=16, verify_fatal=1)
    assert done.status == 1
    assert done.page.total_errors == 1
    assert done.ios(WRITE) < 64
    assert done.ios(READ) < 64


@pytest.mark.parametrize(("ignored", "errors"), [(",,EILSEQ", 2), (",,EIO", 1)])
def test_ignore_error_says_for_verify_too_what_is_passed_over(fault_disk: FaultDisk, ignored: str, errors: int) -> None:
    fault_disk.flip(20 * 4 * KIB + 3000)
    fault_disk.flip(400 * 4 * KIB + 3000)
    done = run_job(
        fault_disk.path, rw="write", size="4m", verify="crc32c", verify_fatal=1, continue_on_error="verify",
        ignore_error=ignored,
    )  # fmt: skip
    assert done.page.total_errors == errors, done.show()


@pytest.mark.parametrize("zeroes", [0, 1])
def test_a_run_that_trimmed_is_checked_by_another_that_only_looks(path: Path, zeroes: int) -> None:
    options: dict[str, Any] = {
        "rw": "randwrite", "verify": "crc32c", "trim_percentage": 30, "trim_backlog": 32, "trim_verify_zero": zeroes,
    }  # fmt: skip
    assert run_job(path, do_verify=0, **options).status == 0
    done = run_job(path, verify_only=1, **options)
    assert done.status == 0, done.show()
    assert done.ios(TRIM) == 0
    # And fails where a block that should be zeroes is not, or the other way round.
    if zeroes:
        assert run_job(path, verify_only=1, **{**options, "trim_percentage": 60}).status == 1


def test_a_replay_cannot_be_verified(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"fio version 2 iolog\n{path} add\n{path} open\n{path} write 0 4096\n{path} close\n")
    done = run_job(path, read_iolog=str(log), verify="crc32c", rw="write")
    assert done.exit.signal is None, done.show()
    assert done.status not in (0, None)
    assert any("read_iolog" in line for line in done.messages), done.messages


def test_after_an_error_nothing_is_synced_for_a_check_that_will_not_be(fault_disk: FaultDisk) -> None:
    fault_disk.fail_writes(errno=errno.EIO)
    fault_disk.fail_syncs()
    done = run_job(fault_disk.path, rw="write", size="1m", verify="crc32c")
    assert done.page.errors(WRITE) == {errno.EIO: 1}
    assert done.page.errors(SYNC) == {}
    assert done.page.text.startswith("write")


@engines
def test_a_backlog_has_its_time_in_the_reads(path: Path, engine: str) -> None:
    done = run_job(path, rw="write", ioengine=engine, iodepth=4, verify="crc32c", verify_backlog=16, size="1m")
    assert done.page.runtime_ns(READ) >= done.page.runtime_ns(WRITE) > 0


def test_as_many_threads_as_there_may_be_need_no_more_memory_than_the_limit(path: Path) -> None:
    done = run_job(path, rw="write", size="1m", verify="crc32c", verify_async=64)
    assert done.status == 0, done.show()

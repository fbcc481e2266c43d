"""What an I/O engine's own options do to a job, and what a hung I/O does to each engine."""

import errno
import time
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, KIB, MIB, READ, SYNC, WRITE, data_file, run_job, running
from fault_disk import FaultDisk
from test_engine_fio import fio

from iovigil.engines.stats import Counter, RunState

BLOCK = 4 * KIB
SIZE = MIB
BLOCKS = SIZE // BLOCK

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("libaio", {"userspace_reap": 1}),
    ("pvsync2", {"hipri": 1, "hipri_percentage": 30, "direct": 1}),
    ("io_uring", {"fixedbufs": 0}),
    ("io_uring", {"registerfiles": 0}),
    ("io_uring", {"fixedbufs": 0, "registerfiles": 0}),
    ("io_uring", {"nonvectored": 0}),
    ("io_uring", {"force_async": 4}),
    ("io_uring", {"sqthread_poll": 1}),
    ("io_uring", {"sqthread_poll": 1, "sqthread_poll_cpu": 0, "direct": 1}),
]

engines = pytest.mark.parametrize("engine", ENGINES)
optioned = pytest.mark.parametrize(
    ("engine", "options"),
    [
        pytest.param(
            engine,
            options,
            id="-".join([engine, *(f"{name}={value}" for name, value in options.items())]),
            marks=pytest.mark.requires_io_uring if engine == "io_uring" else (),
        )
        for engine, options in OPTIONS
    ],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", SIZE)


@pytest.mark.requires_fio
@optioned
@pytest.mark.parametrize("iodepth", [1, 2, 32])
def test_with_its_options_an_engine_and_fio_read_what_the_other_wrote(
    path: Path, engine: str, options: dict[str, Any], iodepth: int
) -> None:
    common: dict[str, Any] = {"bs": BLOCK, "verify": "crc32c"}
    done = run_job(
        path, **common, **options, ioengine=engine, iodepth=iodepth, rw="randwrite", fsync=50, verify_header="fio-2.2"
    )
    assert done.status == 0, done.show()
    assert (done.ios(WRITE), done.ios(SYNC)) == (BLOCKS, BLOCKS // 50)
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    status, job = fio(path, rw="read", size=SIZE, verify_fatal=1, **common)
    assert (status, job["error"], job["read"]["io_bytes"]) == (0, 0, SIZE)

    assert fio(path, rw="randwrite", size=SIZE, do_verify=0, end_fsync=1, **common)[0] == 0
    done = run_job(path, **common, **options, ioengine=engine, iodepth=iodepth, rw="randread")
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    assert done.mismatches == {}


@pytest.mark.requires_fio
@pytest.mark.requires_io_uring
def test_polling_where_none_is_possible_fails_as_with_fio_and_says_why(path: Path) -> None:
    options: dict[str, Any] = {"rw": "read", "bs": BLOCK, "direct": 1, "ioengine": "io_uring", "hipri": 1}
    done = run_job(path, **options)
    assert done.status == 1
    assert done.page.error == errno.EOPNOTSUPP
    assert "hipri=1 needs direct=1 and a device with queues to poll" in done.page.text
    assert fio(path, size=SIZE, **options)[1]["error"] == errno.EOPNOTSUPP


@pytest.mark.requires_io_uring
def test_a_cpu_that_is_not_there_is_named(path: Path) -> None:
    done = run_job(path, rw="read", ioengine="io_uring", sqthread_poll=1, sqthread_poll_cpu=4095)
    assert done.status not in (0, 1)
    assert "sqthread_poll_cpu: is there a CPU 4095 that this job may use?" in done.page.text


@pytest.mark.requires_fuse
@engines
def test_sigterm_while_an_io_hangs_ends_the_job_when_it_is_back(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.hang(20 * BLOCK, BLOCK, "read")
    with running(
        fault_disk.path, rw="read", bs=BLOCK, size=SIZE, time_based=1, runtime="60s", ioengine=engine, iodepth=2,
        rate_iops=2000, direct=1,
    ) as job:  # fmt: skip
        fault_disk.wait_for_hung()
        job.stop()
        time.sleep(0.1)
        done_by_then = job.page.counter(Counter.IOS, READ)
        time.sleep(0.2)
        assert not job.has_ended()
        assert job.page.counter(Counter.IOS, READ) == done_by_then
        assert job.page.oldest_inflight_ns() > 0.2e9
        fault_disk.release()
        done = job.outcome(5)
    assert done.status == 0, done.show()
    assert done.page.state == RunState.EXITED
    assert done.ios(READ) <= done_by_then + 2
    assert done.page.oldest_inflight_ns() == 0


@pytest.mark.requires_fuse
@pytest.mark.parametrize("engine", ["libaio", pytest.param("io_uring", marks=pytest.mark.requires_io_uring)])
def test_a_rate_is_kept_beside_an_io_that_hangs(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.hang(20 * BLOCK, BLOCK, "read")
    with running(
        fault_disk.path, rw="read", bs=BLOCK, size=SIZE, time_based=1, runtime="1s", ioengine=engine, iodepth=4,
        rate_iops=200, direct=1,
    ) as job:  # fmt: skip
        fault_disk.wait_for_hung()
        time.sleep(1.1)
        fault_disk.release()
        done = job.outcome(5)
    assert done.status == 0, done.show()
    assert done.ios(READ) == pytest.approx(200, rel=0.05)


@pytest.mark.requires_fuse
@pytest.mark.parametrize(
    "engine", ["libaio", "posixaio", pytest.param("io_uring", marks=pytest.mark.requires_io_uring)]
)
def test_what_is_in_flight_at_a_fatal_error_is_no_error_of_its_own(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.delay(0.05, operation="read")
    fault_disk.fail_reads(0, BLOCK)
    done = run_job(fault_disk.path, rw="read", bs=BLOCK, size=SIZE, ioengine=engine, iodepth=16, direct=1)
    assert done.status == 1
    assert done.page.errors(READ) == {errno.EIO: 1}
    assert done.page.text == f"read at offset 0, length {BLOCK}: Input/output error (EIO)"
    assert done.ios(READ) <= 32
    assert done.page.is_complete
    assert done.page.oldest_inflight_ns() == 0


@pytest.mark.requires_fio
@pytest.mark.parametrize("engine", ["mmap", "splice"])
@pytest.mark.parametrize("direct", [0, 1])
@pytest.mark.parametrize("bs", [4 * KIB, 64 * KIB])
def test_fio_and_we_verify_each_others_blocks(path: Path, bs: int, direct: int, engine: str) -> None:
    checked: dict[str, Any] = {"ioengine": engine, "bs": bs, "verify": "crc32c", "direct": direct}
    done = run_job(path, rw="randwrite", verify_header="fio-2.2", **checked)
    assert done.status == 0, done.show()
    common: dict[str, Any] = {"bs": bs, "size": SIZE, "verify": "crc32c", "ioengine": engine}
    status, job = fio(path, rw="read", verify_fatal=1, **common)
    assert (status, job["error"], job["read"]["io_bytes"]) == (0, 0, SIZE)
    status, _ = fio(path, rw="randwrite", do_verify=0, end_fsync=1, **common)
    assert status == 0
    done = run_job(path, rw="randread", **checked)
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE

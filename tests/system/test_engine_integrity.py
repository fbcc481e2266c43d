"""Verification beside the writing: backlogs, trims, mixed jobs, checks of an earlier run, dumps."""

from pathlib import Path
from typing import Any

import pytest
from engine_runs import KIB, MIB, READ, WRITE, data_file, run_job

from iovigil.engines.stats import Counter, Mismatch

TRIM = 2
ENGINES = ("psync", pytest.param("io_uring", marks=pytest.mark.requires_io_uring))
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", 4 * MIB)


@engines
@pytest.mark.parametrize("rw", ["write", "randwrite"])
@pytest.mark.parametrize("batch", [0, 5, 64])
def test_a_backlog_reads_back_all_that_was_written(path: Path, engine: str, rw: str, batch: int) -> None:
    done = run_job(
        path, rw=rw, ioengine=engine, iodepth=16, verify="crc32c", verify_backlog=32, verify_backlog_batch=batch
    )
    assert done.status == 0, done.show()
    assert done.bytes(READ) == done.bytes(WRITE) == 4 * MIB
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == 4 * MIB


def test_a_backlog_finds_damage_while_the_job_goes_on(path: Path) -> None:
    """Without do_verify's last look: the damage is done behind the job's back by another writer."""
    done = run_job(path, rw="randrw", verify="crc32c", verify_backlog=16, size=4 * MIB)
    assert done.status == 0, done.show()
    assert done.bytes(READ) + done.bytes(WRITE) == 4 * MIB + done.page.counter(Counter.VERIFIED_BYTES, READ)


@engines
def test_mixed_jobs_verify_what_they_wrote(path: Path, engine: str) -> None:
    done = run_job(path, rw="randrw", ioengine=engine, iodepth=8, verify="crc32c")
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == done.bytes(WRITE)
    assert done.bytes(READ) == 4 * MIB  # those of the mix, and those that verify


@engines
@pytest.mark.parametrize("rw", ["write", "randwrite"])
def test_an_earlier_run_is_checked_without_writing(path: Path, engine: str, rw: str) -> None:
    assert run_job(path, rw=rw, ioengine=engine, verify="crc32c", do_verify=0).status == 0
    before = path.read_bytes()
    done = run_job(path, rw=rw, ioengine=engine, verify="crc32c", verify_only=1)
    assert done.status == 0, done.show()
    assert (done.bytes(READ), done.bytes(WRITE)) == (4 * MIB, 0)
    assert path.read_bytes() == before
    with path.open("r+b") as file:
        file.seek(MIB + 100)
        file.write(b"\xff\x00\xff")
    assert run_job(path, rw=rw, ioengine=engine, verify="crc32c", verify_only=1).mismatches == {Mismatch.CHECKSUM: 1}


def test_a_pass_over_part_of_the_region_checks_that_part_alone(path: Path) -> None:
    done = run_job(path, rw="randwrite", verify="crc32c", io_size=MIB)
    assert (done.bytes(READ), done.bytes(WRITE)) == (MIB, MIB)


@engines
def test_trimmed_blocks_are_zero_and_the_others_as_written(path: Path, engine: str) -> None:
    done = run_job(
        path, rw="randwrite", ioengine=engine, iodepth=4, verify="crc32c", trim_percentage=30, trim_backlog=64
    )
    assert done.status == 0, done.show()
    trims = done.ios(TRIM)
    assert 200 < trims < 420
    zeroes = sum(not any(path.read_bytes()[at : at + 4 * KIB]) for at in range(0, 4 * MIB, 4 * KIB))
    assert zeroes == trims
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == 4 * MIB


def test_trimmed_blocks_are_left_out_of_the_check_when_so_asked(path: Path) -> None:
    done = run_job(path, rw="randwrite", verify="crc32c", trim_percentage=50, trim_backlog=16, trim_verify_zero=0)
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == 4 * MIB - done.bytes(TRIM)


def test_a_trim_job_makes_holes(path: Path) -> None:
    done = run_job(path, rw="trim", bs="64k")
    assert done.status == 0, done.show()
    assert (done.ios(TRIM), done.bytes(TRIM)) == (64, 4 * MIB)
    assert not any(path.read_bytes())
    assert path.stat().st_blocks < 64


def test_dumps_show_what_was_found_and_what_should_be(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_job(path, rw="write", verify="crc32c", do_verify=0).status == 0
    good = path.read_bytes()[8192 : 8192 + 4096]
    with path.open("r+b") as file:
        file.seek(8192 + 1000)
        file.write(bytes([good[1000] ^ 1]))
    done = run_job(path, rw="read", verify="crc32c", verify_dump=1)
    assert done.mismatches == {Mismatch.CHECKSUM: 1}
    received = (tmp_path / "data.8192.received").read_bytes()
    expected = (tmp_path / "data.8192.expected").read_bytes()
    assert [at for at in range(4096) if received[at] != good[at]] == [1000]
    assert expected[52:] == good[52:]  # behind the header and its checksum


@pytest.mark.parametrize("options", [{"iodepth_batch_submit": 4}, {"iodepth_batch_complete_min": 8},
                                     {"iodepth_batch_complete_min": 0}, {"iodepth_low": 3},
                                     {"iodepth_batch_submit": 16, "iodepth_batch_complete_min": 4,
                                      "iodepth_batch_complete_max": 8, "iodepth_low": 8}])  # fmt: skip
@pytest.mark.parametrize("engine", [*ENGINES[1:], "null"])
def test_batches_change_nothing_but_the_batches(path: Path, engine: str, options: dict[str, int]) -> None:
    done = run_job(
        None if engine == "null" else path, size=4 * MIB, rw="randread", ioengine=engine, iodepth=16, **options
    )
    assert done.status == 0, done.show()
    assert done.ios(READ) == 1024
    levels = done.page.depth_levels()
    assert sum(levels) == 1024


def test_a_slow_io_ends_the_job_where_that_was_asked(path: Path) -> None:
    done = run_job(path, rw="randread", direct=0, max_latency=1, time_based=1, runtime=5)
    assert done.status == 1
    assert "max_latency: read at offset" in done.page.text


@engines
def test_overlapping_writes_are_serialized(path: Path, engine: str) -> None:
    done = run_job(path, rw="randwrite", ioengine=engine, iodepth=16, norandommap=1, size=64 * KIB,
                   io_size=4 * MIB, serialize_overlap=1)  # fmt: skip
    assert done.status == 0, done.show()
    assert done.ios(WRITE) == 1024


@pytest.mark.parametrize("interval", [512, 1024, 4096])
def test_intervals_have_headers_of_their_own(path: Path, interval: int) -> None:
    done = run_job(path, rw="randwrite", bs="4k", verify="crc32c", verify_interval=interval)
    assert done.status == 0, done.show()
    data = path.read_bytes()
    assert all(data[at : at + 2] == b"\xca\xac" for at in range(0, 4 * MIB, interval))
    with path.open("r+b") as file:
        file.seek(3 * interval + 200)
        file.write(bytes([data[3 * interval + 200] ^ 1]))
    found = run_job(path, rw="read", bs="64k", verify="crc32c", verify_interval=interval)
    assert found.mismatches == {Mismatch.CHECKSUM: 1}
    assert found.page.mismatches()[0].offset == 3 * interval


@engines
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_check_as_the_loop_does(path: Path, engine: str, threads: int) -> None:
    options: dict[str, Any] = {"ioengine": engine, "iodepth": 4, "verify": "crc32c", "verify_async": threads}
    done = run_job(path, rw="randwrite", **options)
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == 4 * MIB
    with path.open("r+b") as file:
        for at in range(0, 4 * MIB, MIB):
            file.seek(at + 777)
            file.write(bytes([path.read_bytes()[at + 777] ^ 1]))
    found = run_job(path, rw="read", **options)
    assert found.mismatches == {Mismatch.CHECKSUM: 4}
    assert sorted(record.first_byte for record in found.page.mismatches()) == [
        at + 777 for at in range(0, 4 * MIB, MIB)
    ]
    assert run_job(path, rw="read", verify_fatal=1, **options).status == 1


def test_threads_and_a_backlog_go_together(path: Path) -> None:
    done = run_job(path, rw="randwrite", verify="crc32c", verify_async=2, verify_backlog=64, time_based=1, runtime=1)
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) + done.page.unverified_bytes == done.bytes(WRITE)


def test_a_cpu_that_is_not_there_is_refused_to_the_threads(path: Path) -> None:
    done = run_job(path, rw="read", verify="crc32c", verify_async=1, verify_async_cpus="1000")
    assert done.messages == ("error: verify_async_cpus: 1000: this machine has not all of them (Invalid argument)",)

"""When a job starts its I/O and when it ends: rates, minimum rates, thinktime, runtime, ramp."""

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, KIB, MIB, READ, WRITE, Outcome, data_file, run_job, running
from fault_disk import FaultDisk
from processes import wait_until

from iovigil.engines.stats import Counter, Latency, RunState

BLOCK = 4 * KIB
SIZE = MIB

engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", SIZE)


def measured_s(done: Outcome) -> float:
    return (done.page.ended_ns - done.page.epoch_ns) / 1e9


def timed(path: Path | None, runtime: str = "500ms", **options: Any) -> Outcome:
    done = run_job(path, **{"rw": "randread", "time_based": 1, "runtime": runtime, **options})
    assert done.status == 0, done.show()
    return done


@engines
@pytest.mark.parametrize("rate", [200, 5000])
def test_a_rate_of_ios_is_kept_within_a_percent(path: Path, engine: str, rate: int) -> None:
    done = timed(path, "1s", rate_iops=rate, ioengine=engine, iodepth=4)
    assert done.ios(READ) == pytest.approx(rate * measured_s(done), rel=0.01, abs=1)


@engines
def test_a_rate_of_bytes_is_kept_within_a_percent(path: Path, engine: str) -> None:
    done = timed(path, "1s", rate="4m", bs="16k", ioengine=engine, iodepth=4)
    assert done.bytes(READ) == pytest.approx(4 * MIB * measured_s(done), rel=0.01, abs=16 * KIB)


def test_the_ios_of_a_rate_are_evenly_apart(path: Path) -> None:
    with running(path, rw="randread", time_based=1, runtime="2s", rate_iops=100) as job:
        job.wait_for_ios(READ)
        seen, end = [], time.monotonic() + 0.8
        while time.monotonic() < end:
            seen.append(job.page.counter(Counter.IOS, READ))
            time.sleep(0.1)
    steps = [b - a for a, b in itertools.pairwise(seen)]
    assert all(8 <= step <= 13 for step in steps), steps


@engines
def test_reads_and_writes_have_rates_of_their_own(path: Path, engine: str) -> None:
    done = timed(path, "1s", rw="randrw", rate_iops="300,100", ioengine=engine, iodepth=4)
    assert done.ios(READ) == pytest.approx(300, rel=0.02)
    assert done.ios(WRITE) == pytest.approx(100, rel=0.03)


def test_a_rate_is_kept_through_a_stall_without_a_flood_after_it(path: Path) -> None:
    """What a stall of more than a ratecycle cost is lost, not made up for."""
    with running(path, rw="randread", time_based=1, runtime="1500ms", rate_iops=1000, ratecycle=100) as job:
        job.wait_for_ios(READ)
        job.stall(0.6)
        done = job.outcome()
    lost = 1000 * (measured_s(done) - 0.5)  # 0.1 s of 0.6 are made up for
    assert done.ios(READ) == pytest.approx(lost, rel=0.05)


@engines
def test_a_job_ends_with_its_runtime_though_its_next_io_is_due_later(path: Path, engine: str) -> None:
    """One I/O every 256 seconds."""
    done = timed(path, "300ms", bs=MIB, rate="4k", ioengine=engine, deadline_s=2)
    assert done.ios(READ) == 1


@engines
def test_a_ramp_ends_in_time_though_the_next_io_is_due_later(path: Path, engine: str) -> None:
    with running(
        path, rw="read", time_based=1, runtime="5s", ramp_time="200ms", bs=MIB, rate="4k", ioengine=engine
    ) as job:
        wait_until(lambda: job.page.state == RunState.RUNNING, "the ramp is over", 2)


def test_a_read_below_its_minimum_fails_after_it_settled(path: Path) -> None:
    with running(path, rw="randread", time_based=1, runtime="5s", rate_iops=50, rate_min="1m", ratecycle=200) as job:
        job.wait_for_ios(READ)
        time.sleep(1.7)
        assert not job.has_ended(), "it had not settled"
        done = job.outcome()
    assert done.status == 1
    assert done.page.error == 5
    assert measured_s(done) == pytest.approx(2.2, abs=0.25)
    assert done.page.text.startswith("rate_min: read made 2")
    assert done.page.text.endswith("bytes per second over 200 ms, less than 1048576")
    assert done.messages == (f"error: {done.page.text}",)
    assert done.page.is_complete


def test_writes_below_their_minimum_of_ios_fail(path: Path) -> None:
    common: dict[str, Any] = {"rw": "randwrite", "time_based": 1, "runtime": "2.6s", "ratecycle": 200}
    done = run_job(path, **common, thinktime="10ms", rate_iops_min=500)
    assert done.status == 1
    assert done.page.text.startswith("rate_iops_min: write made ")
    assert done.page.text.endswith("I/Os per second over 200 ms, less than 500")


def test_a_job_that_keeps_its_minimum_does_not_fail(path: Path) -> None:
    assert timed(path, "2.6s", ratecycle=200, rate_iops=100, rate_min="300k").page.error == 0


def test_minimum_rates_do_not_count_the_time_in_which_the_other_phase_ran(path: Path) -> None:
    """A job that verifies writes half of its time: its rate of writing is not half of what the disk gave."""
    done = run_job(
        path, rw="randwrite", verify="crc32c", bs=BLOCK, size="64k", time_based=1, runtime="2.6s",
        rate_iops=1000, rate_iops_min=800, ratecycle=200,
    )  # fmt: skip
    assert done.status == 0, done.show()


@engines
def test_thinktime_is_a_pause_after_every_so_many_ios(path: Path, engine: str) -> None:
    done = run_job(path, rw="randread", number_ios=40, thinktime="20ms", thinktime_blocks=4, ioengine=engine, iodepth=2)
    assert done.status == 0, done.show()
    assert done.ios(READ) == 40
    # Nine or ten pauses: nothing has to be waited for behind the last I/O.
    assert 0.18 <= measured_s(done) < 0.3


def test_the_part_of_thinktime_that_spins_costs_cpu_and_the_rest_does_not(path: Path) -> None:
    common: dict[str, Any] = {"rw": "randread", "number_ios": 20, "thinktime": "20ms"}
    asleep = run_job(path, **common)
    spinning = run_job(path, **common, thinktime_spin="15ms")
    assert measured_s(spinning) == pytest.approx(measured_s(asleep), abs=0.1)
    assert asleep.page.usage.user_s + asleep.page.usage.system_s < 0.1
    assert spinning.page.usage.user_s == pytest.approx(0.3, abs=0.08)


def test_thinktime_ends_with_the_runtime(path: Path) -> None:
    done = timed(path, "200ms", thinktime="60s")
    assert done.ios(READ) == 1
    assert done.took_s < 1.5


@engines
def test_a_time_based_job_takes_its_runtime_however_small_its_region(path: Path, engine: str) -> None:
    done = timed(path, "400ms", size="64k", ioengine=engine, iodepth=4)
    assert measured_s(done) == pytest.approx(0.4, abs=0.03)
    assert done.page.runtime_ns(READ) / 1e9 == pytest.approx(0.4, abs=0.03)
    assert done.bytes(READ) > 10 * 64 * KIB


def test_a_runtime_is_a_bound_and_not_a_wish(path: Path) -> None:
    done = run_job(path, rw="read", runtime="10s")
    assert done.bytes(READ) == SIZE
    assert done.took_s < 3


def test_a_runtime_cuts_a_large_region_short(path: Path) -> None:
    done = run_job(path, rw="read", runtime="300ms", rate_iops=100)
    assert done.status == 0
    assert done.ios(READ) == pytest.approx(30, abs=2)


@engines
def test_what_the_ramp_does_is_not_measured(path: Path, engine: str) -> None:
    done = timed(path, "400ms", ramp_time="400ms", rate_iops=200, ioengine=engine, iodepth=2)
    assert done.took_s == pytest.approx(0.8, abs=0.15)
    assert measured_s(done) == pytest.approx(0.4, abs=0.03)
    assert done.ios(READ) == pytest.approx(80, abs=4)
    assert done.page.histogram(Latency.LAT, READ).count == done.ios(READ)
    assert done.page.runtime_ns(READ) / 1e9 == pytest.approx(0.4, abs=0.03)
    assert (done.page.epoch_ns - done.page.first_io_ns) / 1e9 == pytest.approx(0.4, abs=0.03)


def test_a_ramp_reads_for_real(path: Path) -> None:
    with running(path, rw="read", time_based=1, runtime="5s", ramp_time="5s", rate_iops=100) as job:
        wait_until(lambda: job.page.state == RunState.RAMP, "it ramps", 5)
        time.sleep(0.3)
        assert job.page.counter(Counter.IOS, READ) == 0
        assert job.page.first_io_ns > 0
        assert job.page.epoch_ns == 0
        counts = dict(line.split(": ") for line in Path(f"/proc/{job.pid}/io").read_text().splitlines())
        assert int(counts["rchar"]) > 20 * BLOCK


def test_a_run_that_verifies_writes_for_half_its_time_and_reads_for_the_rest(path: Path) -> None:
    done = run_job(
        path, rw="randwrite", verify="crc32c", bs=BLOCK, size=SIZE, runtime="1s", time_based=1, rate_iops="1000,100"
    )
    assert done.status == 0, done.show()
    assert done.took_s < 1.5 + 0.3
    assert done.page.unverified_bytes == 0
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == done.bytes(WRITE)


def test_what_could_not_be_verified_in_time_is_told(path: Path) -> None:
    """Reading back takes ten times as long as it may."""
    done = run_job(path, rw="randwrite", verify="crc32c", bs=BLOCK, size=SIZE, runtime="400ms", rate_iops="50,500")
    assert done.status == 0, done.show()
    verified = done.page.counter(Counter.VERIFIED_BYTES, READ)
    assert 0 < verified < done.bytes(WRITE)
    assert verified + done.page.unverified_bytes == done.bytes(WRITE)
    assert done.took_s < 0.4 + 0.2 + 0.4


def test_a_short_region_is_written_and_verified_again_and_again(path: Path) -> None:
    done = run_job(path, rw="randwrite", verify="crc32c", bs=BLOCK, size="64k", runtime="500ms", time_based=1)
    assert done.status == 0, done.show()
    assert measured_s(done) == pytest.approx(0.5, abs=0.1)
    assert done.bytes(WRITE) > 5 * 64 * KIB
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) + done.page.unverified_bytes == done.bytes(WRITE)


def test_a_ramp_before_a_verified_job_measures_what_follows(path: Path) -> None:
    done = run_job(
        path, rw="randwrite", verify="crc32c", bs=BLOCK, size="64k", runtime="400ms", ramp_time="300ms",
        time_based=1, rate_iops=500,
    )  # fmt: skip
    assert done.status == 0, done.show()
    assert done.page.epoch_ns - done.page.first_io_ns == pytest.approx(300e6, abs=30e6)
    assert 0 < done.ios(WRITE) < 0.4 * 500
    assert done.mismatches == {}


@pytest.mark.requires_fuse
@engines
def test_latencies_are_those_of_the_disk(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.delay(0.05, operation="read")
    done = run_job(fault_disk.path, rw="randread", number_ios=6, ioengine=engine, direct=1)
    for kind in (Latency.CLAT, Latency.LAT):
        latencies = done.page.histogram(kind, READ)
        assert latencies.count == 6
        assert 50e6 <= latencies.min_ns <= latencies.max_ns < 90e6
    assert done.page.histogram(Latency.SLAT, READ).max_ns < 20e6


@engines
def test_slat_and_clat_add_up_to_lat(path: Path, engine: str) -> None:
    done = run_job(path, rw="randread", ioengine=engine, iodepth=8)
    mean = {kind: done.page.histogram(kind, READ).mean_ns for kind in (Latency.SLAT, Latency.CLAT, Latency.LAT)}
    assert mean[Latency.SLAT] + mean[Latency.CLAT] == pytest.approx(mean[Latency.LAT], abs=1)
    assert all(done.page.histogram(kind, READ).count == done.ios(READ) for kind in mean)


@pytest.mark.requires_fuse
@pytest.mark.parametrize("engine", ["libaio", pytest.param("io_uring", marks=pytest.mark.requires_io_uring)])
def test_depth_is_kept_by_an_asynchronous_engine(fault_disk: FaultDisk, engine: str) -> None:
    fault_disk.delay(0.05, operation="read")
    start = time.monotonic()
    done = run_job(fault_disk.path, rw="randread", number_ios=32, ioengine=engine, iodepth=8, direct=1)
    assert done.status == 0, done.show()
    assert time.monotonic() - start < 32 * 0.05 / 3
    assert done.page.depth_levels()[3] > 0
    assert sum(done.page.depth_levels()) == 32


def test_trims_below_their_minimum_fail_too(path: Path) -> None:
    done = run_job(
        path, rw="trim", time_based=1, runtime="6s", thinktime="20ms", rate_iops_min="0,0,1000", ratecycle=200
    )
    assert done.status == 1
    assert done.page.text.startswith("rate_iops_min: trim made ")


def test_a_replay_goes_round_until_its_time_is_over_or_its_ios_are_done(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "iolog"
    log.write_text(
        f"fio version 2 iolog\n{path} add\n{path} open\n{path} read 0 4096\n{path} read 8192 4096\n{path} close\n"
    )
    done = run_job(path, read_iolog=str(log), time_based=1, runtime="300ms")
    assert done.ios(READ) > 2, done.show()
    assert measured_s(done) >= 0.3
    done = run_job(path, read_iolog=str(log), time_based=1, runtime="10s", number_ios=7)
    assert done.ios(READ) == 7, done.show()


def test_a_target_latency_is_sought_under_a_rate_too(path: Path) -> None:
    done = run_job(
        path, rw="randread", ioengine="libaio", iodepth=4, time_based=1, runtime="10s", rate_iops=2000,
        latency_target="5s", latency_window="50ms",
    )  # fmt: skip
    assert done.status == 0, done.show()
    assert measured_s(done) < 5

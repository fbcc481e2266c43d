"""Samples of throughput, and what the choices of a job have to do with each other."""

import itertools
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pytest
from engine_runs import KIB, MIB, READ, data_file, run_job, running
from processes import wait_until

from iovigil.engines.stats import Counter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", 4 * MIB)


def rated(**options: Any) -> Any:
    done = run_job(None, ioengine="null", rw="randread", size="1g", time_based=1, rate_iops=2000, **options)
    assert done.status == 0, done.show()
    return done.page.bw_samples(READ).samples, done.page.iops_samples(READ).samples


@pytest.mark.parametrize(("bw_ms", "iops_ms"), [(20, 500), (500, 20)])
def test_each_kind_of_sample_has_its_own_window(bw_ms: int, iops_ms: int) -> None:
    bw, iops = rated(runtime="1200ms", bwavgtime=bw_ms, iopsavgtime=iops_ms)
    assert (1 <= bw <= 2 < 10 < iops) if bw_ms > iops_ms else (1 <= iops <= 2 < 10 < bw), (bw, iops)


@pytest.mark.parametrize("option", ["disable_bw_measurement", "gtod_reduce"])
def test_throughput_is_not_sampled_where_nobody_wants_it(option: str) -> None:
    bw, _ = rated(runtime="300ms", bwavgtime=20, **{option: 1})
    assert bw == 0


@pytest.mark.parametrize(("hint", "rw", "reads_ahead"), [
    ("auto", "randread", False), ("auto", "read", True), ("sequential", "randread", True), ("random", "read", False),
    ("none", "randread", True),
])  # fmt: skip
def test_the_kernel_reads_ahead_as_it_is_told(path: Path, hint: str, rw: str, *, reads_ahead: bool) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    # At the start of a file the kernel expects more to follow.
    done = run_job(path, rw=rw, fadvise_hint=hint, bs="4k", size="4k", direct=0)
    assert done.status == 0, done.show()
    asked = subprocess.run(
        ["fincore", "--noheadings", "--output", "PAGES", path], capture_output=True, text=True, check=True, timeout=10
    )
    cached = int(asked.stdout)
    if cached * 4 * KIB == 4 * MIB:
        pytest.skip("a file system that keeps everything in memory")
    assert (cached > 1) == reads_ahead


def test_when_an_io_comes_says_nothing_of_where_it_goes(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "iolog"
    done = run_job(
        path, rw="randread", norandommap=1, rate_process="poisson", rate_iops=2000, number_ios=1500, time_based=1,
        runtime="5s", write_iolog=str(log),
    )  # fmt: skip
    assert done.status == 0, done.show()
    ios = [line.split() for line in log.read_text().splitlines() if " read " in line]
    times = [int(words[0]) for words in ios]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    offsets = [int(words[3]) for words in ios]
    for shift in range(-8, 9):
        before, after = gaps[max(-shift, 0) : len(gaps) - 8], offsets[max(shift, 0) :]
        count = min(len(before), len(after))
        assert abs(statistics.correlation(before[:count], after[:count])) < 0.2, shift


def test_allrandrepeat_repeats_though_randrepeat_does_not(path: Path, tmp_path: Path) -> None:
    orders = []
    for number in range(2):
        log = tmp_path / f"iolog{number}"
        run_job(path, rw="randread", randrepeat=0, allrandrepeat=1, write_iolog=str(log))
        orders.append([line.split()[3] for line in log.read_text().splitlines() if " read " in line])
    assert len(orders[0]) == 1024
    assert orders[0] == orders[1]


def test_a_replay_thinks_as_any_job(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "iolog"
    lines = "".join(f"{path} read {at * 4096} 4096\n" for at in range(20))
    log.write_text(f"fio version 2 iolog\n{path} add\n{path} open\n{lines}{path} close\n")
    done = run_job(path, read_iolog=str(log), thinktime="20ms", thinktime_blocks=2)
    assert done.ios(READ) == 20, done.show()
    assert done.page.ended_ns - done.page.first_io_ns >= 9 * 20_000_000


def test_what_a_stall_cost_is_told_while_the_job_runs(path: Path) -> None:
    with running(path, rw="randread", time_based=1, runtime="20s", rate_iops=1000, ratecycle=100) as job:
        job.wait_for_ios(READ, 100)
        job.stall(1.0)
        wait_until(lambda: job.page.counter(Counter.DROPPED_IOS, READ) > 100, "the page tells", 5)
        job.stop()
        job.outcome()

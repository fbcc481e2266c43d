"""How many I/Os are in flight: the search for a depth, batches, engines that have a depth of one."""

from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, MIB, READ, data_file, run_job

from iovigil.engines.stats import Latency

TRIM = 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", MIB)


def test_the_depth_that_was_found_is_the_depth_there_is(path: Path) -> None:
    done = run_job(
        path,
        rw="randread",
        ioengine="libaio",
        iodepth=16,
        time_based=1,
        runtime="10s",
        latency_target="5s",
        latency_window="20ms",
    )
    assert done.status == 0, done.show()
    levels = done.page.depth_levels()
    assert levels[4] > 0.5 * sum(levels), levels


def test_each_depth_is_measured_for_a_whole_window(path: Path) -> None:
    done = run_job(
        path, rw="randread", ioengine="libaio", iodepth=4, time_based=1, runtime="10s",
        latency_target="5s", latency_window="100ms", latency_percentile=50,
    )  # fmt: skip
    assert done.status == 0, done.show()
    # 1, 2, 4, and 4 once more.
    assert done.page.ended_ns - done.page.first_io_ns >= 4 * 100_000_000


def test_an_engine_of_one_io_at_a_time_has_no_other_depth(path: Path) -> None:
    done = run_job(
        path, rw="randread", ioengine="psync", iodepth=16, time_based=1, runtime="10s",
        latency_target="5s", latency_window="50ms",
    )  # fmt: skip
    assert done.status == 0, done.show()
    # One window that says yes, and one that is the result.
    assert done.page.ended_ns - done.page.first_io_ns < 4 * 50_000_000 + 1_000_000_000
    assert done.page.latency_depth == 1


def test_samples_of_other_depths_are_not_those_of_the_answer(path: Path) -> None:
    done = run_job(
        path, rw="randread", ioengine="libaio", iodepth=8, time_based=1, runtime="10s",
        latency_target="5s", latency_window="100ms", bwavgtime=10, iopsavgtime=10,
    )  # fmt: skip
    assert done.status == 0, done.show()
    assert 1 <= done.page.bw_samples(READ).samples <= done.page.runtime_ns(READ) // 10_000_000
    assert 1 <= done.page.iops_samples(READ).samples <= done.page.runtime_ns(READ) // 10_000_000


@pytest.mark.parametrize("options", [{"iodepth_low": 3}, {"iodepth_batch_submit": 3}, {"iodepth_low": 4}])
def test_batches_near_the_depth_lose_no_block(path: Path, options: dict[str, Any]) -> None:
    done = run_job(path, rw="randread", ioengine="libaio", iodepth=4, **options)
    assert done.status == 0, done.show()
    assert done.bytes(READ) == MIB


@pytest.mark.parametrize("engine", ENGINES)
def test_trims_that_an_engine_makes_one_by_one_take_their_own_time_each(path: Path, engine: str) -> None:
    done = run_job(path, rw="trim", ioengine=engine, iodepth=16, bs="4k")
    assert done.status == 0, done.show()
    lat = done.page.histogram(Latency.LAT, TRIM)
    if engine == "io_uring":
        pytest.skip("it may have several under way")
    assert lat.sum_ns <= (done.page.ended_ns - done.page.first_io_ns) * 1.01


def test_the_depth_of_a_job_that_trims_is_told(path: Path) -> None:
    done = run_job(path, rw="trim", bs="4k")
    assert done.page.depth_levels()[0] == done.ios(TRIM) == 256


def test_what_the_ramp_does_has_no_depth(path: Path) -> None:
    done = run_job(path, rw="randread", ioengine="libaio", iodepth=4, time_based=1, ramp_time="300ms", runtime="100ms")
    assert sum(done.page.depth_levels()) < 1.2 * done.ios(READ)

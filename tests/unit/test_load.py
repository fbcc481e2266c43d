"""What a plan may do to a disk at worst, worked out by hand."""

import math

import pytest

from iovigil.agent import config, load
from iovigil.agent.load import Demand

GIB = 1 << 30
RUNS_A_DAY = 144  # one every ten minutes

TEXT = """\
agent: {{{agent}}}
disks: [{{name: d, {disk}}}]
probes: {{p: {{every: 10m, {more}job: {{{job}}}}}}}
"""


def demand(
    job: str, disk: str = "file: /srv/d/probe, size: 1GiB", *, agent: str = "", more: str = "", device_bytes: int = 0
) -> Demand:
    loaded = config.parse(TEXT.format(job=job, disk=disk, agent=agent, more=more), "f.yml")
    [each] = load.planned(loaded, {"d": device_bytes})
    return each.demand


def test_a_rate_bounds_what_is_read() -> None:
    found = demand("rw: randread, bs: 4k, rate_iops: 100, runtime: 6s")
    assert (found.iops, found.depth, found.unbounded) == (100, 1, ())
    assert found.read_bytes_a_day == RUNS_A_DAY * 6 * 100 * 4096
    assert found.written_bytes_a_day == 0
    assert found.busy == pytest.approx(0.01)


def test_ramp_time_is_load_as_well() -> None:
    found = demand("rw: randread, rate_iops: 100, runtime: 6s, ramp_time: 2s")
    assert found.read_bytes_a_day == RUNS_A_DAY * 8 * 100 * 4096


def test_the_stricter_of_two_bounds_counts() -> None:
    assert demand("rw: read, bs: 64k, rate: 640k, runtime: 6s", more="limits: {riops: 100}, ").iops == 10
    assert demand("rw: read, bs: 64k, rate: 64m, runtime: 6s", more="limits: {riops: 100}, ").iops == 100


def test_of_lengths_the_shortest_counts_for_ios_and_the_longest_for_bytes() -> None:
    found = demand("rw: randread, bsrange: 4k-64k, rate: 1m, runtime: 6s")
    assert found.iops == 256
    assert found.read_bytes_a_day == RUNS_A_DAY * 6 << 20
    by_ios = demand("rw: randread, bsrange: 4k-64k, rate_iops: 10, runtime: 6s")
    assert by_ios.read_bytes_a_day == RUNS_A_DAY * 6 * 10 * 65536


def test_without_a_rate_and_without_an_end_there_is_no_bound() -> None:
    found = demand("rw: randwrite, runtime: 6s")
    assert (found.iops, found.written_bytes_a_day) == (math.inf, math.inf)
    assert found.unbounded == ("rate_iops for writes",)


def test_a_size_bounds_the_bytes_and_not_the_ios() -> None:
    found = demand("rw: write, bs: 64k, size: 64MiB, time_based: 0, runtime: 30s, loops: 2")
    assert (found.iops, found.written_bytes_a_day) == (math.inf, RUNS_A_DAY * 2 * 64 << 20)


def test_a_number_of_ios_is_a_bound_too() -> None:
    assert demand("rw: randread, bs: 4k, number_ios: 50, runtime: 6s").read_bytes_a_day == RUNS_A_DAY * 50 * 4096


def test_what_is_verified_is_written_in_half_of_the_time_and_read_once_more() -> None:
    found = demand("rw: randwrite, bs: 4k, verify: crc32c, rate_iops: 100, runtime: 6s")
    assert found.written_bytes_a_day == RUNS_A_DAY * 3 * 100 * 4096
    assert found.read_bytes_a_day == found.written_bytes_a_day
    assert found.iops == 100  # first the one, then the other
    assert found.busy == pytest.approx(9 / 600)


def test_reads_that_do_not_wait_for_the_rate_leave_nearly_all_of_the_time_to_writes() -> None:
    found = demand("rw: randwrite, bs: 4k, verify: crc32c, verify_backlog: 8, rate_iops: 100, runtime: 6s")
    assert found.written_bytes_a_day == RUNS_A_DAY * 6 * 100 * 4096
    assert found.unbounded == ("rate_iops for reads",)


def test_a_mixed_job_has_both_rates_at_once() -> None:
    found = demand("rw: randrw, bs: 4k, rate_iops: [100, 50], runtime: 6s, iodepth: 4")
    assert (found.iops, found.depth) == (150, 4)


def test_a_synchronous_engine_has_one_io_in_flight() -> None:
    assert demand("rw: randread, ioengine: psync, iodepth: 32, rate_iops: 1, runtime: 6s").depth == 1


def test_thinking_bounds_a_job() -> None:
    assert demand("rw: randread, thinktime: 10ms, thinktime_blocks: 5, runtime: 6s").iops == 500


def test_a_device_is_read_as_a_whole() -> None:
    job = "rw: read, bs: 1m, time_based: 0, runtime: 60s"
    assert demand(job, "device: /dev/disk/by-id/x", device_bytes=8 * GIB).read_bytes_a_day == RUNS_A_DAY * 8 * GIB
    assert demand(job, "device: /dev/disk/by-id/x").read_bytes_a_day == math.inf  # absent: nobody knows its size


def test_limits_bound_what_nothing_else_does_and_that_is_said() -> None:
    job = "rw: randread, bs: 4k, runtime: 6s"
    found = demand(job, more="limits: {riops: 200}, ")
    assert (found.iops, found.unbounded, found.needs_limits) == (200, (), True)
    assert found.read_bytes_a_day == RUNS_A_DAY * 6 * 200 * 4096
    assert demand(job, agent="limits: {rbps: 1MiB}").iops == 256
    # What a probe says goes before what the agent says, each for itself.
    assert demand(job, agent="limits: {riops: 7}", more="limits: {riops: 9}, ").iops == 9
    assert not demand("rw: randread, rate_iops: 100, runtime: 6s", agent="limits: {riops: 200}").needs_limits


def test_on_one_disk_peaks_are_not_added_and_days_are() -> None:
    both = load.together(
        [
            Demand(iops=100, depth=1, read_bytes_a_day=5, busy=0.1),
            Demand(iops=20, depth=8, read_bytes_a_day=2, written_bytes_a_day=3, busy=0.2, unbounded=("x",)),
        ]
    )
    assert (both.iops, both.depth, both.read_bytes_a_day, both.written_bytes_a_day) == (100, 8, 7, 3)
    assert both.busy == pytest.approx(0.3)
    assert both.unbounded == ("x",)


def test_wear_is_writing_over_the_disk() -> None:
    assert Demand(written_bytes_a_day=GIB).wear_a_day(4 * GIB) == 0.25
    assert Demand(written_bytes_a_day=GIB).wear_a_day(0) == 0

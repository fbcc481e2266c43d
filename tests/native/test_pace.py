"""When the next I/O may start: rates that hold, moments that stay, and what a stall costs. On a simulated clock."""

import itertools
import json
import math
import statistics
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines.options import JobOptions
from iovigil.engines.pace import Pace

SECOND = 1_000_000_000
START = 7 * 86_400 * SECOND + 12_345  # a machine that is up for a week
READ, WRITE = 0, 1


def pace(seed: int = 1, **options: Any) -> Pace:
    made = Pace(JobOptions(**options).native(), seed)
    made.start(START)
    return made


def run(pace: Pace, lengths: Any, until: int, service_ns: int = 0, ddir: int = READ) -> list[tuple[int, int]]:
    """(start, length) of the I/Os of a disk that takes so long for each, one at a time, until a moment."""
    now = START
    issued: list[tuple[int, int]] = []
    for length in lengths:
        now = max(now, pace.due_ns(ddir))
        if now >= until:
            return issued
        pace.issued(ddir, length, now)
        issued.append((now, length))
        now += service_ns
    raise AssertionError("too few lengths")


@given(st.integers(1, 5_000_000), st.integers(0, 1 << 62))
def test_a_rate_of_ios_is_kept_to_a_thousandth(rate_iops: int, start: int) -> None:
    made = Pace(JobOptions(rate_iops=(rate_iops, 0, 0)).native(), 1)
    made.start(start + 1)
    for _ in range(2000):
        made.issued(READ, 4096, made.due_ns(READ))
    assert made.due_ns(READ) - (start + 1) == pytest.approx(2000 * SECOND / rate_iops, rel=1e-6, abs=2)
    assert made.dropped(READ) == 0


@given(st.integers(1 << 10, 1 << 36), st.lists(st.integers(512, 1 << 20), min_size=1, max_size=50))
def test_a_rate_of_bytes_goes_by_the_length_of_each_io(rate: int, lengths: list[int]) -> None:
    made = pace(rate=(rate, 0, 0))
    for length in lengths * 20:
        made.issued(READ, length, made.due_ns(READ))
    assert made.due_ns(READ) - START == pytest.approx(20 * sum(lengths) * SECOND / rate, rel=1e-6, abs=2)


def test_an_io_waits_for_the_one_before_it_and_not_for_itself() -> None:
    made = pace(rate=(1 << 20, 0, 0))
    assert made.due_ns(READ) == START
    made.issued(READ, 1 << 19, START)
    assert made.due_ns(READ) == START + SECOND // 2
    made.issued(READ, 1 << 18, START + SECOND // 2)
    assert made.due_ns(READ) == START + 3 * SECOND // 4


@given(
    st.integers(1 << 16, 1 << 30),
    st.integers(10, 100_000),
    st.lists(st.sampled_from([512, 4096, 65536, 1 << 20]), min_size=1, max_size=9),
)
def test_of_two_bounds_the_later_one_decides(rate: int, rate_iops: int, lengths: list[int]) -> None:
    made = pace(rate=(rate, 0, 0), rate_iops=(rate_iops, 0, 0), ratecycle=1000)
    moved, most, lag = 0, max(lengths), 0.001
    for count, length in enumerate(itertools.islice(itertools.cycle(lengths), 300)):
        passed = (made.due_ns(READ) - START) / SECOND
        assert moved <= rate * (passed + lag) + most
        assert count <= rate_iops * (passed + lag) + 1
        made.issued(READ, length, made.due_ns(READ))
        moved += length
    # Neither waits for more than the sum of both.
    assert (made.due_ns(READ) - START) / SECOND <= moved / rate + 300 / rate_iops + 1e-6


@pytest.mark.parametrize(("length", "iops"), [(4096, 1000), (1 << 20, 100)])
def test_with_one_length_the_tighter_bound_holds_alone(length: int, iops: int) -> None:
    made = pace(rate=(100 << 20, 0, 0), rate_iops=(1000, 0, 0))
    issued = run(made, itertools.repeat(length), START + 10 * SECOND)
    assert len(issued) == pytest.approx(10 * iops, abs=1)


def test_what_one_bound_leaves_unused_is_not_saved_up() -> None:
    made = pace(rate=(1 << 20, 0, 0), rate_iops=(10, 0, 0), ratecycle=1_000_000)
    for _ in range(100):
        made.issued(READ, 512, made.due_ns(READ))
    begun = made.due_ns(READ)
    for _ in range(10):
        made.issued(READ, 1 << 20, made.due_ns(READ))
    # Ten seconds of bytes were left; one, the ratecycle, may be made up for.
    assert made.due_ns(READ) - begun == pytest.approx(9 * SECOND, rel=0.02)


def test_one_rate_is_for_each_direction_of_its_own() -> None:
    made = pace(rw="randrw", rate_iops=(1000, 1000, 0))
    reads = run(made, itertools.repeat(4096), START + SECOND, ddir=READ)
    writes = run(made, itertools.repeat(4096), START + SECOND, ddir=WRITE)
    assert (len(reads), len(writes)) == (1000, 1000)


def test_a_direction_without_a_bound_is_due_at_once() -> None:
    made = pace(rw="randrw", rate_iops=(1000, 0, 0))
    made.issued(READ, 4096, START)
    made.issued(WRITE, 4096, START)
    assert made.due_ns(WRITE) == 0
    assert made.due_ns(READ) > START


def test_the_moment_of_an_io_stays_however_late_it_starts() -> None:
    made = pace(rate_iops=(1000, 0, 0))
    for late_ns in (0, 300_000, 900_000_000, 0):
        due = made.due_ns(READ)
        made.issued(READ, 4096, due + late_ns)
        assert made.due_ns(READ) == due + SECOND // 1000


@given(st.integers(100, 100_000), st.integers(1, 20), st.integers(1, 5))
def test_a_stall_is_made_up_for_by_one_ratecycle_and_the_rest_is_counted(iops: int, stall: int, cycle: int) -> None:
    made = pace(rate_iops=(iops, 0, 0), ratecycle=cycle * 1_000_000)
    made.issued(READ, 4096, START)
    after = START + stall * SECOND
    issued = run_from(made, after, until=after + 1)
    assert issued == pytest.approx(iops * min(stall, cycle), abs=2)
    assert made.dropped(READ) == pytest.approx(iops * max(stall - cycle, 0), abs=2)


def run_from(pace: Pace, now: int, until: int) -> int:
    """I/Os that start at once after a stall."""
    count = 0
    while pace.due_ns(READ) < until:
        pace.issued(READ, 4096, max(now, pace.due_ns(READ)))
        count += 1
    return count


@given(st.integers(0, (1 << 64) - 1), st.integers(1, 30))
def test_random_gaps_are_never_given_up(seed: int, stall: int) -> None:
    """What many users asked for while the disk stood still is still asked for when it goes again."""
    made = pace(seed, rate_iops=(200, 0, 0), rate_process="poisson")
    undisturbed = pace(seed, rate_iops=(200, 0, 0), rate_process="poisson")
    after = START + stall * SECOND
    for _ in range(100):
        assert made.due_ns(READ) == undisturbed.due_ns(READ)
        made.issued(READ, 4096, max(after, made.due_ns(READ)))
        undisturbed.issued(READ, 4096, undisturbed.due_ns(READ))
    assert made.dropped(READ) == 0


def gaps(made: Pace, count: int, length: int = 4096) -> list[int]:
    moments = [START]
    for _ in range(count):
        moments.append(made.due_ns(READ))
        made.issued(READ, length, made.due_ns(READ))
    return [after - before for before, after in itertools.pairwise(moments)]


@pytest.mark.parametrize("bound", [{"rate_iops": (1000, 0, 0)}, {"rate": (4096_000, 0, 0)}])
def test_random_gaps_are_those_of_a_poisson_process(bound: dict[str, Any]) -> None:
    """Kolmogorov and Smirnov's distance to the exponential distribution; neighbours are independent."""
    drawn = gaps(pace(rate_process="poisson", **bound), 20_000)
    mean = SECOND / 1000
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.03)
    assert statistics.stdev(drawn) == pytest.approx(mean, rel=0.05)
    expected = [1 - math.exp(-gap / mean) for gap in sorted(drawn)]
    distance = max(abs(share - index / len(drawn)) for index, share in enumerate(expected))
    assert distance < 1.95 / math.sqrt(len(drawn))
    assert abs(statistics.correlation(drawn[:-1], drawn[1:])) < 0.03


def test_random_gaps_keep_the_rate_of_mixed_lengths() -> None:
    made = pace(bsrange=((4096, 65536),) * 3, rate=(64 << 20, 0, 0), rate_process="poisson")
    issued = run(made, itertools.cycle([4096, 65536, 8192]), START + 20 * SECOND)
    assert sum(length for _, length in issued) == pytest.approx(20 * (64 << 20), rel=0.03)


def test_a_seed_repeats_its_gaps_and_another_has_others() -> None:
    drawn = [gaps(pace(seed, rate_iops=(1000, 0, 0), rate_process="poisson"), 50) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def ios_of_a_thinker(is_ignored: bool) -> int:
    """I/Os in two seconds of 1000 a second with a pause of 100 ms after every 100."""
    made = pace(rate_iops=(1000, 0, 0), rate_ignore_thinktime=is_ignored)
    now, count = START, 0
    while True:
        for _ in range(100):
            now = max(now, made.due_ns(READ))
            if now >= START + 2 * SECOND:
                return count
            made.issued(READ, 4096, now)
            count += 1
        now += SECOND // 10
        made.paused(SECOND // 10)


@pytest.mark.requires_fio
@pytest.mark.parametrize("is_ignored", [False, True])
def test_time_spent_thinking_is_made_up_for_where_fio_does(is_ignored: bool) -> None:
    done = subprocess.run(
        [
            *("fio", "--name=thinker", "--ioengine=null", "--size=1g", "--rw=read", "--time_based", "--runtime=2"),
            *("--rate_iops=1000", "--thinktime=100ms", "--thinktime_blocks=100", "--output-format=json"),
            f"--rate_ignore_thinktime={int(is_ignored)}",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    theirs = json.loads(done.stdout)["jobs"][0]["read"]["total_ios"]
    assert ios_of_a_thinker(is_ignored) == pytest.approx(theirs, rel=0.1)


@given(st.integers(0, 10 * SECOND))
def test_a_pause_that_is_not_made_up_for_moves_every_later_moment(pause: int) -> None:
    made = pace(rate=(1 << 20,) * 3, rate_ignore_thinktime=True)
    made.issued(READ, 4096, START)
    before = made.due_ns(READ), made.due_ns(WRITE)
    made.paused(pause)
    assert (made.due_ns(READ), made.due_ns(WRITE)) == (before[0] + pause, before[1] + pause)
    unbound = pace(rate_ignore_thinktime=True)
    unbound.paused(pause)
    assert unbound.due_ns(READ) == 0


def test_the_slowest_rate_of_the_longest_io_still_has_a_moment() -> None:
    for process in ("linear", "poisson"):
        made = pace(rate=(1, 0, 0), rate_process=process)
        made.issued(READ, 1 << 30, made.due_ns(READ))
        assert made.due_ns(READ) > START + 1000 * SECOND

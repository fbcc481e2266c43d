"""The greatest iodepth that keeps a latency, found on disks that are imitated on a simulated clock."""

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines.depth_search import Search
from iovigil.engines.options import JobOptions

MILLISECOND = 1_000_000
LONGEST_NS = 3600 * 1000 * MILLISECOND


class Disk:
    """A queue before some servers that take the same time for each I/O, and now and then longer."""

    def __init__(self, servers: int, service_ns: int, hiccups: float = 0.0) -> None:
        self.free_at = [0] * servers
        self.service_ns = service_ns
        self.hiccups = hiccups
        self.random = random.Random(1)

    def submit(self, now: int) -> int:
        """When an I/O that is queued now will have completed."""
        start = max(now, heapq.heappop(self.free_at))
        end = start + self.service_ns * (10 if self.random.random() < self.hiccups else 1)
        heapq.heappush(self.free_at, end)
        return end


class Run:
    """A job's loop as far as the search is concerned."""

    def __init__(self, search: Search, disk: Disk) -> None:
        self.search = search
        self.disk = disk
        self.now = 0
        self.flying: list[tuple[int, int]] = []
        self.depths: list[int] = []
        search.begin(0)

    def go(self, until: Callable[["Run"], bool] = lambda _: False) -> str:
        """Run to the end of the job, or until a condition; what the search said last."""
        while self.now < LONGEST_NS and not until(self):
            while len(self.flying) < self.search.depth:
                heapq.heappush(self.flying, (self.disk.submit(self.now), self.now))
            self.reap()
            action = self.search.look(self.now)
            if action in ("changed", "settled"):
                while self.flying:
                    self.reap()
                    assert self.search.look(self.now) == "nothing"
                self.depths.append(self.search.depth)
                self.search.begin(self.now)
                self.settled_ns = self.now
            elif action != "nothing":
                return action
        return "nothing"

    def reap(self) -> None:
        self.now, start = heapq.heappop(self.flying)
        self.search.note(self.now - start)


def after(end: int) -> Callable[[Run], bool]:
    return lambda run: run.now > end


def search(iodepth: int = 64, target_us: int = 10_000, **options: Any) -> Search:
    window = options.pop("latency_window", 200_000)
    return Search(JobOptions(iodepth=iodepth, latency_target=target_us, latency_window=window, **options).native())


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 20))
def test_the_depth_found_is_the_greatest_that_keeps_the_target(iodepth: int, answer: int, servers: int) -> None:
    # As many rounds of its servers as fit in the target; one I/O more is late.
    rounds = max(1, answer // servers)
    made = search(iodepth, target_us=rounds * 1000, latency_window=1_000_000)
    run = Run(made, Disk(servers, MILLISECOND))
    assert run.go() == "done"
    assert made.depth == min(rounds * servers, iodepth)


def test_the_depth_doubles_and_then_the_gap_is_halved() -> None:
    run = Run(search(), Disk(1, MILLISECOND))
    assert run.go() == "done"
    assert run.depths == [2, 4, 8, 16, 12, 10, 11, 10, 10]  # 10 again after 11 failed, and again as the answer


def test_the_answer_is_measured_for_one_window() -> None:
    run = Run(search(iodepth=4), Disk(1, MILLISECOND))
    assert run.go() == "done"
    assert run.depths == [2, 4, 4]
    assert 200 * MILLISECOND <= run.now - run.settled_ns <= 205 * MILLISECOND


def test_a_disk_that_is_too_slow_for_one_io_fails_at_once() -> None:
    made = search()
    run = Run(made, Disk(1, 11 * MILLISECOND))
    assert run.go() == "failed"
    assert made.depth == 1
    assert run.now == 11 * MILLISECOND


def test_where_all_must_keep_the_target_one_late_io_ends_the_window() -> None:
    run = Run(search(latency_window=60_000_000), Disk(1, MILLISECOND))
    run.go(until=lambda run: len(run.depths) == 5)
    # Four windows that were kept, and no more than a few I/Os of the one that was not.
    assert 4 * 60_000 * MILLISECOND <= run.now < 4.01 * 60_000 * MILLISECOND


@pytest.mark.parametrize(("percentile", "answer"), [(100.0, "failed"), (99.5, "failed"), (97.0, "done")])
def test_a_share_of_the_ios_may_be_late(percentile: float, answer: str) -> None:
    made = search(iodepth=1, latency_percentile=percentile, target_us=5000, latency_window=10_000_000)
    assert Run(made, Disk(1, MILLISECOND, hiccups=0.01)).go() == answer


@given(st.integers(1, 1000), st.integers(0, 1000), st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_window_is_judged_by_the_share_of_late_ios(seen: int, late: int, percentile: float) -> None:
    made = search(latency_percentile=percentile)
    late = min(late, seen)
    made.begin(0)
    for index in range(seen):
        made.note(10 * MILLISECOND + (index < late))
    is_good = late * 1000 <= seen * round((100 - percentile) * 10)
    assert made.look(200 * MILLISECOND) == ("changed" if is_good else "failed")


def test_the_share_that_may_be_late_is_met_exactly() -> None:
    made = search(latency_percentile=99.9)
    made.begin(0)
    for index in range(1000):
        made.note(LONGEST_NS if index == 7 else 0)
    assert made.look(200 * MILLISECOND) == "changed"


def test_a_window_without_a_completion_is_not_judged() -> None:
    made = search()
    made.begin(0)
    assert made.look(LONGEST_NS) == "nothing"
    made.note(LONGEST_NS)
    assert made.look(LONGEST_NS) == "failed"


def test_with_latency_run_the_depth_follows_the_disk() -> None:
    made, disk = search(latency_run=True), Disk(1, MILLISECOND)
    run = Run(made, disk)
    assert run.go(until=after(60_000 * MILLISECOND)) == "nothing"
    assert made.depth in (10, 11)
    for service_ns, expected in (
        (2 * MILLISECOND, 5),
        (MILLISECOND // 2, 20),
        (50 * MILLISECOND, 1),
        (MILLISECOND, 10),
    ):
        disk.service_ns = service_ns
        assert run.go(until=after(run.now + 60_000 * MILLISECOND)) == "nothing"
        assert made.depth in (expected, expected + 1), service_ns


def test_a_depth_that_was_good_and_is_no_longer_is_given_up() -> None:
    made, disk = search(), Disk(1, MILLISECOND)
    run = Run(made, disk)
    run.go(until=lambda run: run.depths[-1:] == [12])
    disk.service_ns = 4 * MILLISECOND
    assert run.go() == "done"
    assert made.depth == 2


def test_without_a_target_the_depth_is_the_jobs_own() -> None:
    assert Search(JobOptions(iodepth=7).native()).depth == 7

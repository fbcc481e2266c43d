"""Jobs of one flow: in proportion to their weights, in one process and in several, as they come and go."""

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines.flow import Flow, FlowPage

DEADLINE_S = 30


def join(*weights: int, places: int | None = None) -> tuple[FlowPage, list[Flow]]:
    page = FlowPage.create(places or len(weights))
    return page, [Flow(page, place, weight) for place, weight in enumerate(weights)]


def go_round(flows: list[Flow], ios: int, seed: int = 1) -> list[int]:
    """Let jobs of random speed have their turns until so many I/Os have started; I/Os of each."""
    turns = random.Random(seed)
    speed = [turns.choice((1, 3, 10)) for _ in flows]
    counts = [0] * len(flows)
    while sum(counts) < ios:
        assert not all(flow.is_ahead() for flow in flows)
        for index, flow in enumerate(flows):
            for _ in range(speed[index]):
                if not flow.is_ahead():
                    flow.note()
                    counts[index] += 1
    return counts


@pytest.mark.parametrize("weights", [(1, 8), (1, 5, 10), (3, 2, 1), (100, 500), (7, 7)])
def test_ios_follow_the_weights(weights: tuple[int, ...]) -> None:
    _page, flows = join(*weights)
    counts = go_round(flows, 20_000)
    for count, weight in zip(counts, weights, strict=True):
        assert count / 20_000 == pytest.approx(weight / sum(weights), rel=0.03, abs=0.002)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 1 << 32))
def test_nobody_runs_further_ahead_than_its_share_of_the_lead(weights: list[int], seed: int) -> None:
    _page, flows = join(*weights)
    counts = go_round(flows, 3000, seed)
    for count, weight in zip(counts, weights, strict=True):
        others, all_weights = sum(counts) - count, sum(weights)
        # The lead is 32 I/Os, or one in 64 of all that were started.
        lead = max(32, sum(counts) / 64) * weight / all_weights
        assert len(weights) == 1 or count <= others * weight / (all_weights - weight) + lead + 1


def test_a_job_alone_never_waits() -> None:
    _page, (flow,) = join(5)
    for _ in range(10_000):
        assert not flow.is_ahead()
        flow.note()


def test_a_slow_job_holds_the_others_back() -> None:
    page, (slow, fast) = join(1, 8)
    for _ in range(100):
        slow.note()
        while not fast.is_ahead():
            fast.note()
    assert page.ios(1) / page.ios(0) == pytest.approx(8, rel=0.05)  # 8 of 9 parts of the 32 are 28 too many of 800


def test_when_a_job_leaves_the_others_keep_their_own_proportion() -> None:
    _page, flows = join(1, 5, 10)
    before = go_round(flows, 16_000)
    flows.pop().leave()
    after = go_round(flows, 12_000)
    assert before[2] / before[0] == pytest.approx(10, rel=0.05)
    assert after[1] / after[0] == pytest.approx(5, rel=0.05)


def test_a_job_that_joins_late_neither_waits_nor_is_waited_for() -> None:
    page, flows = join(1, 2, places=3)
    go_round(flows, 30_000)
    flows.append(Flow(page, 2, 3))
    counts = go_round(flows, 60_000)
    # Of 90,000 a lead of one in 64 is 1400, which the three share.
    assert counts == [pytest.approx(share, abs=1400) for share in (10_000, 20_000, 30_000)]


def test_leaving_twice_is_leaving_once() -> None:
    page, flows = join(1, 5, 10)
    go_round(flows, 1000)
    flows[2].leave()
    page.leave(2)
    page.leave(2)
    counts = go_round(flows[:2], 6000)
    assert counts[1] / counts[0] == pytest.approx(5, rel=0.1)


def test_a_job_that_died_is_taken_out_by_the_agent() -> None:
    page, flows = join(1, 1)
    while not flows[0].is_ahead():
        flows[0].note()
    page.leave(1)
    assert not flows[0].is_ahead()


def take_part(fd: int, place: int, weight: int, is_over: "multiprocessing.synchronize.Event") -> None:
    flow = Flow(FlowPage.attach(os.dup(fd)), place, weight)
    while not is_over.is_set():
        for _ in range(100):
            if not flow.is_ahead():
                flow.note()


def test_processes_share_a_flow_without_losing_a_count() -> None:
    context = multiprocessing.get_context("fork")
    page, is_over = FlowPage.create(3), context.Event()
    # A job that does nothing yet keeps the others at their start until all are there.
    gate = Flow(page, 0, 1)
    jobs = [
        context.Process(target=take_part, args=(page.fileno(), place, weight, is_over))
        for place, weight in ((1, 1), (2, 8))
    ]
    for job in jobs:
        job.start()
    end = time.monotonic() + DEADLINE_S
    while page.ios(1) + page.ios(2) < 20 and time.monotonic() < end:
        time.sleep(0.001)
    gate.leave()
    while page.ios(1) < 2000 and time.monotonic() < end:
        time.sleep(0.001)
    is_over.set()
    assert page.ios(1) >= 2000, "both wait for counts that were lost"
    for job in jobs:
        job.join(DEADLINE_S)
        assert job.exitcode == 0
    assert page.ios(2) / page.ios(1) == pytest.approx(8, rel=0.1)


def test_what_is_no_flow_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page"
    for content in (b"", b"x" * 4096):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="flow page"):
            FlowPage.attach(os.open(path, os.O_RDWR))
    with pytest.raises(IndexError, match="place 2"):
        Flow(FlowPage.create(2), 2, 1)
    with pytest.raises(IndexError):
        FlowPage.create(2).leave(7)

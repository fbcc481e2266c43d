"""Pauses between I/Os: when they are due, and how long they take."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines.options import JobOptions
from iovigil.engines.think import Think

MILLISECOND = 1_000_000
START = 1 << 50


def think(**options: Any) -> Think:
    made = Think(JobOptions(**options).native())
    made.start(START)
    return made


def ios_before_a_pause(made: Think, now: int, each_ns: int = 0) -> int:
    count = 0
    while not made.is_due(now):
        made.issued()
        count += 1
        now += each_ns
        assert count < 100_000
    return count


@given(st.integers(1, 1000))
def test_a_pause_is_due_after_so_many_ios_and_again_after_as_many(blocks: int) -> None:
    made = think(thinktime=1, thinktime_blocks=blocks)
    assert ios_before_a_pause(made, START) == blocks
    made.start(START)
    assert ios_before_a_pause(made, START) == blocks


def test_without_thinktime_no_pause_is_ever_due() -> None:
    made = think(thinktime_blocks=3)
    for _ in range(10):
        made.issued()
    assert not made.is_due(1 << 63)


def test_a_time_alone_does_not_count_ios() -> None:
    made = think(thinktime=1, thinktime_iotime=300_000)
    assert ios_before_a_pause(made, START, each_ns=MILLISECOND) == 300


@pytest.mark.parametrize(("blocks", "ios"), [(50, 50), (1000, 300)])
def test_of_a_time_and_a_count_the_first_decides(blocks: int, ios: int) -> None:
    made = think(thinktime=1, thinktime_iotime=300_000, thinktime_blocks=blocks)
    assert ios_before_a_pause(made, START, each_ns=MILLISECOND) == ios


def test_a_pause_takes_its_time_and_the_count_begins_again() -> None:
    made = think(thinktime=2000, thinktime_spin=500, thinktime_blocks=2)
    assert ios_before_a_pause(made, START) == 2
    assert made.pause() >= 2 * MILLISECOND
    assert not made.is_due(START)
    assert ios_before_a_pause(made, START) == 2


def test_no_pause_outlasts_the_phase() -> None:
    made = think(thinktime=1000 * 1_000_000)
    assert made.pause(end_ns=1) < 1000 * MILLISECOND

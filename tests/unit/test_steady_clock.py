"""What is old is told by a clock that has gone on steadily; one that jumps makes nothing old."""

import asyncio
import math
from pathlib import Path

import pytest
from histories import record

from iovigil.agent import history
from iovigil.agent.archive import Archive
from iovigil.agent.bounds import Bounds
from iovigil.agent.history import History
from iovigil.agent.steady_clock import STEADY_S, SteadyClock

DAY_S = 86_400.0
NOW = 1.8e9


class Clocks:
    """A clock on the wall that is set, and one that is not."""

    def __init__(self) -> None:
        self.wall_unix = NOW
        self.passed_s = 1000.0
        self.steady = SteadyClock(lambda: self.wall_unix, lambda: self.passed_s)

    def go_on(self, seconds: float, step_s: float = 60.0) -> float:
        found = self.steady.now_unix()
        for _ in range(round(seconds / step_s)):
            self.wall_unix += step_s
            self.passed_s += step_s
            found = self.steady.now_unix()
        return found


def test_a_clock_is_believed_after_hours_of_going_on_steadily() -> None:
    clocks = Clocks()
    assert clocks.go_on(STEADY_S - 120) == -math.inf
    assert clocks.go_on(120) == clocks.wall_unix


@pytest.mark.parametrize("jump_s", [400 * DAY_S, -400 * DAY_S, DAY_S, -DAY_S, 61.0])
def test_one_that_was_set_is_not_believed_for_hours(jump_s: float) -> None:
    clocks = Clocks()
    clocks.go_on(2 * STEADY_S)
    clocks.wall_unix += jump_s
    assert clocks.go_on(STEADY_S - 120) == -math.inf
    clocks.wall_unix -= jump_s
    assert clocks.go_on(STEADY_S - 120) == -math.inf
    assert clocks.go_on(120) == clocks.wall_unix


def test_one_that_is_put_right_little_by_little_is_believed() -> None:
    clocks = Clocks()
    clocks.go_on(STEADY_S)
    for _ in range(100):
        clocks.wall_unix += 1
        assert clocks.go_on(60) > 0


def test_a_clock_that_jumps_forward_and_back_costs_no_run_of_the_history(tmp_path: Path) -> None:
    path, clocks = history.database(tmp_path), Clocks()
    archive = Archive(path)
    archive.clock = clocks.steady
    archive.bounds = Bounds(days=30, failure_days=60)

    def run(number: int) -> None:
        archive.add_run(record(number, started_unix=clocks.wall_unix, failure="" if number % 2 else "io_error"))
        asyncio.run(archive.close(5.0))

    clocks.go_on(STEADY_S)
    for number in range(10):
        run(number)
    clocks.wall_unix += 400 * DAY_S
    for number in range(10, 20):
        run(number)
        clocks.go_on(600)
    clocks.wall_unix -= 400 * DAY_S
    for number in range(20, 30):
        run(number)
    assert len(History(path).latest(limit=100)) == 30
    clocks.go_on(40 * DAY_S, step_s=3600)
    run(30)
    run(32)
    kept = History(path).latest(limit=100)
    assert not [each for each in kept if each.is_success and each.started_unix < clocks.wall_unix - 30 * DAY_S]
    assert len([each for each in kept if not each.is_success]) == 17

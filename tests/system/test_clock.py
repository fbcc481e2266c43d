"""A wall clock that is set under a running agent, in a kernel of our own: no run is lost, none is made twice."""

import json
from pathlib import Path
from typing import Any

import pytest
import virtual_machine

PROGRAM = Path(__file__).with_name("clock_in_the_machine.py")
PROGRAM_S = 170.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    try:
        machine = virtual_machine.virtual_machine()
    except virtual_machine.CannotMake as reason:
        pytest.skip(str(reason))
    ended = machine.run(PROGRAM, tmp_path_factory.mktemp("share"), PROGRAM_S)
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    found: dict[str, Any] = json.loads(ended.output)
    return found


def test_the_plan_goes_on_whatever_the_clock_is_set_to(seen: dict[str, Any]) -> None:
    for name, phase in seen["phases"].items():
        # A run takes seconds in this machine, and at a jump one may be brought forward to where the new time has it.
        assert 1 <= phase["runs"] <= phase["planned"] + 2, (name, phase)
        assert phase["missed"] == 0, name
        assert phase["healthy"] == "healthy", name
        assert phase["fell"] == [], name
    assert seen["failures"] == 0, seen["log"]
    assert seen["delay_s"] < 8


def test_what_is_shown_of_a_run_is_of_the_time_that_it_is_now(seen: dict[str, Any]) -> None:
    for name, phase in seen["phases"].items():
        assert -1 < phase["last run ended ago"] < 30, name
        assert -1 < phase["last success ago"] < 30, name
    assert 0 < seen["shortest_s"] <= seen["longest_s"] < 15


def test_the_history_keeps_what_a_wrong_clock_would_call_old_and_in_the_order_in_which_it_was(
    seen: dict[str, Any],
) -> None:
    assert seen["kept"] >= seen["runs"] - 1
    assert seen["ids"] == sorted(seen["ids"], reverse=True)


def test_what_is_paused_stays_so(seen: dict[str, Any]) -> None:
    counts = [phase["runs of what is paused"] for phase in seen["phases"].values()]
    assert counts[1:] == counts[:-1]


def test_the_agent_ends_well_and_says_nothing_of_it(seen: dict[str, Any]) -> None:
    assert seen["status"] == 0
    assert "Traceback" not in seen["log"]
    assert "ERROR" not in seen["log"]

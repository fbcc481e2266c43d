"""Control groups of children with every controller, in a kernel of our own: limits that hold, and what they cost."""

import json
from pathlib import Path
from typing import Any

import pytest
import virtual_machine

PROGRAM = Path(__file__).with_name("groups_in_the_machine.py")
PROGRAM_S = 100.0
RUNTIME_S = 3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    try:
        machine = virtual_machine.virtual_machine()
    except virtual_machine.CannotMake as reason:
        pytest.skip(f"no virtual machine: {reason}")
    ended = machine.run(PROGRAM, tmp_path_factory.mktemp("share"), PROGRAM_S)
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    found: dict[str, Any] = json.loads(ended.output)
    return found


def test_the_agent_moves_below_and_hands_all_controllers_down(answers: dict[str, Any]) -> None:
    assert answers["controllers"] == ["io", "memory", "pids"]
    assert answers["own group"] == "0::/system.slice/iovigil.service/main"


def test_a_limit_on_reads_holds_where_the_job_has_none(answers: dict[str, Any]) -> None:
    limited, free = answers["limited"], answers["free"]
    assert (limited["io.max"], free["io.max"]) == ("8:0 rbps=max wbps=max riops=50 wiops=max", "")
    assert limited["ios"] <= 50 * RUNTIME_S * 1.2 < free["ios"]


def test_a_limit_on_bytes_memory_and_threads_is_in_force(answers: dict[str, Any]) -> None:
    limited = answers["bytes"]
    assert (limited["memory.max"], limited["pids.max"]) == (str(96 << 20), "40")
    assert limited["ios"] * 65536 <= (1 << 20) * RUNTIME_S * 1.2


def test_a_job_does_not_meet_the_limits_that_its_own_rate_gives(answers: dict[str, Any]) -> None:
    paced = answers["paced"]
    assert paced["io.max"] == "8:0 rbps=4194304 wbps=4194304 riops=400 wiops=400"
    assert 0.9 * 100 * RUNTIME_S <= paced["ios"] <= 100 * RUNTIME_S


def test_no_run_fails_by_its_group_and_each_takes_it_along(answers: dict[str, Any]) -> None:
    for name in ("free", "limited", "bytes", "paced", "again"):
        assert (answers[name]["message"], answers[name]["said"]) == ("", []), name
        assert answers[name]["is_removed"], name


def test_the_kill_of_a_group_reaches_what_has_left_its_session(answers: dict[str, Any]) -> None:
    assert answers["killed"] is True


def test_the_service_can_be_started_beside_a_child_that_is_held(answers: dict[str, Any]) -> None:
    before, said, after = answers["left over"]
    assert (before, said, after) == (False, "", True)


def test_a_disk_that_stands_still_is_spared_the_first_limit_which_would_wait(answers: dict[str, Any]) -> None:
    first = answers["first limit"]
    assert first["first"] > 0.2 > first["next"]  # or else the kernel has become kinder, and is_stalled can go
    assert first["left alone"] < 0.2
    assert "ends none" in first["said"][0]

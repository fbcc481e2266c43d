"""`iovigil run-now --wait`: whose end it waits for; the rest is tried on a real agent."""

import asyncio
from typing import Any

import pytest

from iovigil.agent.cli import run_now
from iovigil.agent.cli.asking import Unanswered

DONE: dict[str, Any] = {"failure": None, "message": "", "duration_s": 1.0, "latency_s": {}}
STANDING: dict[str, Any] = {"timeout_s": 5.0, "last_run": DONE, "skips": {"standby": 3, "overlap": 0}}


class Agent:
    """One whose probe stands so at each look, the last one for ever."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        self.looks = list(looks)

    async def get(self, _path: str) -> Any:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {"disks": [{"name": "a", "probes": [{"probe": "latency", **STANDING, **look}]}]}


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_now, "POLL_S", 0.001)


async def outcome(agent: Any) -> int:
    return await run_now.outcome(agent, "a", "latency", await run_now.standing(agent, "a", "latency"))


def test_a_trial_of_a_disk_that_hung_is_waited_for() -> None:
    on_trial = {"runs": 1, "state": "stuck", "reason": "on trial: is the disk back?"}
    assert asyncio.run(outcome(Agent(on_trial, on_trial, {"runs": 2, "state": "ok", "reason": ""}))) == 0


def test_a_run_that_begins_to_hang_is_not_waited_for() -> None:
    hangs = {"runs": 1, "state": "stuck", "reason": "an I/O does not come back; the run goes on"}
    with pytest.raises(Unanswered, match="an I/O does not come back"):
        asyncio.run(outcome(Agent({"runs": 1, "state": "ok", "reason": ""}, hangs)))


def test_a_disk_that_was_left_asleep_is_told_at_once() -> None:
    before = {"runs": 1, "state": "ok", "reason": ""}
    asleep = {**before, "state": "waiting", "skips": {"standby": 4, "overlap": 0}}
    with pytest.raises(Unanswered, match="did not run: the disk is in standby, and was left asleep"):
        asyncio.run(outcome(Agent(before, before, asleep)))


def test_a_planned_start_that_is_skipped_meanwhile_is_not_the_end() -> None:
    before = {"runs": 1, "state": "running", "reason": ""}
    overlapped = {**before, "skips": {"standby": 3, "overlap": 1}}
    assert asyncio.run(outcome(Agent(before, overlapped, {"runs": 2, "state": "ok", "reason": ""}))) == 0

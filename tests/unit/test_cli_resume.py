"""`iovigil resume`: what it tells of what came of it; the rest is tried on a real agent."""

import asyncio
from typing import Any

import pytest

from iovigil.agent.cli.resume import resume


class Agent:
    """One on which resuming ends these pauses. What is in quarantine stays there until it has been tried."""

    def __init__(self, pauses: list[str], alone: list[str], *, ends: list[str] = [], held: list[str] = []) -> None:  # noqa: B006
        self.pauses, self.alone, self.ends, self.held = pauses, alone, ends, held

    async def get(self, path: str) -> Any:
        return {"disks": [self.disk(name) for name in ("a", "b")]} if path == "/disks" else self.told()

    def disk(self, name: str) -> Any:
        return {"name": name, "is_quarantined": name in self.alone, "held_by": 4711 if name in self.held else None}

    async def post(self, path: str, **order: str) -> Any:
        assert (path, order["disk"]) == ("/resume", "a")
        self.pauses = [name for name in self.pauses if name not in self.ends]
        return self.told()

    def told(self) -> Any:
        return {"pauses": [{"disk": name, "probe": "*", "until_unix": None, "reason": ""} for name in self.pauses]}


@pytest.mark.parametrize(
    ("agent", "said", "complaint"),
    [
        (Agent(["a"], [], ends=["a"]), "resumed: every probe on a\n", ""),
        (Agent([], ["a", "b"]), "tried at once: a, which is in quarantine until it answers\n", ""),
        (
            Agent(["*"], ["b"]),
            "still paused: every probe on every disk\n",
            "nothing is paused by these words, or by less; nothing of it is in quarantine\n",
        ),
        (
            Agent(["a"], ["a"], ends=["a"], held=["a"]),
            "resumed: every probe on a\n",
            "",
        ),
    ],
)
def test_it_tells_what_it_ended(agent: Any, said: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(resume(agent, "a", "*")) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (said, complaint)


def test_a_single_probe_releases_no_disk(capsys: pytest.CaptureFixture[str]) -> None:
    agent: Any = Agent([], ["a"])
    assert asyncio.run(resume(agent, "a", "latency")) == 0
    assert capsys.readouterr().out == ""

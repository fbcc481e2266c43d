"""`iovigil resume`: what it tells of what came of it; the rest is tried on a real agent."""

import asyncio
from typing import Any

import pytest

from iovigil.agent.cli.resume import resume


class Agent:
    """One on which resuming ends these pauses and releases these disks."""

    def __init__(self, pauses: list[str], alone: list[str], *, ends: list[str] = [], releases: list[str] = []) -> None:  # noqa: B006
        self.pauses, self.alone, self.ends, self.releases = pauses, set(alone), ends, releases

    async def get(self, path: str) -> Any:
        if path == "/disks":
            return {"disks": [{"name": name, "is_quarantined": name in self.alone} for name in ("a", "b")]}
        return self.told()

    async def post(self, path: str, **order: str) -> Any:
        assert (path, order) == ("/resume", {"disk": "a", "probe": "*"})
        self.pauses = [name for name in self.pauses if name not in self.ends]
        self.alone -= set(self.releases)
        return self.told()

    def told(self) -> Any:
        return {"pauses": [{"disk": name, "probe": "*", "until_unix": None, "reason": ""} for name in self.pauses]}


@pytest.mark.parametrize(
    ("agent", "said", "complaint"),
    [
        (Agent(["a"], [], ends=["a"]), "resumed: every probe on a\n", ""),
        (Agent([], ["a", "b"], releases=["a"]), "released from quarantine: a, which is tried at once\n", ""),
        (
            Agent(["*"], ["b"]),
            "still paused: every probe on every disk\n",
            "nothing is paused by these words, or by less; nothing of it is in quarantine\n",
        ),
    ],
)
def test_it_tells_what_it_ended(agent: Any, said: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(resume(agent, "a", "*")) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (said, complaint)

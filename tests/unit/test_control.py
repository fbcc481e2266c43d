"""Pause, resume, run now: what an operator says holds at once, and outlives a restart."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from iovigil.agent import pauses
from iovigil.agent.config import AgentSettings, DiskSettings
from iovigil.agent.control import Busy, Control, Unknown
from iovigil.agent.holds import Holds
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry, Skip
from iovigil.agent.pauses import Pause, Pauses, PausesUnusable
from iovigil.agent.rounds import Rounds, Turn
from iovigil.engines.options import JobOptions

LATE = b'{"pauses": [{"disk": "*", "probe": "*", "since_unix": 1, "until_unix": 1e300}]}'
NOW_UNIX = 1_800_000_000.0
T = TypeVar("T")


class Disks:
    """Stands for the supervisor."""

    def __init__(self) -> None:
        self.blocked_by: Skip | None = None
        self.started: list[tuple[str, str]] = []
        self.releasable: list[str] = []
        self.held: list[str] = []

    def is_trial_due(self, _disk: DiskSettings, _entry: ProbeEntry) -> bool:
        return False

    def release(self, _disk: str = "*") -> tuple[list[str], list[str]]:
        released, self.releasable = self.releasable, []
        if released:
            self.blocked_by = None
        return released, self.held

    def explain(self, _disk: DiskSettings, skip: Skip) -> str:
        return "; ".join(self.held) or f"it is {skip}"

    def blocker(self, _disk: DiskSettings, _entry: ProbeEntry) -> Skip | None:
        return self.blocked_by

    def start(self, _disk: DiskSettings, entry: ProbeEntry, planned_s: float | None = None) -> None:
        assert planned_s is None, "a run outside of the plan is not late"
        self.started.append((entry.disk, entry.probe))


class Agent:
    """Control over two probes on each of two disks, with a clock that the test moves."""

    def __init__(self, state: Path) -> None:
        self.disks = Disks()
        self.holds = Holds(AgentSettings(blackout_file=""), Pauses())
        self.rounds = Rounds(self.disks, look)
        self.now_unix = NOW_UNIX
        self.control = Control(
            state / "pauses.json", self.holds, self.rounds, self.disks, deadline_s=5.0, now=lambda: self.now_unix
        )
        self.rounds.adopt([turn(disk, probe) for disk in ("data0", "nvme0") for probe in ("fast", "deep")], NOW_UNIX)

    def paused(self) -> set[str]:
        pairs = (("data0", "fast"), ("data0", "deep"), ("nvme0", "fast"), ("nvme0", "deep"))
        return {" ".join(pair) for pair in pairs if self.holds.refusal(*pair, self.now_unix) is Skip.PAUSED}


async def look(_turns: Iterable[Turn]) -> None:
    pass


def turn(disk: str, probe: str) -> Turn:
    entry = ProbeEntry(disk=disk, probe=probe, options=JobOptions(), interval_s=60, timeout_s=1, engine="psync")
    disk_entry = DiskEntry(name=disk, is_present=True)
    return Turn(disk=DiskSettings(name=disk, file=f"/{disk}"), disk_entry=disk_entry, entry=entry, phase_s=1.0)


def in_time(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(10):
            return await work

    return asyncio.run(bounded())


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_a_pause_holds_what_its_patterns_match(agent: Agent) -> None:
    agent.control.pause("data*", "fast")
    assert agent.paused() == {"data0 fast"}
    agent.control.pause("nvme0")
    assert agent.paused() == {"data0 fast", "nvme0 fast", "nvme0 deep"}
    agent.control.pause()
    assert len(agent.paused()) == 4


def test_resume_ends_the_pauses_of_what_it_names_and_not_wider_ones(agent: Agent) -> None:
    agent.control.pause("data0", "fast")
    agent.control.pause("*", "deep")
    agent.now_unix += 1
    assert [(pause.disk, pause.probe) for pause in agent.control.resume("data0")] == [("data0", "fast")]
    assert agent.paused() == {"data0 deep", "nvme0 deep"}
    assert len(agent.control.resume()) == 1
    assert agent.paused() == set()
    assert agent.control.resume() == []


def test_a_pause_ends_by_itself(agent: Agent) -> None:
    agent.control.pause("data0", until_unix=NOW_UNIX + 60, reason="disk\nswap")
    assert [(pause.reason, pause.since_unix) for pause in agent.control.paused()] == [("disk swap", NOW_UNIX)]
    agent.now_unix += 59
    assert len(agent.paused()) == 2
    agent.now_unix += 1
    assert agent.paused() == set()
    assert agent.control.paused() == []


def test_a_pause_of_nothing_is_refused_with_what_there_is(agent: Agent) -> None:
    with pytest.raises(Unknown, match="disks are data0, nvme0; probes are fast, deep"):
        agent.control.pause("dta0")
    with pytest.raises(ValueError, match="is not a pattern"):
        agent.control.pause("a b")
    for until_unix in (NOW_UNIX, 1e300, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="ended before it begins"):
            agent.control.pause(until_unix=until_unix)
    assert agent.control.paused() == []


def test_a_reason_is_one_line_that_can_be_kept(agent: Agent, tmp_path: Path) -> None:
    agent.control.pause("data0", reason="a\x1b[2J b\n\tc \ud800" + "x" * 1000)
    assert in_time(agent.control.flush())
    [kept] = pauses.load(tmp_path / "pauses.json")[0]
    assert kept.reason.startswith("a?[2J b c ?xxx")
    assert len(kept.reason) == 200


def test_pauses_do_not_grow_without_bound(agent: Agent) -> None:
    for number in range(pauses.MOST):
        agent.holds.pauses.add(Pause(f"d{number}", "*", NOW_UNIX))
    with pytest.raises(ValueError, match="256 pauses already"):
        agent.control.pause("data0")


def test_run_now_starts_a_run_outside_of_the_plan(agent: Agent) -> None:
    agent.control.run_now("data0", "deep")
    assert agent.disks.started == [("data0", "deep")]


def test_run_now_takes_the_place_of_a_start_that_waits(agent: Agent) -> None:
    one = agent.rounds.turn("data0", "deep")
    assert one is not None
    one.due_unix = NOW_UNIX
    agent.control.run_now("data0", "deep")
    assert one.due_unix is None


@pytest.mark.parametrize("reason", [Skip.PAUSED, Skip.BLACKOUT, Skip.ABSENT, Skip.STUCK, Skip.CONCURRENCY])
def test_run_now_says_why_it_does_not(agent: Agent, reason: Skip) -> None:
    one = agent.rounds.turn("data0", "deep")
    assert one is not None
    if reason is Skip.PAUSED:
        agent.control.pause("data0")
    elif reason is Skip.BLACKOUT:
        agent.holds.is_blackout = True
    elif reason is Skip.ABSENT:
        one.disk_entry.is_present = False
    else:
        agent.disks.blocked_by = reason
    with pytest.raises(Busy) as busy:
        agent.control.run_now("data0", "deep")
    assert busy.value.skip is reason
    assert agent.disks.started == []


def test_run_now_is_a_trial_of_a_disk_in_quarantine(agent: Agent) -> None:
    agent.disks.blocked_by, agent.disks.releasable = Skip.QUARANTINED, ["data0"]
    agent.control.run_now("data0", "deep")
    assert agent.disks.started == [("data0", "deep")]


def test_resume_of_a_disk_ends_its_back_off(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    agent.disks.releasable = ["data0"]
    assert agent.control.resume("data0", "deep") == []
    assert agent.disks.releasable == ["data0"], "that was about a probe, and not about the disk"
    assert agent.control.resume("data0") == []
    assert "released disk data0: it is tried at once" in caplog.text


def test_resume_says_which_child_holds_a_disk_where_it_can_do_nothing_else(agent: Agent) -> None:
    agent.disks.held = ["child 4711 still waits for disk data0"]
    with pytest.raises(Busy, match="child 4711") as busy:
        agent.control.resume("data0")
    assert busy.value.skip is Skip.STUCK
    agent.control.pause("data0")
    assert len(agent.control.resume("data0")) == 1
    agent.disks.blocked_by = Skip.STUCK
    with pytest.raises(Busy, match="child 4711"):
        agent.control.run_now("data0", "deep")


def test_run_now_of_what_is_not_there_is_refused(agent: Agent) -> None:
    with pytest.raises(Unknown, match="no probe quick on a disk data0"):
        agent.control.run_now("data0", "quick")


def test_pauses_outlive_a_restart(agent: Agent, tmp_path: Path) -> None:
    agent.control.pause("data0", "fast", reason="ünusual")
    agent.control.pause("nvme0", until_unix=NOW_UNIX + 60)
    assert in_time(agent.control.flush())
    again = Agent(tmp_path)
    in_time(again.control.load())
    assert again.control.paused() == agent.control.paused()
    assert again.paused() == {"data0 fast", "nvme0 fast", "nvme0 deep"}
    later = Agent(tmp_path)
    later.now_unix += 61
    in_time(later.control.load())
    assert later.paused() == {"data0 fast"}


def test_a_resume_outlives_a_restart_too(agent: Agent, tmp_path: Path) -> None:
    agent.control.pause()
    in_time(agent.control.flush())
    agent.control.resume()
    in_time(agent.control.close(5.0))
    again = Agent(tmp_path)
    in_time(again.control.load())
    assert again.paused() == set()


def test_a_file_that_was_never_there_is_no_trouble(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    in_time(agent.control.load())
    assert caplog.records == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"pauses": [{"disk": 3}]}', b"\xff\xfe", b'{"pauses": 1}', LATE])
def test_a_damaged_file_is_set_aside_and_said_so(
    agent: Agent, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pauses.json").write_bytes(content)
    in_time(agent.control.load())
    assert "is damaged" in caplog.text
    assert (tmp_path / "pauses.damaged").read_bytes() == content
    agent.control.pause()
    assert in_time(agent.control.flush())


def test_a_full_state_directory_costs_a_line_and_no_pause(
    agent: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pauses.new").mkdir()  # what is to be written there cannot be, also by root
    agent.control.pause()
    assert not in_time(agent.control.flush())
    assert len(agent.paused()) == 4
    assert "pauses are not kept over a restart" in caplog.text
    (tmp_path / "pauses.new").rmdir()
    assert not in_time(agent.control.flush()), "not again before some time has passed"
    in_time(agent.control.close(5.0))
    assert len(pauses.load(tmp_path / "pauses.json")[0]) == 1


def test_a_state_directory_that_hangs_does_not_stop_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(tmp_path)
    agent.control._deadline_s = 0.1
    hung = threading.Event()
    monkeypatch.setattr(pauses, "save", lambda _path, _pauses: hung.wait(10))
    agent.control.pause()
    assert not in_time(agent.control.flush())
    assert "no answer within 0.1 s" in caplog.text
    hung.set()


def test_what_changes_while_it_is_written_is_written_at_the_end(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    save = pauses.save

    def save_slowly(path: Path, wanted: Iterable[Pause]) -> None:
        slow.wait(0.3)
        save(path, wanted)

    monkeypatch.setattr(pauses, "save", save_slowly)

    async def scenario() -> None:
        agent.control.pause("data0")
        writing = asyncio.create_task(agent.control.flush())
        await asyncio.sleep(0.05)
        agent.control.pause("nvme0")
        await agent.control.close(5.0)
        await writing

    in_time(scenario())
    assert [pause.disk for pause in pauses.load(tmp_path / "pauses.json")[0]] == ["data0", "nvme0"]


def test_what_is_saved_is_whole_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / "pauses.json"
    pauses.save(path, [Pause("a", "*", 1.0)])
    (tmp_path / "pauses.new").mkdir()
    with pytest.raises(PausesUnusable):
        pauses.save(path, [Pause("b", "*", 1.0)])
    assert pauses.load(path) == ([Pause("a", "*", 1.0)], "")


def test_the_books_say_what_is_paused(agent: Agent) -> None:
    ledger = Ledger()
    for pair in agent.rounds.pairs():
        one = agent.rounds.turn(*pair)
        assert one is not None
        ledger.probes[pair] = one.entry
    agent.control.pause("data0", "fast")
    agent.holds.mark(ledger, NOW_UNIX)
    assert {pair for pair, entry in ledger.probes.items() if entry.is_paused} == {("data0", "fast")}


def test_who_paused_what_is_in_the_log(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        agent.control.pause("data0", reason="swap")
        agent.control.resume("data0")
        agent.control.run_now("data0", "fast")
    assert [record.getMessage() for record in caplog.records] == [
        "paused probe * on disk data0: swap",
        "resumed probe * on disk data0: swap",
        "run now: fast on data0",
    ]

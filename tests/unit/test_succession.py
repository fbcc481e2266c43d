"""Counters from one agent to the next: also when that one is killed while it begins, and where there is no room."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import ledger_of, probe

from iovigil.agent import bequest, history
from iovigil.agent.archive import Archive
from iovigil.agent.ledger import Ledger
from iovigil.agent.succession import Succession

RUNS = 7


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="iovigil-test-", dir="/dev/shm") as directory:
        monkeypatch.setenv("RUNTIME_DIRECTORY", directory)
        yield Path(directory)


def opened() -> Ledger:
    ledger = ledger_of(probe())
    ledger.disks["data0"].path = "/srv/data0"
    return ledger


def runs(ledger: Ledger) -> int:
    [entry] = ledger.probes.values()
    return entry.runs


def an_agent_that_ended(state: Path) -> None:
    ledger = opened()
    succession = Succession(Archive(history.database(state)), str(state))

    async def live() -> None:
        await succession.begin(ledger)
        [entry] = ledger.probes.values()
        entry.runs = RUNS
        await succession.end(ledger, 5.0)

    asyncio.run(live())


def begun(state: Path) -> tuple[Succession, Ledger]:
    ledger = opened()
    succession = Succession(Archive(history.database(state)), str(state))
    asyncio.run(succession.begin(ledger))
    return succession, ledger


class Killed(BaseException):
    """In place of SIGKILL: nothing handles it."""


@pytest.mark.parametrize("step", ["accounts", "forget_accounts"])
def test_an_agent_that_is_killed_while_it_begins_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    an_agent_that_ended(tmp_path)

    async def kill(_: Archive) -> None:
        raise Killed

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Archive, step, kill)
            with pytest.raises(Killed):
                begun(tmp_path)
    _, ledger = begun(tmp_path)
    assert runs(ledger) == RUNS
    assert history.accounts(history.database(tmp_path)) == []


def full(_: object) -> None:
    raise history.HistoryUnusable("database or disk is full")


def test_a_history_that_is_full_costs_no_counter_as_long_as_there_is_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_agent_that_ended(tmp_path)
    monkeypatch.setattr(history, "forget_accounts", full)
    for more in range(3):  # killed each time
        succession, ledger = begun(tmp_path)
        assert runs(ledger) == RUNS + more
        [entry] = ledger.probes.values()
        entry.runs += 1
        succession.keep(ledger)


def test_where_neither_has_room_counters_begin_at_0_and_never_fall(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    an_agent_that_ended(tmp_path)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history, "forget_accounts", full)
    monkeypatch.setattr(bequest, "put", no_room)
    _, ledger = begun(tmp_path)
    assert runs(ledger) == 0
    assert "counters begin at 0" in caplog.text
    shutil.rmtree(memory)
    memory.mkdir()

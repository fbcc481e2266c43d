"""The textfile: whole at every moment, gone with the agent, and no directory that hangs holds anything up."""

import asyncio
import logging
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from ledgers import ledger_of, probe

from iovigil.agent import atomic_file, metrics
from iovigil.agent.config import AgentSettings, TextfileSettings
from iovigil.agent.ledger import Ledger
from iovigil.agent.outputs import Outputs
from iovigil.agent.outputs.textfile import Textfile

DEADLINE_S = 10.0


@pytest.fixture
def ledger() -> Ledger:
    ledger = ledger_of(probe())
    ledger.textfile.is_on = True
    return ledger


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)  # as in the unit
    yield
    os.umask(before)


def in_time(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await work

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def textfile(directory: Path, ledger: Ledger, deadline_s: float = 5.0) -> Textfile:
    return Textfile(TextfileSettings(directory=str(directory)), lambda: ledger, deadline_s=deadline_s)


def series(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.usefixtures("umask")
def test_it_holds_what_a_scrape_has_and_everybody_may_read_it(tmp_path: Path, ledger: Ledger) -> None:
    async def scenario() -> None:
        assert await textfile(tmp_path, ledger).attempt()

    before = time.time()
    in_time(scenario())
    file = tmp_path / "iovigil.prom"
    assert [each.name for each in tmp_path.iterdir()] == ["iovigil.prom"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    found, scraped = series(file.read_text()), series(metrics.render(ledger, "")[0].decode())
    written = "iovigil_textfile_last_write_success_timestamp_seconds"
    assert before <= found.pop(written) <= scraped.pop(written) <= time.time()
    assert found == scraped
    assert found["iovigil_textfile_writes_total"] == 1
    assert found["iovigil_textfile_last_write_successful"] == 1


def test_it_is_written_again_and_again(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iovigil.agent.outputs.output.LEAST_GAP_S", 0.01)
    file = textfile(tmp_path, ledger)
    file._every_s = 0.02

    async def scenario() -> None:
        life = asyncio.create_task(file.run())
        await until(lambda: ledger.textfile.attempts >= 3)
        life.cancel()

    in_time(scenario())
    assert ledger.textfile.failures == 0


def test_who_reads_it_while_it_is_written_sees_the_old_one_or_the_new_one(tmp_path: Path, ledger: Ledger) -> None:
    file, ends = tmp_path / "iovigil.prom", set()

    async def scenario() -> None:
        out = textfile(tmp_path, ledger)
        await out.attempt()
        writing = asyncio.create_task(many(out))
        while not writing.done():
            ends.add(file.read_bytes()[-1:])
            await asyncio.sleep(0)

    async def many(out: Textfile) -> None:
        for _ in range(50):
            assert await out.attempt()

    in_time(scenario())
    assert ends == {b"\n"}


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path, ledger: Ledger) -> None:
    directory, elsewhere = tmp_path / "textfiles", tmp_path / "elsewhere"
    directory.mkdir()
    elsewhere.write_text("not ours")
    (directory / "iovigil.new").symlink_to(elsewhere)
    (directory / "iovigil.prom").symlink_to(elsewhere)
    in_time(attempted(textfile(directory, ledger), is_success=True))
    assert elsewhere.read_text() == "not ours"
    assert not (directory / "iovigil.prom").is_symlink()


async def attempted(out: Textfile, *, is_success: bool) -> None:
    assert await out.attempt() is is_success


def test_a_directory_that_is_not_there_is_told_once_and_counted_each_time(
    tmp_path: Path, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    directory = tmp_path / "missing"

    async def scenario() -> None:
        out = textfile(directory, ledger)
        for _ in range(3):
            await attempted(out, is_success=False)
        account = ledger.textfile
        assert (account.attempts, account.failures, account.last_successful) == (3, 3, False)
        directory.mkdir()
        await attempted(out, is_success=True)

    in_time(scenario())
    assert caplog.messages == [
        f"textfile {directory}/iovigil.prom: there is no directory {directory}: make it, "
        "or change agent.textfile.directory",
        f"textfile {directory}/iovigil.prom: works again",
    ]
    found = series(metrics.render(ledger, "")[0].decode())
    assert (found["iovigil_textfile_writes_total"], found["iovigil_textfile_write_failures_total"]) == (4, 3)


def test_a_directory_that_is_full_keeps_the_old_file(
    tmp_path: Path, ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        out = textfile(tmp_path, ledger)
        await attempted(out, is_success=True)
        before = (tmp_path / "iovigil.prom").read_bytes()
        # /dev/full is a file whose every write ends in ENOSPC.
        monkeypatch.setattr(Path, "open", lambda _self, _mode: open("/dev/full", "wb"))  # noqa: PTH123, SIM115
        monkeypatch.setattr(os, "fchmod", lambda _fd, _mode: None)
        await attempted(out, is_success=False)
        monkeypatch.undo()
        assert (tmp_path / "iovigil.prom").read_bytes() == before

    in_time(scenario())
    assert caplog.messages == [f"textfile {tmp_path}/iovigil.prom: No space left on device"]


def test_a_directory_that_hangs_holds_nothing_up_and_costs_one_thread(
    tmp_path: Path, ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, calls = threading.Event(), []
    replace = atomic_file.replace

    def hang(*args: object, **named: object) -> None:
        calls.append(args)
        release.wait(DEADLINE_S)
        replace(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(atomic_file, "replace", hang)

    async def scenario() -> None:
        out = textfile(tmp_path, ledger, deadline_s=0.05)
        for _ in range(5):
            await attempted(out, is_success=False)
        assert len(calls) == 1
        assert ledger.textfile.failures == 5
        release.set()
        assert await out.lane.wait(5)
        await attempted(out, is_success=True)

    in_time(scenario())
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "the directory does not answer within 0.05 s",
        "the directory does not answer: an earlier write has not come back",
    ]


def test_it_is_gone_with_the_agent(tmp_path: Path, ledger: Ledger) -> None:
    """A file that stays would be read for ever, and its last values look like those of an agent that lives."""

    async def scenario() -> None:
        outputs = Outputs(lambda: ledger)
        outputs.adopt(AgentSettings(textfile=TextfileSettings(directory=str(tmp_path))))
        await until((tmp_path / "iovigil.prom").exists)
        await outputs.close(1)
        assert list(tmp_path.iterdir()) == []

    in_time(scenario())


def test_what_hung_past_the_end_leaves_no_file(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    release, replace = threading.Event(), atomic_file.replace

    def hang(*args: object, **named: object) -> None:
        release.wait(DEADLINE_S)
        replace(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(atomic_file, "replace", hang)

    async def scenario() -> None:
        out = textfile(tmp_path, ledger, deadline_s=0.05)
        await attempted(out, is_success=False)
        began_s = time.monotonic()
        await out.close(0.1)
        assert time.monotonic() - began_s < 1
        release.set()
        assert await out.lane.wait(5)
        assert list(tmp_path.iterdir()) == []

    in_time(scenario())


def test_a_reload_moves_it(tmp_path: Path, ledger: Ledger) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    async def scenario() -> None:
        outputs = Outputs(lambda: ledger)
        outputs.adopt(AgentSettings(textfile=TextfileSettings(directory=str(first))))
        await until((first / "iovigil.prom").exists)
        outputs.adopt(AgentSettings(textfile=TextfileSettings(directory=str(second))))
        await until((second / "iovigil.prom").exists)
        assert list(first.iterdir()) == []
        outputs.adopt(AgentSettings())
        await until(lambda: list(second.iterdir()) == [])
        assert not ledger.textfile.is_on
        assert "iovigil_textfile_writes_total 2" not in metrics.render(ledger, "")[0].decode()
        await outputs.close(1)

    in_time(scenario())


def test_reloads_that_follow_each_other_leave_no_file_behind(tmp_path: Path, ledger: Ledger) -> None:
    places = [tmp_path / name for name in "abc"]
    for place in places:
        place.mkdir()

    async def scenario() -> None:
        outputs = Outputs(lambda: ledger)
        outputs.adopt(AgentSettings(textfile=TextfileSettings(directory=str(places[0]))))
        await until((places[0] / "iovigil.prom").exists)
        for place in places[1:]:
            outputs.adopt(AgentSettings(textfile=TextfileSettings(directory=str(place))))
        await until((places[2] / "iovigil.prom").exists)
        assert list(places[0].iterdir()) == list(places[1].iterdir()) == []
        outputs.adopt(AgentSettings())
        await outputs.close(5)
        assert list(places[2].iterdir()) == []

    in_time(scenario())

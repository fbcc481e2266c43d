"""The history is written beside the loop: what fails is said once, and written later."""

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from histories import last, record, row

from iovigil.agent import history
from iovigil.agent.archive import Archive
from iovigil.agent.history import History, HistoryUnusable, KeptAccount

DEADLINE_S = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return history.database(tmp_path)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_what_is_added_is_on_the_disk_soon(path: Path) -> None:
    archive = Archive(path)

    async def scenario() -> None:
        archive.add([row(0)], last())
        archive.add([row(1)], last(found_unix=1001.0))
        task = asyncio.create_task(archive.run())
        async with asyncio.timeout(DEADLINE_S):
            while not archive.is_written:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(scenario())
    assert [each.number for each in history.mismatches(path)] == [0, 1]
    assert asyncio.run(Archive(path).load()) == [last(found_unix=1001.0)]


def test_a_full_disk_is_said_once_and_all_is_written_when_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    archive = Archive(path, retry_s=0.0)

    def full(*_: object) -> str:
        raise HistoryUnusable("history h: database or disk is full")

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(history, "write", full)
            for number in range(5):
                archive.add([row(number)], last(found_unix=1000.0 + number))
                await archive.flush()
        assert not archive.is_written
        await archive.flush()

    asyncio.run(scenario())
    assert archive.is_written
    said = [record.getMessage() for record in warnings.records]
    assert len(said) == 2
    assert said[0].startswith("history h: database or disk is full; what is to be kept waits in memory")
    assert said[1].endswith("is written again")
    assert [each.number for each in history.mismatches(path)] == [0, 1, 2, 3, 4]


def test_after_a_failure_it_is_not_tried_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fail(*_: object) -> str:
        tries.append(1)
        raise HistoryUnusable("no")

    monkeypatch.setattr(history, "write", fail)
    archive = Archive(path, retry_s=1000.0)

    async def scenario() -> None:
        archive.add([row(0)], last())
        await archive.flush()
        await archive.flush()
        await archive.close(1.0)

    asyncio.run(scenario())
    assert len(tries) == 2, "once, and once more at the end"


def test_a_disk_that_hangs_costs_one_thread_and_no_mismatch(
    path: Path, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    release, calls, write = threading.Event(), [], history.write

    def hang(*arguments: object) -> str:
        calls.append(1)
        release.wait(30)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(history, "write", hang)
    archive = Archive(path, deadline_s=0.05, retry_s=0.0)

    async def scenario() -> None:
        archive.add([row(0)], last())
        for number in range(1, 4):
            await archive.flush()
            archive.add([row(number)], last())
        assert len(calls) == 1
        release.set()
        end_s = time.monotonic() + DEADLINE_S
        while not archive.is_written and time.monotonic() < end_s:
            await archive.flush(DEADLINE_S)
            await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert [each.number for each in history.mismatches(path)] == [0, 1, 2, 3]
    assert "does not answer within 0.1 s" in warnings.records[0].getMessage()


def test_what_waits_is_bounded_and_what_is_lost_to_it_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("iovigil.agent.archive.WAITING", 10)
    archive = Archive(path, retry_s=0.0)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(history, "write", lambda *_: (_ for _ in ()).throw(HistoryUnusable("no")))
            archive.add([row(number) for number in range(25)], last())
            await archive.flush()
        await archive.flush()

    asyncio.run(scenario())
    assert [each.number for each in history.mismatches(path)] == list(range(15, 25))
    assert "15 mismatches were lost" in warnings.records[-1].getMessage()


def test_a_damaged_history_is_said_at_the_start_and_is_not_fatal(
    path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"no database at all " * 100)
    assert asyncio.run(Archive(path).load()) == []
    [said] = [record.getMessage() for record in warnings.records]
    assert "is damaged" in said


def test_an_agent_that_ends_writes_what_waits(path: Path) -> None:
    archive = Archive(path)
    archive.add([row(0)], last())
    asyncio.run(archive.close(DEADLINE_S))
    assert len(history.mismatches(path)) == 1


def test_successes_are_written_together_and_a_failure_at_once(path: Path) -> None:
    archive = Archive(path)

    async def scenario() -> list[int]:
        seen = []
        for each in (record(1), record(2), record(3, failure="timeout"), record(4)):
            archive.add_run(each)
            await archive.flush()
            seen.append(len(History(path).latest()))
        await archive.close(DEADLINE_S)
        return [*seen, len(History(path).latest())]

    assert asyncio.run(scenario()) == [0, 0, 3, 3, 4]


def test_a_success_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iovigil.agent.archive.SUCCESSES_S", 0.0)
    archive = Archive(path)
    archive.add_run(record(1))
    asyncio.run(archive.flush())
    assert len(History(path).latest()) == 1
    assert archive.is_written


def test_where_runs_are_too_many_to_wait_successes_are_lost_first_and_that_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("iovigil.agent.archive.RUNS_WAITING", 10)
    archive = Archive(path, retry_s=0.0)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(history, "write", lambda *_: (_ for _ in ()).throw(HistoryUnusable("no")))
            for number in range(1, 31):
                archive.add_run(record(number, failure="io_error" if number <= 5 else ""))
            await archive.flush()
        await archive.flush()

    asyncio.run(scenario())
    assert [each.started_unix - record(0).started_unix for each in History(path).latest()] == [
        30,
        29,
        28,
        27,
        26,
        5,
        4,
        3,
        2,
        1,
    ]
    assert "20 runs were lost" in warnings.records[-1].getMessage()


def test_a_write_that_hangs_and_succeeds_after_all_leaves_each_run_there_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, write = threading.Event(), history.write

    def hang(*arguments: object) -> str:
        release.wait(30)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(history, "write", hang)
    archive = Archive(path, deadline_s=0.05, retry_s=0.0)

    async def scenario() -> None:
        archive.add_run(record(1, failure="timeout"))
        await archive.flush()
        archive.add_run(record(2, failure="timeout"))
        release.set()
        end_s = time.monotonic() + DEADLINE_S
        while not archive.is_written and time.monotonic() < end_s:
            await archive.flush(DEADLINE_S)
            await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert [each.id for each in History(path).latest()] == [2, 1]


def test_accounts_are_written_at_the_end_and_taken_by_the_next(path: Path) -> None:
    kept = [KeptAccount("data0", "latency", b"...")]
    asyncio.run(Archive(path).close(DEADLINE_S, kept))
    assert asyncio.run(Archive(path).accounts()) == kept
    assert asyncio.run(Archive(path).forget_accounts())
    assert asyncio.run(Archive(path).accounts()) == []


def test_accounts_that_cannot_be_forgotten_are_so_with_the_next_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(Archive(path).close(DEADLINE_S, [KeptAccount("data0", "latency", b"...")]))
    archive = Archive(path, retry_s=0.0)

    def full(_: object) -> None:
        raise history.HistoryUnusable("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(history, "forget_accounts", full)
        assert not asyncio.run(archive.forget_accounts())
    assert len(history.accounts(path)) == 1
    assert not archive.is_written
    asyncio.run(archive.flush())
    assert history.accounts(path) == []
    assert archive.is_written


def test_an_archive_that_cannot_be_written_at_the_end_says_so(path: Path, warnings: pytest.LogCaptureFixture) -> None:
    path.mkdir()
    archive = Archive(path)
    asyncio.run(archive.close(DEADLINE_S, [KeptAccount("data0", "latency", b"...")]))
    assert not archive.is_written
    assert "has to be a file" in warnings.records[0].getMessage()


def test_who_looks_sees_the_run_that_has_just_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(path)
    writes = 0
    write = history.write

    def count(*given: Any) -> str:
        nonlocal writes
        writes += 1
        return write(*given)

    monkeypatch.setattr(history, "write", count)

    async def scenario() -> None:
        archive.add_run(record(1))
        await archive.flush()
        assert writes == 0  # a success waits for others
        await archive.catch_up()
        assert [each.started_unix for each in History(path).latest()] == [record(1).started_unix]
        for number in range(2, 9):
            archive.add_run(record(number))
            await archive.catch_up()
        assert writes == 1  # somebody who looks again and again costs no write each time

    asyncio.run(scenario())

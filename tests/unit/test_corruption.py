"""What the agent does with mismatches on the page of a run: each is taken in once, dated and remembered."""

import logging
import time
from typing import Any, cast

import pytest
from fake_page import FakePage
from ledgers import ledger_of, probe

from iovigil.agent import bursts
from iovigil.agent.archive import Archive
from iovigil.agent.config import DiskSettings
from iovigil.agent.corruption import Corruption
from iovigil.agent.history import LastMismatch, Mismatched
from iovigil.agent.journal import fields
from iovigil.agent.ledger import DiskEntry, ProbeEntry
from iovigil.agent.run import Run
from iovigil.engines.stats import Mismatch, MismatchRecord

DISK = DiskEntry(name="data0", path="/srv/data0/probe", identity={"wwn": "wwn-1", "serial": "S"})


class Kept:
    """An archive in memory."""

    def __init__(self) -> None:
        self.rows: list[Mismatched] = []
        self.last: list[LastMismatch] = []

    def add(self, found: list[Mismatched], last: LastMismatch) -> None:
        self.rows += found
        self.last.append(last)


class FakeRun:
    """A run with a page of the test's own."""

    def __init__(self, page: FakePage, entry: ProbeEntry, dump_directory: str = "") -> None:
        self.page = page
        self.entry = entry
        self.name = "data0/latency/1000.000"
        self.disk = DiskSettings(name="data0", file="/srv/data0/probe")
        self.dump_directory = dump_directory
        self.dump_label = "latency-1000000"
        self.fields = fields(disk="data0")


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def corruption(kept: Kept) -> Corruption:
    return Corruption(cast(Archive, kept))


def look(corruption: Corruption, run: FakeRun) -> None:
    corruption.look(cast(Run, run), DISK)


def find(page: FakePage, offset: int, **more: Any) -> None:
    kind = Mismatch.ZEROED
    page.records.append(MismatchRecord(kind, offset, 4096, -1, 0, 0, **more))
    page.mismatch_counts[kind] = page.mismatch_counts.get(kind, 0) + 1


def begins(caplog: pytest.LogCaptureFixture) -> int:
    return sum(vars(said).get("MESSAGE_ID") == bursts.BEGIN_ID for said in caplog.records)


def test_each_mismatch_is_taken_in_once_however_often_it_is_looked(
    corruption: Corruption, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    run = FakeRun(FakePage(), probe())
    look(corruption, run)
    assert kept.last == []
    find(run.page, 4096)
    look(corruption, run)
    look(corruption, run)
    find(run.page, 8192)
    find(run.page, 12288)
    look(corruption, run)
    look(corruption, run)
    assert [(row.number, row.offset) for row in kept.rows] == [(0, 4096), (1, 8192), (2, 12288)]
    assert {(row.run, row.disk, row.identity, row.path) for row in kept.rows} == {
        ("data0/latency/1000.000", "data0", "wwn-1", "/srv/data0/probe")
    }
    assert begins(caplog) == 1


def test_a_mismatch_is_dated_by_when_it_was_read(corruption: Corruption, kept: Kept) -> None:
    run = FakeRun(FakePage(), probe())
    find(run.page, 4096, found_ns=time.monotonic_ns() - 30_000_000_000)
    look(corruption, run)
    assert time.time() - 31 < run.entry.last_mismatch_unix < time.time() - 29
    assert kept.rows[0].found_unix == kept.last[0].found_unix == run.entry.last_mismatch_unix


def test_what_a_page_has_no_room_to_describe_is_dated_all_the_same(corruption: Corruption, kept: Kept) -> None:
    run = FakeRun(FakePage(), probe())
    find(run.page, 4096, found_ns=time.monotonic_ns() - 30_000_000_000)
    look(corruption, run)
    run.page.mismatch_counts[Mismatch.ZEROED] += 1000
    look(corruption, run)
    assert len(kept.rows) == 1
    assert run.entry.last_mismatch_unix > time.time() - 5
    assert kept.last[-1].found_unix == run.entry.last_mismatch_unix


def test_a_date_in_the_future_gives_way_when_the_clock_was_set_back(corruption: Corruption) -> None:
    run = FakeRun(FakePage(), probe())
    run.entry.last_mismatch_unix = time.time() + 86_400
    find(run.page, 4096)
    look(corruption, run)
    assert run.entry.last_mismatch_unix <= time.time()


def test_another_child_of_a_run_has_a_page_of_its_own(corruption: Corruption, kept: Kept) -> None:
    run = FakeRun(FakePage(), probe())
    look(corruption, run)
    run.page = FakePage()
    find(run.page, 4096)
    look(corruption, run)
    assert [row.offset for row in kept.rows] == [4096]


def test_a_dump_is_named_in_the_log_and_in_the_history(
    corruption: Corruption, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = FakeRun(FakePage(), probe(), "/state/dumps")
    find(run.page, 4096, is_dumped=True)
    find(run.page, 8192)
    look(corruption, run)
    name = "/state/dumps/data0.4096.latency-1000000.received"
    assert [row.dumps for row in kept.rows] == [name, ""]
    assert vars(caplog.records[0])["IOVIGIL_DUMP"] == name
    assert corruption.has_new_dumps


def test_a_restart_does_not_end_what_is_known_of_a_disk(corruption: Corruption) -> None:
    entry, other, replaced = probe(), probe(name="other"), probe(disk="data1")
    ledger = ledger_of(entry, other, replaced)
    ledger.disks["data0"] = DISK
    ledger.disks["data1"].identity = {"wwn": "new"}
    corruption.remember(
        [
            LastMismatch("data0", "latency", DISK.path, "wwn-1", 1234.5),
            LastMismatch("data0", "gone", DISK.path, "wwn-1", 1234.5),
            LastMismatch("data1", "latency", "", "old", 1234.5),
        ]
    )
    corruption.remind(ledger)
    assert (entry.last_mismatch_unix, other.last_mismatch_unix, replaced.last_mismatch_unix) == (1234.5, 0, 0)


def test_an_account_that_a_reload_opens_anew_is_reminded(corruption: Corruption) -> None:
    run = FakeRun(FakePage(), probe())
    find(run.page, 4096)
    look(corruption, run)
    entry = probe()
    ledger = ledger_of(entry)
    ledger.disks["data0"] = DISK
    corruption.remind(ledger)
    assert entry.last_mismatch_unix == run.entry.last_mismatch_unix > 0

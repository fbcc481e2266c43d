"""Mismatches in the log: two lines a burst, however many there are."""

import logging
from collections import Counter
from pathlib import Path

import pytest

from iovigil.agent import bursts, mismatch_text
from iovigil.agent.bursts import BEGIN_ID, END_ID, Bursts
from iovigil.engines.stats import Mismatch, MismatchRecord

PAUSE_S = 60.0


def stale(offset: int) -> MismatchRecord:
    return MismatchRecord(Mismatch.STALE, offset, 4096, offset + 4, 7, 3, wrong_bits=12)


class Log:
    """What was said, with its fields."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def of(self, message_id: str) -> list[logging.LogRecord]:
        return [said for said in self._caplog.records if vars(said).get("MESSAGE_ID") == message_id]

    @property
    def begins(self) -> list[str]:
        return [said.getMessage() for said in self.of(BEGIN_ID)]

    @property
    def ends(self) -> list[str]:
        return [said.getMessage() for said in self.of(END_ID)]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.INFO)
    return Log(caplog)


def note(book: Bursts, disk: str, now_s: float, *records: MismatchRecord, dump: str = "") -> None:
    counted = Counter(mismatch_text.NAMES[record.kind] for record in records)
    book.note(disk, records, counted, now_s, where={"IOVIGIL_DISK": disk}, dump=dump)


def test_thousands_of_mismatches_are_two_lines(log: Log) -> None:
    book = Bursts(PAUSE_S)
    for number in range(3000):
        note(book, "data0", 100 + number, stale(4096 * number))
    assert len(log.begins) == 1
    assert log.begins[0].startswith("data corruption: stale block on disk data0 at offset 0, length 4096: generation 7")
    assert log.ends == []
    book.close_quiet(3099 + PAUSE_S - 1)
    assert log.ends == []
    book.close_quiet(3099 + PAUSE_S)
    assert log.ends == [
        "data corruption on disk data0: the burst has ended after 2999 s with 3000 blocks: 3000 stale; "
        "bytes 0 to 12287999"
    ]
    book.close_quiet(10_000)
    book.close()
    assert len(log.ends) == 1


def test_a_pause_parts_two_bursts_also_where_nobody_looked_in_between(log: Log) -> None:
    book = Bursts(PAUSE_S)
    note(book, "data0", 100, stale(0))
    note(book, "data0", 159, stale(4096))
    note(book, "data0", 219, stale(8192))
    assert (len(log.begins), len(log.ends)) == (2, 1)
    assert "2 blocks: 2 stale" in log.ends[0]


def test_disks_have_bursts_of_their_own(log: Log) -> None:
    book = Bursts(PAUSE_S)
    note(book, "data0", 100, stale(0))
    note(book, "data1", 101, stale(0))
    assert [vars(said)["IOVIGIL_DISK"] for said in log.of(BEGIN_ID)] == ["data0", "data1"]
    book.close()
    assert [vars(said)["IOVIGIL_DISK"] for said in log.of(END_ID)] == ["data0", "data1"]


def test_the_line_has_its_facts_as_fields(log: Log) -> None:
    note(Bursts(PAUSE_S), "data0", 100, stale(8192), stale(0), dump="/var/lib/iovigil/dumps/x.received")
    [said] = log.of(BEGIN_ID)
    fields = {name: value for name, value in vars(said).items() if name.startswith("IOVIGIL_")}
    assert fields == {
        "IOVIGIL_DISK": "data0",
        "IOVIGIL_MISMATCH": "stale",
        "IOVIGIL_OFFSET": "8192",
        "IOVIGIL_LENGTH": "4096",
        "IOVIGIL_FIRST_BYTE": "8196",
        "IOVIGIL_WRONG_BITS": "12",
        "IOVIGIL_EXPECTED_GENERATION": "7",
        "IOVIGIL_FOUND_GENERATION": "3",
        "IOVIGIL_DUMP": "/var/lib/iovigil/dumps/x.received",
    }
    assert said.levelno == logging.ERROR
    assert "dumped to /var/lib/iovigil/dumps/x.received" in said.getMessage()


def test_what_no_page_describes_is_counted_all_the_same(log: Log) -> None:
    book = Bursts(PAUSE_S)
    book.note("data0", [], {"zeroed": 5}, 100, where={})
    book.note("data0", [stale(4096)], {"stale": 9}, 101, where={})
    book.close()
    assert log.begins == ["data corruption on disk data0: 5 blocks: 5 zeroed"]
    assert log.ends[0].endswith("with 14 blocks: 5 zeroed, 9 stale; bytes 4096 to 8191 (of 1 of them)")


def test_message_ids_are_those_that_the_documentation_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mismatches.md").read_text()
    for identity in (bursts.BEGIN_ID, bursts.END_ID):
        assert len(bytes.fromhex(identity)) == 16
        assert identity in page

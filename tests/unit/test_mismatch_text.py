"""What is said of a block that failed verification: every kind in words, and no errno's name."""

import errno
import os

import pytest
from fake_page import FakePage

from iovigil.agent import mismatch_text
from iovigil.engines.stats import Mismatch, MismatchRecord

AT = 8 * 4096


def record(kind: Mismatch, expected: int = 0, found: int = 0, first_byte: int = -1, **more: int) -> MismatchRecord:
    return MismatchRecord(kind, AT, 4096, first_byte, expected, found, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            record(Mismatch.CHECKSUM),
            "block with a wrong checksum on disk data0 at offset 32768, length 4096: its contents",
        ),
        (record(Mismatch.CHECKSUM, 7, 7), "do not fit it, generation 7 expected"),
        (record(Mismatch.CHECKSUM, 0, 5), "do not fit it, generation 5 found"),
        (record(Mismatch.HEADER), "block with a wrong header on disk data0"),
        (record(Mismatch.MISPLACED, found_offset=4096), "misplaced block on disk data0 at offset 32768, "),
        (record(Mismatch.MISPLACED, found_offset=4096), "belongs at offset 4096"),
        (record(Mismatch.MISPLACED, found_offset=AT), "of another disk or of an earlier life of this file"),
        (record(Mismatch.MISPLACED), "of another disk or of an earlier life of this file"),
        (record(Mismatch.STALE, 7, 3), "length 4096: generation 7 expected, 3 found (a write was lost)"),
        (record(Mismatch.STALE, 7), "generation 7 expected; an older state is there (a write or a trim was lost)"),
        (record(Mismatch.ZEROED, 7), "zeroed block on disk data0"),
        (record(Mismatch.ZEROED, 7), "generation 7 expected; nothing but zeroes is there"),
        (
            record(Mismatch.TORN, 7, first_byte=AT + 1536),
            "its first 3 sectors are as written, what follows is not, or not all of it (a write was",
        ),
        (record(Mismatch.TORN, 7, first_byte=AT + 514), "its first sector is as written, what follows is not"),
        (
            record(Mismatch.TORN, 7, first_byte=AT),
            "some of its sectors are as written, others are something else (a write was cut short)",
        ),
        (record(Mismatch.TORN), "torn block on disk data0"),
    ],
)
def test_every_kind_says_what_it_means(bad: MismatchRecord, said: str) -> None:
    text = mismatch_text.describe(bad, "data0")
    assert text.startswith("data corruption: ")
    assert said in text


@pytest.mark.parametrize("kind", Mismatch, ids=lambda kind: kind.name)
def test_no_kind_is_called_by_an_errno(kind: Mismatch) -> None:
    page = FakePage(mismatch_counts={kind: 1}, records=[record(kind)])
    for text in (mismatch_text.describe(record(kind)), mismatch_text.describe_page(page)):  # type: ignore[arg-type]
        assert text.startswith("data corruption: ")
        assert "EILSEQ" not in text
        assert os.strerror(errno.EILSEQ) not in text


def test_the_first_wrong_byte_is_told_of_the_disk_and_of_the_block() -> None:
    text = mismatch_text.describe(record(Mismatch.CHECKSUM, first_byte=AT + 100, wrong_bits=1))
    assert text.endswith("; first wrong byte 32868 (byte 100 of the block); 1 wrong bit")
    assert mismatch_text.describe(record(Mismatch.CHECKSUM, wrong_bits=12)).endswith("; 12 wrong bits")


def test_what_is_not_known_is_not_said() -> None:
    text = mismatch_text.describe(record(Mismatch.CHECKSUM))
    assert "byte" not in text
    assert "bits" not in text
    assert "generation" not in text
    assert "-1" not in text


def test_files_of_a_dump_are_named() -> None:
    assert mismatch_text.describe(record(Mismatch.HEADER), dumps=["/a/b"]).endswith("; dumped to /a/b")
    assert mismatch_text.describe(record(Mismatch.HEADER, is_dumped=True)).endswith("; dumped")


def test_values_that_are_not_known_are_none() -> None:
    known = mismatch_text.values(record(Mismatch.MISPLACED, 2, 9, AT + 3, wrong_bits=0, found_offset=0))
    assert known["first_byte_in_block"] == 3
    assert (known["wrong_bits"], known["found_offset"]) == (0, 0)
    assert (known["expected_generation"], known["found_generation"]) == (2, 9)
    unknown = mismatch_text.values(record(Mismatch.HEADER))
    names = (
        "first_byte",
        "first_byte_in_block",
        "wrong_bits",
        "expected_generation",
        "found_generation",
        "found_offset",
    )
    assert [unknown[name] for name in names] == [None] * 6


def test_a_page_tells_its_first_block_and_how_many_there_are() -> None:
    page = FakePage(mismatch_counts={Mismatch.STALE: 12, Mismatch.ZEROED: 1}, records=[record(Mismatch.STALE, 7, 3)])
    text = mismatch_text.describe_page(page)  # type: ignore[arg-type]
    assert text.startswith("data corruption: stale block at offset 32768")
    assert text.endswith("; 13 blocks: 12 stale, 1 zeroed in all")
    assert mismatch_text.describe_page(FakePage()) == ""  # type: ignore[arg-type]

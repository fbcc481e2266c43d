"""A unit of one layout is told about by a verifier that writes another, and nothing is claimed that is not known."""

import itertools

import pytest

from iovigil.engines.diagnosis import UnitVerifier
from iovigil.engines.stats import Mismatch

LAYOUTS = ("fio-2.2", "fio-3.41")
HEADER_BYTES = {"fio-2.2": 40, "fio-3.41": 48}
UNIT = 1024
OFFSET = 3 * UNIT
SHIFT = 300


def flipped(unit: bytes, at: int) -> bytes:
    return unit[:at] + bytes([unit[at] ^ 0x10]) + unit[at + 1 :]


@pytest.mark.parametrize(("written", "expected"), list(itertools.product(LAYOUTS, LAYOUTS)))
@pytest.mark.parametrize("verify", ["crc7", "crc32c", "md5", "sha512", "meta"])
def test_any_byte_of_a_header_that_was_moved_is_found_in_either_layout(
    verify: str, written: str, expected: str
) -> None:
    unit = UnitVerifier(verify, written, shift=SHIFT).stamp(UNIT, OFFSET, 1)
    reader = UnitVerifier(verify, expected, shift=SHIFT)
    assert reader.check(unit, OFFSET) is None
    for at in range(SHIFT, SHIFT + HEADER_BYTES[written]):
        answer = reader.check(flipped(unit, at), OFFSET)
        assert answer is not None
        assert answer[:2] == (Mismatch.HEADER, at)


@pytest.mark.parametrize(("written", "expected"), list(itertools.product(LAYOUTS, LAYOUTS)))
def test_the_field_of_sha512_is_judged_by_the_layout_it_stands_in(written: str, expected: str) -> None:
    unit = UnitVerifier("sha512", written).stamp(UNIT, OFFSET, 1)
    reader = UnitVerifier("sha512", expected)
    assert reader.check(unit, OFFSET) is None
    for at in (HEADER_BYTES[written], HEADER_BYTES[written] + 127, UNIT - 1):
        answer = reader.check(flipped(unit, at), OFFSET)
        assert answer is not None
        assert answer[:2] == (Mismatch.CHECKSUM, at)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("verify", ["meta", "pattern_hdr"])
def test_a_pattern_is_looked_at_where_no_checksum_is(verify: str, layout: str) -> None:
    verifier = UnitVerifier(verify, layout, pattern=(b"abc", ()))
    unit = verifier.stamp(UNIT, OFFSET, 1)
    for at in (verifier.overhead, 500, UNIT - 1):
        answer = verifier.check(flipped(unit, at), OFFSET)
        assert answer is not None
        assert answer[:2] == (Mismatch.CHECKSUM, at)


@pytest.mark.parametrize("shift", [44, UNIT - 44], ids=["beginning", "end"])
def test_a_longer_header_than_could_have_been_moved_there_is_damage_and_nothing_else(shift: int) -> None:
    reader = UnitVerifier("crc32c", "fio-2.2", shift=shift)
    assert reader.check(reader.stamp(UNIT, OFFSET, 1), OFFSET) is None
    longer = UnitVerifier("crc32c", "fio-3.41").stamp(UNIT, OFFSET, 1)
    answer = reader.check((bytes(shift) + longer)[:UNIT], OFFSET)
    assert answer is not None
    assert answer[0] == Mismatch.HEADER


def test_of_a_pattern_that_the_writer_did_not_keep_to_no_first_wrong_byte_is_told() -> None:
    """fio leaves the header of another block in it where verify_offset moves headers."""
    verifier = UnitVerifier("crc32c", "fio-2.2", pattern=(b"abc", ()))
    strange = UnitVerifier("crc32c", "fio-2.2", pattern=(b"xyz", ())).stamp(UNIT, OFFSET, 1)
    assert verifier.check(strange, OFFSET) is None
    for at in (4, 41, 700):
        answer = verifier.check(flipped(strange, at), OFFSET)
        assert answer is not None
        assert answer[1] == -1

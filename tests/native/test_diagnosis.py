"""Whatever has happened to a unit is found, and told by its kind, its first byte and its bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.engines.diagnosis import UnitVerifier
from iovigil.engines.stats import Mismatch

SECTOR = 512
HEADERS = {"fio-3.41": 48, "fio-2.2": 40}
NONCE, OTHER_NONCE = 0x1D5C_93B1_7A0E_46F2, 0x6B0F_2E83_C914_5D77


@dataclass(frozen=True)
class Units:
    """A unit as it was written, and others that may be found in its place."""

    verify: str
    header: str
    length: int
    offset: int
    numberio: int

    def verifier(self, nonce: int = NONCE) -> UnitVerifier:
        return UnitVerifier(self.verify, self.header, nonce)

    @property
    def data_at(self) -> int:
        return self.verifier().overhead

    @property
    def good(self) -> bytes:
        return self.verifier().stamp(self.length, self.offset, self.numberio)

    def other(self, what: str) -> bytes:
        match what:
            case "zeroes":
                return bytes(self.length)
            case "garbage":
                return Random(self.offset).randbytes(self.length)
            case "an earlier run":
                return self.verifier(OTHER_NONCE).stamp(self.length, self.offset, self.numberio + 7)
            case "an earlier write":
                return self.verifier().stamp(self.length, self.offset, self.numberio - 1)
            case _:
                return self.verifier().stamp(self.length, self.offset + 3 * self.length, self.numberio + 1)

    def check(self, found: bytes) -> tuple[Mismatch, int, int, int, int] | None:
        return self.verifier().check(found, self.offset, self.numberio)


OTHERS = {
    "zeroes": Mismatch.ZEROED,
    "garbage": Mismatch.HEADER,
    "an earlier run": Mismatch.STALE,
    "an earlier write": Mismatch.STALE,
    "another place": Mismatch.MISPLACED,
}
"""What may be found, and what it is called where it is all that is found."""

all_units = st.builds(
    Units,
    verify=st.sampled_from(["crc32c", "xxhash", "crc64", "md5", "sha256"]),
    header=st.sampled_from(sorted(HEADERS)),
    length=st.sampled_from([2, 4, 8, 16]).map(lambda sectors: sectors * SECTOR),
    offset=st.integers(0, 1 << 30).map(lambda blocks: blocks * SECTOR),
    numberio=st.integers(2, 1 << 40),
)
others = st.sampled_from(sorted(OTHERS))


def differences(good: bytes, found: bytes) -> list[tuple[int, int]]:
    """Every wrong byte, and how many of its bits are wrong."""
    pairs = enumerate(zip(good, found, strict=True))
    return [(at, (a ^ b).bit_count()) for at, (a, b) in pairs if a != b]


def spliced(good: bytes, other: bytes, lost: Sequence[bool]) -> bytes:
    """The unit with some sectors of another."""
    return b"".join(
        (other if lost[at // SECTOR % len(lost)] else good)[at : at + SECTOR] for at in range(0, len(good), SECTOR)
    )


@given(all_units)
def test_what_is_right_is_not_called_wrong(units: Units) -> None:
    assert units.check(units.good) is None


@given(all_units, others)
def test_all_of_another_unit_is_called_by_what_it_is(units: Units, what: str) -> None:
    found = units.other(what)
    wrong = differences(units.good, found)
    answer = units.check(found)
    assert answer is not None
    assert answer[0] is OTHERS[what]
    assert answer[3] == sum(bits for _, bits in wrong)
    if what == "another place":
        assert answer[4] == units.offset + 3 * units.length
    else:
        assert answer[1] == wrong[0][0]
        assert answer[4] == -1


@given(all_units, others, st.lists(st.booleans(), min_size=2, max_size=16).filter(lambda lost: len(set(lost)) == 2))
def test_sectors_of_two_writes_are_torn(units: Units, what: str, lost: list[bool]) -> None:
    lost = lost[: units.length // SECTOR]
    found = spliced(units.good, units.other(what), lost)
    is_mixed = len({lost[sector % len(lost)] for sector in range(units.length // SECTOR)}) == 2
    if not is_mixed:
        return
    wrong = differences(units.good, found)
    answer = units.check(found)
    assert answer is not None
    assert answer[0] is Mismatch.TORN
    assert answer[1] == wrong[0][0]
    assert answer[3] == sum(bits for _, bits in wrong)


@given(all_units, others, st.data())
def test_a_write_that_ended_anywhere_behind_its_first_sector_is_torn(
    units: Units, what: str, data: st.DataObject
) -> None:
    end = data.draw(st.integers(SECTOR, units.length - SECTOR // 2 - 20))
    found = units.good[:end] + units.other(what)[end:]
    wrong = differences(units.good, found)
    answer = units.check(found)
    assert answer is not None
    assert (answer[0], answer[1], answer[3]) == (Mismatch.TORN, wrong[0][0], sum(bits for _, bits in wrong))


@given(all_units, st.data())
def test_flipped_bits_are_found_bit_by_bit(units: Units, data: st.DataObject) -> None:
    """Up to three: so many no CRC of 32 bits misses at these lengths."""
    places = st.tuples(st.integers(0, units.length - 1), st.integers(0, 7))
    flips = data.draw(st.lists(places, min_size=1, max_size=3, unique=True))
    found = bytearray(units.good)
    for at, bit in flips:
        found[at] ^= 1 << bit
    wrong = differences(units.good, bytes(found))
    answer = units.check(bytes(found))
    assert answer is not None
    is_in_header = wrong[0][0] < HEADERS[units.header]
    assert answer[0] is (Mismatch.HEADER if is_in_header else Mismatch.CHECKSUM)
    assert (answer[1], answer[3]) == (wrong[0][0], len(flips))


@pytest.mark.parametrize("header", sorted(HEADERS))
@given(at=st.integers(0, 4095), bit=st.integers(0, 7))
@settings(max_examples=50)
def test_a_single_bit_is_found_by_who_has_not_written_it(header: str, at: int, bit: int) -> None:
    """Nothing is known but the unit: its own checksums say which byte would mend it."""
    units = Units("crc32c", header, 4096, 81920, 77)
    found = bytearray(units.good)
    found[at] ^= 1 << bit
    answer = units.verifier().check(bytes(found), units.offset)
    assert answer is not None
    assert answer[0] is (Mismatch.HEADER if at < HEADERS[header] else Mismatch.CHECKSUM)
    assert (answer[1], answer[3]) == (at, 1)


@pytest.mark.parametrize("verify", ["crc7", "crc16", "crc32c", "md5", "sha512"])
@pytest.mark.parametrize("header", ["fio-3.41", "fio-2.2"])
def test_a_unit_torn_right_behind_its_header_is_found_by_the_job_that_wrote_it(verify: str, header: str) -> None:
    """Checksum and data are whole, and another write's."""
    verifier = UnitVerifier(verify, header, nonce=5)
    head = 48 if header == "fio-3.41" else 40
    for numberio in range(2, 400):
        torn = verifier.stamp(512, 4096, numberio)[:head] + verifier.stamp(512, 4096, numberio - 1)[head:]
        assert verifier.check(torn, 4096, numberio) is not None, numberio

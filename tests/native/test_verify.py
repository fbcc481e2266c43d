"""Verify headers: laid out and summed as fio does it, and nothing that is wrong with a block gets past."""

import functools
import itertools
import struct

import pytest
from fio_formats import (
    CRC32C_TYPE,
    HEADERS,
    MAGIC,
    crc32c,
    generated,
    header_of,
    oldest_block,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.engines.diagnosis import UnitVerifier
from iovigil.engines.stats import Mismatch

LAYOUTS = list(HEADERS)
CHECKED_BYTES = {layout: form.size for layout, form in HEADERS.items()}
BLOCK = 4096
OFFSET = 7 * BLOCK
NUMBERIO = 12345
NONCE = 0xC0FFEE

layouts = st.sampled_from(LAYOUTS)
lengths = st.integers(64, 65536) | st.sampled_from([64, 512, 4096, 65536])
offsets = st.integers(0, (1 << 63) - 1)
generations = st.integers(1, (1 << 63) - 1) | st.integers(1, 1 << 17)
words_64 = st.integers(0, (1 << 64) - 1)


def verifier_of(layout: str, nonce: int = 0) -> UnitVerifier:
    return UnitVerifier(header=layout, nonce=nonce, time_s=1_700_000_000)


@functools.cache
def good_block(layout: str) -> bytes:
    return verifier_of(layout, NONCE).stamp(BLOCK, OFFSET, NUMBERIO)


def judge(layout: str, block: bytes | bytearray, numberio: int = NUMBERIO) -> tuple[Mismatch, int, int] | None:
    return kind_place_found(verifier_of(layout, NONCE), block, OFFSET, numberio)


def kind_place_found(
    verifier: UnitVerifier, block: bytes | bytearray, offset: int, numberio: int = 0
) -> tuple[Mismatch, int, int] | None:
    answer = verifier.check(block, offset, numberio)
    return answer and answer[:3]


@given(layouts, lengths, offsets, generations, words_64)
@settings(deadline=None)
def test_what_was_stamped_is_found_good(layout: str, length: int, offset: int, numberio: int, nonce: int) -> None:
    verifier = verifier_of(layout, nonce)
    block = verifier.stamp(length, offset, numberio)
    assert len(block) == length
    assert verifier.check(block, offset, numberio) is None
    assert verifier.check(block, offset) is None
    # A later run, which does not know what was written, reads either layout.
    assert UnitVerifier(nonce=nonce ^ 1).check(block, offset) is None


@pytest.mark.parametrize("length", [64, 65, 100, 127, 512, 520, 4096, 4100, 65536])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_field_stands_where_fio_has_it(layout: str, length: int) -> None:
    numberio = 0x1_0000_2345
    block = verifier_of(layout, NONCE).stamp(length, OFFSET, numberio)
    header = header_of(block, layout)
    assert header.magic == MAGIC
    assert header.version == (0x81 if layout == "fio-3.41" else 0)
    assert header.type == CRC32C_TYPE
    assert header.length == length
    assert header.offset == OFFSET
    assert (header.time_s, header.time_ns) == (1_700_000_000, 0)
    assert header.thread == 1
    assert header.numberio == (numberio if layout == "fio-3.41" else numberio & 0xFFFF)
    assert header.crc == crc32c(block[: CHECKED_BYTES[layout]])
    assert header.checksum == crc32c(block[header.size + 4 :])


@given(layouts, st.integers(64, 2000) | st.sampled_from([4096, 65536]), words_64)
@settings(deadline=None)
def test_the_data_is_what_fio_generates_from_the_seed(layout: str, length: int, nonce: int) -> None:
    block = verifier_of(layout, nonce).stamp(length, OFFSET, NUMBERIO)
    header = header_of(block, layout)
    data_at = header.size + 4
    assert block[data_at:] == generated(length, header.seed)[data_at:]


def test_the_padding_of_the_header_holds_generated_bytes_within_its_checksum() -> None:
    block = good_block("fio-3.41")
    header = header_of(block, "fio-3.41")
    assert block[42:44] == generated(BLOCK, header.seed)[42:44]
    changed = bytearray(block)
    changed[42] ^= 1
    assert judge("fio-3.41", changed) == (Mismatch.HEADER, 42, 0)


def test_every_generation_and_every_run_has_contents_of_its_own() -> None:
    runs = [verifier_of(layout, nonce) for layout in LAYOUTS for nonce in (1, 1 << 32, 1 << 48)]
    blocks = [run.stamp(BLOCK, OFFSET, numberio)[64:] for run in runs for numberio in range(1, 50)]
    assert len(set(blocks)) == 3 * 49  # the layouts differ in their headers alone


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_bit_in_any_byte_is_found_at_that_byte(layout: str) -> None:
    block = bytearray(good_block(layout))
    for at in range(BLOCK):
        block[at] ^= 1 << at % 8
        kind = Mismatch.HEADER if at < CHECKED_BYTES[layout] + 4 else Mismatch.CHECKSUM
        answer = judge(layout, block)
        assert answer is not None, at
        assert answer[:2] == (kind, at), (at, answer)
        block[at] ^= 1 << at % 8
    assert judge(layout, block) is None


@given(layouts, st.integers(0, BLOCK - 1), st.integers(1, 255), st.booleans())
@settings(deadline=None, max_examples=300)
def test_a_changed_byte_is_found_at_that_byte(layout: str, at: int, change: int, is_known: bool) -> None:
    block = bytearray(good_block(layout))
    block[at] ^= change
    answer = judge(layout, block, NUMBERIO if is_known else 0)
    assert answer is not None
    assert answer[1] == at


@given(layouts, st.integers(0, BLOCK - 1), st.binary(min_size=2, max_size=600))
@settings(deadline=None)
def test_damage_of_any_length_is_found(layout: str, at: int, damage: bytes) -> None:
    good = good_block(layout)
    block = bytearray(good)
    block[at : at + len(damage)] = damage[: BLOCK - at]
    if bytes(block) == good:
        return
    answer = judge(layout, block)
    assert answer is not None
    first = next(i for i, (found, true) in enumerate(zip(block, good, strict=True)) if found != true)
    if first >= header_of(good, layout).size + 4:
        assert answer == (Mismatch.CHECKSUM, first, NUMBERIO & (0xFFFF if layout == "fio-2.2" else ~0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_torn_block_is_found_at_the_tear(layout: str) -> None:
    verifier = verifier_of(layout, NONCE)
    old, new = verifier.stamp(BLOCK, OFFSET, 1), verifier.stamp(BLOCK, OFFSET, 2)
    assert kind_place_found(verifier, new[:512] + old[512:], OFFSET, 2) == (Mismatch.TORN, 512, 2)
    # The first sector is old: it differs from what was written in its seed first.
    torn = kind_place_found(verifier, old[:512] + new[512:], OFFSET, 2)
    assert torn == (Mismatch.TORN, 8, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_block_of_another_place_is_misplaced(layout: str) -> None:
    verifier = verifier_of(layout, NONCE)
    elsewhere = verifier.stamp(BLOCK, OFFSET + BLOCK, NUMBERIO)
    assert kind_place_found(verifier, elsewhere, OFFSET, NUMBERIO) == (Mismatch.MISPLACED, 16, NUMBERIO)
    assert kind_place_found(verifier, elsewhere, OFFSET) == (Mismatch.MISPLACED, 16, NUMBERIO)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_older_generation_is_stale(layout: str) -> None:
    verifier = verifier_of(layout, NONCE)
    older = verifier.stamp(BLOCK, OFFSET, NUMBERIO - 1)
    answer = kind_place_found(verifier, older, OFFSET, NUMBERIO)
    assert answer is not None
    assert (answer[0], answer[2]) == (Mismatch.STALE, NUMBERIO - 1)
    assert 8 <= answer[1] < 16  # in its seed
    assert verifier.check(older, OFFSET) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_generation_of_another_run_is_stale(layout: str) -> None:
    earlier_run = verifier_of(layout, NONCE + 1).stamp(BLOCK, OFFSET, NUMBERIO)
    answer = judge(layout, earlier_run)
    assert answer is not None
    assert answer[0] == Mismatch.STALE


def test_a_generation_that_only_agrees_in_its_16_bits_is_stale() -> None:
    verifier = verifier_of("fio-2.2", NONCE)
    older = verifier.stamp(BLOCK, OFFSET, 5)
    assert kind_place_found(verifier, older, OFFSET, 5 + 0x10000) == (Mismatch.STALE, 8, 5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_block_of_zeros_is_zeroed(layout: str) -> None:
    assert judge(layout, bytes(BLOCK)) == (Mismatch.ZEROED, 0, 0)


def test_zeros_but_for_one_byte_are_a_bad_header() -> None:
    answer = judge("fio-3.41", bytes(BLOCK - 1) + b"\1")
    assert answer is not None
    assert (answer[0], answer[2]) == (Mismatch.HEADER, 0)


def test_a_block_of_another_length_or_checksum_is_a_bad_header() -> None:
    verifier = UnitVerifier(nonce=NONCE)
    short = verifier.stamp(512, OFFSET, NUMBERIO)
    assert kind_place_found(verifier, short + bytes(BLOCK - 512), OFFSET, NUMBERIO) == (Mismatch.HEADER, 4, NUMBERIO)
    head = bytearray(good_block("fio-3.41")[:44])
    head[3] = 2  # md5
    other = bytes(head) + struct.pack("<I", crc32c(bytes(head))) + good_block("fio-3.41")[48:]
    assert judge("fio-3.41", other) == (Mismatch.HEADER, 2, NUMBERIO)


@pytest.mark.parametrize("kind", [4, 5])
def test_blocks_of_the_oldest_fio_are_read(kind: int) -> None:
    """crc32c and crc32c-intel of fio 2.1.11; the header says nothing about its offset."""
    block = oldest_block(BLOCK, 0x1234_5678_9ABC_DEF1, kind)
    assert judge("fio-3.41", block, 0) is None
    assert UnitVerifier().check(block, 99 * BLOCK) is None


@pytest.mark.parametrize("at", [*range(28, 33), 100, BLOCK // 2, BLOCK - 1])
def test_a_changed_byte_in_a_block_of_the_oldest_fio_is_found(at: int) -> None:
    block = bytearray(oldest_block(BLOCK, 0x1234_5678_9ABC_DEF1))
    block[at] ^= 0x10
    assert judge("fio-3.41", block, 0) == (Mismatch.CHECKSUM, at, 0)


@pytest.mark.parametrize("at", range(20))
def test_a_changed_header_of_the_oldest_fio_is_found(at: int) -> None:
    block = bytearray(oldest_block(BLOCK, 0x1234_5678_9ABC_DEF1))
    block[at] ^= 0x10
    answer = judge("fio-3.41", block, 0)
    assert answer is not None
    assert answer[0] == Mismatch.HEADER


def test_blocks_with_no_room_for_a_header_are_refused() -> None:
    verifier = UnitVerifier()
    with pytest.raises(ValueError, match="no room"):
        verifier.stamp(51, 0, 1)
    with pytest.raises(ValueError, match="no room"):
        verifier.check(bytes(51), 0)
    for layout, length in itertools.product(LAYOUTS, range(53, 64)):
        other = verifier_of(layout)
        assert other.check(other.stamp(length, 0, 1), 0, 1) is None


def test_a_block_to_be_checked_is_not_changed() -> None:
    block = bytearray(good_block("fio-3.41"))
    block[3] ^= 7
    before = bytes(block)
    judge("fio-3.41", block)
    assert bytes(block) == before

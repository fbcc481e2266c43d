"""Every checksum of verify: against its definition in plain Python, known values, and blocks that fio wrote."""

import hashlib
import math
import random
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from fio_formats import HEADERS, MAGIC, crc32c
from hypothesis import given
from hypothesis import strategies as st

import iovigil
from iovigil.engines.checksum_types import FIELD_SIZES, LONGEST_FIELD, NAMES, NUMBERS, OLDEST_NAMES
from iovigil.engines.checksums import checksum_size, field_of, oldest_field_of

SOURCES = Path(iovigil.__file__).parent.parent
CHECKSUMS = [name for name, size in FIELD_SIZES.items() if size]
WITHOUT = ["none", "meta", "pattern", "pattern_hdr", "null"]
FROM_OPENSSL = [name for name in CHECKSUMS if name.startswith(("md", "sha"))]
CHECK = b"123456789"
MASK_32 = (1 << 32) - 1


def pseudorandom(length: int) -> bytes:
    return random.Random(1).randbytes(length)


def low_bit_first(data: bytes, polynomial: int, value: int) -> int:
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
    return value


def high_bit_first(data: bytes, polynomial: int, width: int) -> int:
    value = 0
    for byte in data:
        for bit in range(7, -1, -1):
            value = value << 1 ^ (byte >> bit & 1) << width
            value = (value ^ polynomial) & ((1 << width) - 1) if value >> width & 1 else value
    return value


def rotated(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & MASK_32


def xxh32(data: bytes, seed: int) -> int:
    p1, p2, p3, p4, p5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    at = 0
    value = (seed + p5) & MASK_32
    if len(data) >= 16:
        lanes = [seed + p1 + p2, seed + p2, seed, seed - p1]
        while at + 16 <= len(data):
            for k, word in enumerate(struct.unpack_from("<4I", data, at)):
                lanes[k] = rotated((lanes[k] + word * p2) & MASK_32, 13) * p1 & MASK_32
            at += 16
        value = sum(rotated(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK_32
    value = (value + len(data)) & MASK_32
    while at + 4 <= len(data):
        value = rotated((value + struct.unpack_from("<I", data, at)[0] * p3) & MASK_32, 17) * p4 & MASK_32
        at += 4
    for byte in data[at:]:
        value = rotated((value + byte * p5) & MASK_32, 11) * p1 & MASK_32
    value = (value ^ value >> 15) * p2 & MASK_32
    value = (value ^ value >> 13) * p3 & MASK_32
    return value ^ value >> 16


@cache
def roots(power: float, count: int) -> list[int]:
    """The 32 first bits of the fraction of these roots of the first primes: SHA-256's constants."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, int(n**0.5) + 1))][:count]
    return [int(prime**power % 1 * 2**32) for prime in primes]


def sha256_block(state: list[int], block: bytes) -> list[int]:
    words = list(struct.unpack(">16I", block))
    for t in range(16, 64):
        near, far = words[t - 2], words[t - 15]
        words.append(
            words[t - 16]
            + (rotated(far, 25) ^ rotated(far, 14) ^ far >> 3)
            + words[t - 7]
            + (rotated(near, 15) ^ rotated(near, 13) ^ near >> 10)
            & MASK_32
        )
    a, b, c, d, e, f, g, h = state
    for constant, word in zip(roots(1 / 3, 64), words, strict=True):
        first = h + (rotated(e, 26) ^ rotated(e, 21) ^ rotated(e, 7)) + (e & f ^ ~e & g) + constant + word
        second = (rotated(a, 30) ^ rotated(a, 19) ^ rotated(a, 10)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (first + second) & MASK_32, a, b, c, (d + first) & MASK_32, e, f, g
    return [(old + new) & MASK_32 for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def sha256_state(padded: bytes) -> list[int]:
    state = roots(1 / 2, 8)
    for at in range(0, len(padded), 64):
        state = sha256_block(state, padded[at : at + 64])
    return state


def padded(data: bytes, block: int, length_bytes: int, order: Literal["little", "big"]) -> bytes:
    zeroes = -(len(data) + 1 + length_bytes) % block
    return data + b"\x80" + bytes(zeroes) + (len(data) * 8).to_bytes(length_bytes, order)


def sha256_field(data: bytes) -> bytes:
    message = padded(data, 64, 8, "little")
    return bytes(word & 0xFF for word in sha256_state(message)) + message[-56:]


def sha512_field(data: bytes) -> bytes:
    return hashlib.sha512(data).digest() + padded(data, 128, 16, "big")[-64:]


def legacy_sha512_field(data: bytes) -> bytes:
    rest = data[len(data) - len(data) % 128 :]
    return rest + (data[len(rest) : 128] if len(data) >= 128 else bytes(128 - len(rest)))


def swapped_words(digest: bytes) -> bytes:
    return struct.pack("<5I", *struct.unpack(">5I", digest))


def sha1_state(blocks: bytes) -> bytes:
    """After whole blocks; FIPS 180-4."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0]
    for at in range(0, len(blocks), 64):
        words = list(struct.unpack_from(">16I", blocks, at))
        for t in range(16, 80):
            words.append(rotated(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1))
        a, b, c, d, e = state
        for t, word in enumerate(words):
            function, constant = (
                (b & c | ~b & d, 0x5A827999),
                (b ^ c ^ d, 0x6ED9EBA1),
                (b & c | b & d | c & d, 0x8F1BBCDC),
                (b ^ c ^ d, 0xCA62C1D6),
            )[t // 20]
            a, b, c, d, e = rotated(a, 5) + function + e + constant + word & MASK_32, a, rotated(b, 30), c, d
        state = [(old + new) & MASK_32 for old, new in zip(state, (a, b, c, d, e), strict=True)]
    return struct.pack("<5I", *state)


def md5_state(blocks: bytes) -> bytes:
    """After whole blocks; RFC 1321."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    turns = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
    for at in range(0, len(blocks), 64):
        words = struct.unpack_from("<16I", blocks, at)
        a, b, c, d = state
        for t in range(64):
            function, word = (
                (b & c | ~b & d, t),
                (d & b | ~d & c, 5 * t + 1),
                (b ^ c ^ d, 3 * t + 5),
                (c ^ (b | ~d & MASK_32), 7 * t),
            )[t // 16]
            total = (a + function + int(abs(math.sin(t + 1)) * 2**32) + words[word % 16]) & MASK_32
            a, b, c, d = d, (b + rotated(total, turns[t // 16][t % 4])) & MASK_32, b, c
        state = [(old + new) & MASK_32 for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


DEFINITIONS: dict[str, Callable[[bytes], bytes]] = {
    "crc32c": lambda data: low_bit_first(data, 0x82F63B78, MASK_32).to_bytes(4, "little"),
    "crc32": lambda data: high_bit_first(data, 0x04C11DB7, 32).to_bytes(4, "little"),
    "crc64": lambda data: low_bit_first(data, 0x95AC9329AC4BC9B5, 0).to_bytes(8, "little"),
    "crc16": lambda data: low_bit_first(data, 0xA001, 0).to_bytes(2, "little"),
    "crc7": lambda data: high_bit_first(data, 0x09, 7).to_bytes(1, "little"),
    "md5": lambda data: hashlib.md5(data).digest(),
    "sha1": lambda data: swapped_words(hashlib.sha1(data).digest()),
    "sha256": sha256_field,
    "sha512": sha512_field,
    "sha3-224": lambda data: hashlib.sha3_224(data).digest(),
    "sha3-256": lambda data: hashlib.sha3_256(data).digest(),
    "sha3-384": lambda data: hashlib.sha3_384(data).digest(),
    "sha3-512": lambda data: hashlib.sha3_512(data).digest(),
    "xxhash": lambda data: xxh32(data, 1).to_bytes(4, "little"),
}


@pytest.mark.parametrize("name", CHECKSUMS)
@given(st.data())
def test_a_field_is_what_its_definition_says(name: str, data) -> None:
    text = data.draw(st.binary(max_size=700))
    assert field_of(name, text) == DEFINITIONS[name](text)


LENGTHS = [*range(300), 511, 512, 513, 1000, 1023, 2047, 2048, 2049, 2111, 2112, 4052, 4096 - 168, 9999]
"""Past every block of a digest, every place of padding in it, and every way that a long CRC is folded."""


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_field_is_right_at_every_length(name: str) -> None:
    text = pseudorandom(max(LENGTHS))
    lengths = LENGTHS if name != "sha256" else [length for length in LENGTHS if length < 200 or length > 1000]
    assert [n for n in lengths if field_of(name, text[:n]) != DEFINITIONS[name](text[:n])] == []


@pytest.mark.parametrize("name", CHECKSUMS)
@given(start=st.integers(0, 64), length=st.integers(0, 9000))
def test_where_data_lies_in_memory_makes_no_difference(name: str, start: int, length: int) -> None:
    memory = pseudorandom(9064)
    assert field_of(name, memoryview(memory)[start : start + length]) == field_of(name, memory[start : start + length])


@pytest.mark.parametrize("name", [name for name in CHECKSUMS if name != "sha256"])
@given(length=st.integers(1, 5000), data=st.data())
def test_no_byte_escapes_a_checksum(name: str, length: int, data) -> None:
    text = bytearray(pseudorandom(length))
    before = field_of(name, text)
    text[data.draw(st.integers(0, length - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert field_of(name, text) != before


KNOWN = {
    # Of "123456789": the check values of the catalogue of parametrised CRC algorithms, as far as it has these.
    "crc32c": struct.pack("<I", 0xE3069283 ^ MASK_32),  # CRC-32/ISCSI, which inverts at the end
    "crc64": struct.pack("<Q", 0xE9C6D914C4B8D9CA),  # CRC-64/REDIS
    "crc16": struct.pack("<H", 0xBB3D),  # CRC-16/ARC
    "crc7": b"\x75",  # CRC-7/MMC
    "md5": bytes.fromhex("25f9e794323b453885f5181f1b624d0b"),
    "sha1": swapped_words(bytes.fromhex("f7c3bc1d808e04732adf679965ccc34ca7ae3441")),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_field_has_the_published_value(name: str) -> None:
    assert field_of(name, CHECK) == KNOWN[name]


def test_the_definition_of_sha256_here_is_sha256_with_another_padding() -> None:
    # The definition above is the oracle of all that has the other padding: this is what it stands on.
    for length in (0, 3, 55, 56, 64, 200):
        text = pseudorandom(length)
        assert struct.pack(">8I", *sha256_state(padded(text, 64, 8, "big"))) == hashlib.sha256(text).digest()


@given(st.binary(max_size=600))
def test_sha512_before_fio_3_39_is_left_overs_of_the_data(text: bytes) -> None:
    assert field_of("sha512", text, is_current=False) == legacy_sha512_field(text)


@given(st.binary(max_size=300), st.sampled_from([name for name in CHECKSUMS if name != "sha512"]))
def test_all_but_sha512_are_the_same_behind_headers_of_40_bytes(text: bytes, name: str) -> None:
    assert field_of(name, text, is_current=False) == field_of(name, text)


@pytest.mark.parametrize("length", [0, 63, 64, 100, 128, 1000])
def test_fio_2_1_has_the_state_of_md5_and_sha1_before_they_end(length: int) -> None:
    text = pseudorandom(length)
    whole = text[: length - length % 64]
    assert oldest_field_of("md5", text) == md5_state(whole)
    assert oldest_field_of("sha1", text) == sha1_state(whole)


def test_what_fio_2_1_has_of_sha256_and_sha512_cannot_be_judged() -> None:
    assert oldest_field_of("sha256", b"a") is oldest_field_of("sha512", b"a") is None


@pytest.mark.parametrize("name", ["crc32c", "crc32", "crc64", "crc16", "crc7", "xxhash"])
def test_the_other_checksums_of_fio_2_1_are_todays(name: str) -> None:
    assert oldest_field_of(name, CHECK) == field_of(name, CHECK)


@pytest.mark.parametrize("name", WITHOUT)
def test_types_without_a_checksum_have_an_empty_field(name: str) -> None:
    assert checksum_size(name) == 0
    assert field_of(name, CHECK) == b""


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_field_is_as_long_as_declared(name: str) -> None:
    assert len(field_of(name, CHECK)) == checksum_size(name) == FIELD_SIZES[name] <= LONGEST_FIELD


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    for function in (checksum_size, lambda name: field_of(name, b"")):
        with pytest.raises(ValueError, match=r"verify=crc9: there is no such checksum; there are .*sha3-224.*xxhash"):
            function("crc9")


def test_every_type_has_one_number_and_the_other_way_round() -> None:
    assert NUMBERS.keys() == FIELD_SIZES.keys()
    assert {NAMES[number]: number for number in NAMES if number != 6} == NUMBERS
    assert set(OLDEST_NAMES.values()) < NUMBERS.keys()


@pytest.mark.parametrize("name", CHECKSUMS)
def test_threads_do_not_disturb_each_other(name: str) -> None:
    texts = [pseudorandom(length) for length in (20000, 30001, 40007, 50021)]
    expected = [field_of(name, text) for text in texts]
    wrong: list[int] = []

    def compute(mine: int) -> None:
        for _ in range(20):
            if field_of(name, texts[mine]) != expected[mine]:
                wrong.append(mine)

    threads = [threading.Thread(target=compute, args=(mine,)) for mine in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def libraries_after(statement: str) -> str:
    """What a child's interpreter has mapped after a statement."""
    program = f"import sys; sys.path.insert(0, {str(SOURCES)!r}); {statement}; print(open('/proc/self/maps').read())"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_libcrypto_is_loaded_for_those_who_ask_for_a_digest_only() -> None:
    without = [name for name in FIELD_SIZES if field_of(name, CHECK) and name not in FROM_OPENSSL] + WITHOUT
    ask = "[c.field_of(name, b'') for name in {}]"
    statement = "import iovigil.engines.child, iovigil.engines.checksums as c; " + ask
    maps = libraries_after(statement.format(without))
    assert "checksums" in maps
    assert "libcrypto" not in maps
    assert "digests" not in maps
    for name in FROM_OPENSSL:
        assert "libcrypto" in libraries_after(statement.format([name]))


@dataclass(frozen=True)
class Interval:
    """One header that fio wrote, and what is behind it."""

    type: int
    field: bytes
    data: bytes


def intervals(path: Path, length: int, size: int) -> list[Interval]:
    """All that a file has, when a header of 40 bytes is at every multiple of this length."""
    form = HEADERS["fio-2.2"]
    found = []
    contents = path.read_bytes()
    assert contents
    for at in range(0, len(contents), length):
        block = contents[at : at + length]
        magic, kind, stored_length, *_ = form.unpack_from(block)
        assert (magic, stored_length) == (MAGIC, length)
        assert struct.unpack_from("<I", block, form.size) == (crc32c(block[: form.size]),)
        data_at = form.size + 4
        found.append(Interval(kind, block[data_at : data_at + size], block[data_at + size :]))
    return found


# With 40 bytes of header before a field these leave data of every kind: less than a block, a block and nothing, room
# for the padding of a digest and none, and what is folded.
BLOCK_LENGTHS = [296, 333, 512, 728, 735, 736, 1000, 1024, 2500, 4096, 5003, 65536]


@pytest.mark.requires_fio
@pytest.mark.parametrize("name", CHECKSUMS)
def test_fields_are_those_that_fio_writes(tmp_path: Path, name: str) -> None:
    written_by_fio(tmp_path, name, BLOCK_LENGTHS)
    for length in BLOCK_LENGTHS:
        for number, found in enumerate(intervals(tmp_path / str(length), length, FIELD_SIZES[name])):
            assert found.type == NUMBERS[name]
            assert found.field == field_of(name, found.data, is_current=False), (length, number)


@pytest.mark.requires_fio
@pytest.mark.parametrize("name", CHECKSUMS)
def test_fields_are_those_that_fio_writes_several_times_in_a_block(tmp_path: Path, name: str) -> None:
    written_by_fio(tmp_path, name, [4000], "--verify_interval=1000")
    found = intervals(tmp_path / "4000", 1000, FIELD_SIZES[name])
    assert len(found) == 16
    assert [each.field for each in found] == [field_of(name, each.data, is_current=False) for each in found]


@pytest.mark.requires_fio
@pytest.mark.parametrize("name", ["meta", "null"])
def test_fio_writes_types_without_a_checksum(tmp_path: Path, name: str) -> None:
    written_by_fio(tmp_path, name, [512])
    block = (tmp_path / "512").read_bytes()[:512]
    magic, kind, *_ = HEADERS["fio-2.2"].unpack_from(block)
    assert (magic == MAGIC) == (name == "meta")
    assert name == "null" or kind == NUMBERS["meta"]


def written_by_fio(directory: Path, name: str, lengths: list[int], *options: str) -> None:
    """Four blocks of each length, in a file of that name."""
    command = ["fio", f"--verify={name}", "--do_verify=0", "--verify_state_save=0", "--rw=write", *options]
    for length in lengths:
        command += [f"--name={length}", f"--filename={length}", f"--bs={length}", f"--size={4 * length}"]
    subprocess.run(command, cwd=directory, check=True, timeout=60, capture_output=True)

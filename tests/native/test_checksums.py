"""Every checksum of verify: against its definition in plain Python, known values, and blocks that fio wrote."""

import hashlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines.checksum_types import FIELD_SIZES
from iovigil.engines.checksums import field_of

CHECKSUMS = [name for name, size in FIELD_SIZES.items() if size]
WITHOUT = ["none", "meta", "pattern", "pattern_hdr", "null"]
CHECK = b"123456789"
MASK_32 = (1 << 32) - 1


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


def padded(data: bytes, block: int, length_bytes: int, order: str) -> bytes:
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

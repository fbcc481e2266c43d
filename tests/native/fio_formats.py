"""What fio documents of its formats, computed a second time in plain Python: the oracle of the native tests."""

import struct
from dataclasses import dataclass

MAGIC = 0xACCA
CRC32C_TYPE = 5
GENERATOR_STEP = 0x61C8864680B583EB
MASK_64 = (1 << 64) - 1

HEADERS = {
    # magic, version and type (or a 16-bit type), length, seed, offset, s, ns, ...: before the header's own checksum.
    "fio-3.41": struct.Struct("<HBBIQQIIQH2s"),
    "fio-2.2": struct.Struct("<HHIQQIIHH"),
}


def crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc32c_table()


def crc32c(data: bytes) -> int:
    """CRC-32C from all ones, without the inversion at the end."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def generated(length: int, seed: int) -> bytes:
    """What fio fills a block with: four lanes side by side; what is left over comes from the first lane."""
    lanes = [seed * factor & MASK_64 for factor in (1, 2, 3, 5)]
    words = []
    for _ in range(length // 32):
        words += lanes
        lanes = [lane * GENERATOR_STEP & MASK_64 for lane in lanes]
    lane = lanes[0]
    for _ in range(-(-(length % 32) // 8)):
        words.append(lane)
        lane = lane * GENERATOR_STEP & MASK_64
    return b"".join(word.to_bytes(8, "little") for word in words)[:length]


@dataclass(frozen=True)
class Header:
    """The fields of a verify header, whatever its layout."""

    magic: int
    version: int
    type: int
    length: int
    seed: int
    offset: int
    time_s: int
    time_ns: int
    numberio: int
    thread: int
    crc: int
    size: int
    checksum: int
    """Of the data behind it."""


def header_of(block: bytes, layout: str) -> Header:
    form = HEADERS[layout]
    values = form.unpack_from(block)
    crc, checksum = struct.unpack_from("<II", block, form.size)
    if layout == "fio-3.41":
        magic, version, kind, length, seed, offset, time_s, time_ns, numberio, thread, _ = values
    else:
        magic, kind, length, seed, offset, time_s, time_ns, thread, numberio = values
        version = 0
    return Header(
        magic, version, kind, length, seed, offset, time_s, time_ns, numberio, thread, crc, form.size + 4, checksum
    )


def oldest_block(length: int, seed: int, kind: int = 4) -> bytes:
    """A block as fio 2.1.11 wrote it: 24 bytes of header, without an offset, and its own numbers for checksums."""
    body = generated(length, seed)
    head = struct.pack("<HHIQ", MAGIC, kind, length, seed)
    return head + struct.pack("<II", crc32c(head), 0) + struct.pack("<I", crc32c(body[28:])) + body[28:]


def bucket(value_ns: int) -> int:
    """fio's bucket of a latency: 64 per octave, 29 groups, the last bucket for all that is beyond."""
    if value_ns < 128:
        return value_ns
    error_bits = value_ns.bit_length() - 1 - 6
    return min(((error_bits + 1) << 6) + ((value_ns >> error_bits) & 63), 29 * 64 - 1)


def bucket_value(index: int) -> int:
    """What fio prints for a bucket."""
    if index < 128:
        return index
    error_bits = (index >> 6) - 1
    return int((1 << (error_bits + 6)) + (index % 64 + 0.5) * (1 << error_bits))


def bucket_low(index: int) -> int:
    if index < 128:
        return index
    error_bits = (index >> 6) - 1
    return (1 << (error_bits + 6)) + index % 64 * (1 << error_bits)

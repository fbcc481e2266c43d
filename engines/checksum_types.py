"""The types that a verify header can name: their numbers, and how long the field behind the header is."""

FIELD_SIZES = {
    "crc32c": 4,
    "crc32": 4,
    "crc64": 8,
    "crc16": 2,
    "crc7": 1,
    "md5": 16,
    "sha1": 20,
    "sha256": 64,
    "sha512": 128,
    "sha3-224": 28,
    "sha3-256": 32,
    "sha3-384": 48,
    "sha3-512": 64,
    "xxhash": 4,
    "none": 0,
    "meta": 0,
    "pattern_hdr": 0,
    "pattern": 0,
    "null": 0,
}
"""Bytes of the checksum, by the name that the option verify has for it; the last five have none."""

LONGEST_FIELD = max(FIELD_SIZES.values())

NUMBERS = {
    "none": 0,
    "meta": 1,
    "md5": 2,
    "crc64": 3,
    "crc32": 4,
    "crc32c": 5,
    "crc16": 7,
    "crc7": 8,
    "sha256": 9,
    "sha512": 10,
    "sha3-224": 11,
    "sha3-256": 12,
    "sha3-384": 13,
    "sha3-512": 14,
    "xxhash": 15,
    "sha1": 16,
    "pattern_hdr": 17,
    "pattern": 18,
    "null": 19,
}
"""What headers of 40 and 48 bytes (fio 2.2 and later) call them."""

# 6 is crc32c as computed by an instruction, a type of its own once.
NAMES = {number: name for name, number in NUMBERS.items()} | {6: "crc32c"}
"""The way back: of 40 and 48 bytes."""

OLDEST_NAMES = {
    0: "none",
    1: "md5",
    2: "crc64",
    3: "crc32",
    4: "crc32c",
    5: "crc32c",
    6: "crc16",
    7: "crc7",
    8: "sha256",
    9: "sha512",
    10: "xxhash",
    11: "meta",
    12: "sha1",
    13: "pattern",
    14: "null",
}
"""What headers of 24 bytes (fio 2.1) mean by a number."""

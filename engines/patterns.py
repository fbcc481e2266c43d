"""Patterns of bytes as fio writes them: "text", 0xhex, decimal numbers and 'files', one after another."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from iovigil.engines.quantities import quoted

MAX_PATTERN_BYTES: Final = 1 << 20
PART: Final = re.compile(r"\"([^\"]*)\"|'([^']*)'|0[xX]([0-9a-fA-F]+)|(-?[0-9]{1,10})|(%o)", re.ASCII)
OFFSET_BYTES: Final = 8
LITERAL: Final = re.compile(rb"[ !#-~]+")
EXPECTED: Final = "a pattern: \"text\", 0xhex, a number of 32 bits or 'file', one after another"


def parse_pattern(text: str) -> bytes:
    """Return the bytes that `text` stands for; raise ValueError with the reason."""
    pattern, places = parse_offset_pattern(text)
    if places:
        raise ValueError(f"{quoted(text)} has %o, the offset: that is for verify_pattern")
    return pattern


def parse_offset_pattern(text: str) -> tuple[bytes, tuple[int, ...]]:
    """Return the bytes that `text` stands for, and where each %o stands in them; raise ValueError with the reason."""
    pattern = bytearray()
    places = []
    for part in parts(text):
        if part is None:
            places.append(len(pattern))
        pattern += bytes(OFFSET_BYTES) if part is None else part
    if not pattern:
        raise ValueError("needs a value")
    if len(pattern) > MAX_PATTERN_BYTES:
        raise ValueError(f"is {len(pattern)} bytes long: at most {MAX_PATTERN_BYTES}")
    return bytes(pattern), tuple(places)


def parts(text: str) -> Iterator[bytes | None]:
    """The bytes of each part, None for an offset."""
    place = 0
    while place < len(text):
        match = PART.match(text, place)
        if match is None:
            raise ValueError(f"{quoted(text[place:])} is not {EXPECTED}")
        literal, file, digits, number, offset = match.groups()
        if literal is not None:
            yield os.fsencode(literal)
        elif file is not None:
            yield contents(file)
        elif digits is not None:
            yield bytes.fromhex(digits.rjust(len(digits) + len(digits) % 2, "0"))
        elif offset is not None:
            yield None
        else:
            yield number_bytes(int(number))
        # A blank between two parts is no part of the pattern.
        place = match.end()
        place += len(text[place:]) - len(text[place:].lstrip(" "))


def number_bytes(number: int) -> bytes:
    """As in fio: in the order of x86, without the zeroes above the number, four bytes where it is negative."""
    if not -(1 << 31) <= number < 1 << 32:
        raise ValueError(f"{number} does not fit in 32 bits: write longer patterns as 0xhex")
    return (number % (1 << 32)).to_bytes(4, "little").rstrip(b"\0") or b"\0"


def contents(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ValueError(f"the file {quoted(path)} cannot be read: {getattr(error, 'strerror', error)}") from None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{quoted(path)} is no regular file")
        return file.read(MAX_PATTERN_BYTES + 1)


def spell_pattern(pattern: bytes) -> str:
    """Return the text that `parse_pattern` reads back as `pattern`."""
    if LITERAL.fullmatch(pattern):
        return f'"{pattern.decode("ascii")}"'
    return f"0x{pattern.hex()}" if pattern else ""


def spell_offset_pattern(pattern: bytes, places: Iterable[int]) -> str:
    """Return the text that `parse_offset_pattern` reads back as these two."""
    text, at = "", 0
    for place in places:
        text += spell_pattern(pattern[at:place]) + "%o"
        at = place + OFFSET_BYTES
    return text + spell_pattern(pattern[at:])

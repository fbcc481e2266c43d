"""Sizes, times and counts: from fio's spelling to a number, and back."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from iovigil.engines.options import SECOND_US

# fio's kb_base=1024, its default, gives "k" and "kb" 1024 and then turns the International System round, so that
# "KiB" is 1000. Here every spelling of a letter is the same power of 1024: 1GiB is 2^30 whoever reads it.
SIZE_UNITS: Final[Mapping[str, int]] = {"": 1, "b": 1} | {
    letter + ending: 1024**power for power, letter in enumerate("kmgtp", 1) for ending in ("", "b", "i", "ib")
}
TIME_UNITS_US: Final[Mapping[str, int]] = {
    "d": 86_400 * SECOND_US,
    "h": 3600 * SECOND_US,
    "m": 60 * SECOND_US,
    "s": SECOND_US,
    "ms": 1000,
    "us": 1,
}
# fio's other words for them, which it does not use itself.
TIME_WORDS_US: Final[Mapping[str, int]] = {"msec": 1000, "usec": 1}
# More digits than any limit needs, few enough that a page of them costs nothing to refuse.
NUMBER: Final = re.compile(r"([+-]?[0-9]{0,20}(?:\.[0-9]{0,9})?)([a-z]*)", re.ASCII)
HEXADECIMAL: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:e[+-]?[0-9]{1,3})?", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes that `text` stands for, such as 4k, 1.5g or 1GiB; raise ValueError with the reason."""
    return scaled(text, SIZE_UNITS, "a size: a number, with k, m, g, t or p (powers of 1024), such as 64k or 1GiB")


def parse_time_us(text: str, plain_us: int) -> int:
    """Return the microseconds that `text` stands for; a bare number counts `plain_us` each."""
    units = {**TIME_UNITS_US, **TIME_WORDS_US, "": plain_us}
    return scaled(text, units, "a time: a number, with d, h, m, s, ms or us, such as 30s")


def parse_count(text: str) -> int:
    """Return the number in `text`; as in fio it may have a size's suffix, or be hexadecimal."""
    lowered = text.lower()
    if HEXADECIMAL.fullmatch(lowered):
        return int(lowered, 16)
    return scaled(text, SIZE_UNITS, "a whole number")


def parse_decimal(text: str) -> float:
    """Return the number in `text`, which may have a fraction; raise ValueError with the reason."""
    if not DECIMAL.fullmatch(text.lower()) or not math.isfinite(float(text)):
        raise ValueError(f"{quoted(text)} is not a number, such as 99.9")
    return float(text)


def scaled(text: str, units: Mapping[str, int], expected: str) -> int:
    match = NUMBER.fullmatch(text.lower())
    if match is None or not any(map(str.isdigit, match[1])) or match[2] not in units:
        raise ValueError(f"{quoted(text)} is not {expected}")
    value = Fraction(match[1].rstrip(".")) * units[match[2]]
    if units[match[2]] == 1 and value.denominator != 1:
        raise ValueError(f"{quoted(text)} is not a whole number")
    return int(value)


def quoted(text: str) -> str:
    """Return `text` as a message shows it: short, and visible where it is empty or has blanks."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return shown if shown.isprintable() and shown and " " not in shown else repr(shown)


def spell_size(size: int) -> str:
    """Return the shortest exact spelling of a number of bytes."""
    for power, letter in reversed(list(enumerate("kmgtp", 1))):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{letter}"
    return str(size)


def spell_amount(size: float) -> str:
    """Return a number of bytes as people say it, in three digits."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} PiB"


def spell_time(time_us: int) -> str:
    """Return the shortest exact spelling of a time; never a bare number, whose unit depends on the option."""
    if not time_us:
        return "0s"
    unit = next(unit for unit, worth_us in TIME_UNITS_US.items() if time_us % worth_us == 0)
    return f"{time_us // TIME_UNITS_US[unit]}{unit}"


def spell_decimal(value: float) -> str:
    """Return the shortest text that is read back as exactly this value."""
    return repr(value).removesuffix(".0")

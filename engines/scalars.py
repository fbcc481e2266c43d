"""Options that hold one number: read within the limits of the option, and spelled in its unit."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from iovigil.engines.options import MAX_INT64, SECOND_US, OptionSpec
from iovigil.engines.quantities import (
    parse_count,
    parse_decimal,
    parse_size,
    parse_time_us,
    quoted,
    spell_size,
    spell_time,
)

UNIT_PARSERS: Final[Mapping[str, Callable[[str], int]]] = {"bytes": parse_size, "bytes/s": parse_size}
ALL_OF_IT: Final = -100
"""The least that an option holds which may be a share: 100 per cent."""
SHARE: Final = re.compile("([0-9]{1,3})%", re.ASCII)


def number_of(spec: OptionSpec, text: str) -> int:
    """Return the number in `text`; raise ValueError when it is none, or not within the limits of the option."""
    if spec.ge == ALL_OF_IT:
        if text.endswith("%"):
            return share_of(text)
        least = 0
    else:
        least = spec.ge
    parse = UNIT_PARSERS.get(spec.unit, parse_count)
    number = parse_time_us(text, spec.plain) if spec.unit == "us" else parse(text)
    if least <= number <= spec.le:
        return number
    spell = spell_time if spec.unit == "us" else partial(spell_number, spec)
    if spec.le < MAX_INT64:
        raise ValueError(f"{quoted(text)} is not in {spell(least)}..{spell(spec.le)}")
    raise ValueError(f"{quoted(text)} is {f'below {spell(least)}' if number < least else f'above {spell(spec.le)}'}")


def share_of(text: str) -> int:
    """Return a share in per cent as such an option holds it: negative."""
    match = SHARE.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= 100:
        raise ValueError(f"{quoted(text)} is not a share: a whole number of per cent, 1% to 100%")
    return -int(match[1])


def decimal_of(spec: OptionSpec, text: str) -> float:
    number = parse_decimal(text.removesuffix("%"))
    if not spec.ge <= number <= spec.le:
        raise ValueError(f"{quoted(text)} is not in {spec.ge}..{spec.le}")
    return number


def spell_number(spec: OptionSpec, number: int) -> str:
    if spec.unit == "us":
        is_plain = spec.plain != SECOND_US and number % spec.plain == 0
        return str(number // spec.plain) if is_plain else spell_time(number)
    if spec.ge == ALL_OF_IT and number < 0:
        return f"{-number}%"
    return spell_size(number) if spec.unit in UNIT_PARSERS else str(number)

"""Accept headers: what a client would like, and how much."""

from collections.abc import Iterator
from typing import NamedTuple


class Preference(NamedTuple):
    """One element of an Accept or Accept-Encoding header."""

    value: str
    parameters: dict[str, str]
    q: float


def preferences(header: str) -> Iterator[Preference]:
    for element in header.split(","):
        value, *rest = element.split(";")
        parameters = dict(parameter_of(text) for text in rest)
        yield Preference(value.strip().lower(), parameters, quality_of(parameters))


def parameter_of(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def quality_of(parameters: dict[str, str]) -> float:
    """`q`, 1 when there is none; what is not a number is not wanted."""
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0

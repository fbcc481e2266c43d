"""Figures: what one operation of one run cost, and robust statistics of many; all in logarithms, so ratios are sums."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

SIGMA_PER_MAD: Final = 1.4826
"""Of a normal distribution."""


class Figures(NamedTuple):
    """Logarithms of seconds: more is slower. NaN where it is not known."""

    p50: float
    p99: float = math.nan
    byte: float = math.nan
    """Time for each byte: the inverse of throughput."""


UNKNOWN: Final = Figures(math.nan, math.nan, math.nan)


def figures(p50_s: float, p99_s: float = 0.0, bytes_per_second: float = 0.0) -> Figures:
    return Figures(logarithm(p50_s), logarithm(p99_s), -logarithm(bytes_per_second))


def logarithm(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def median(values: Sequence[float]) -> float:
    """Of those that are known; NaN of none."""
    known = [value for value in values if not math.isnan(value)]
    return middle_of(known) if known else math.nan


def middle_of(values: Sequence[float]) -> float:
    """The median of one or more that are known."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def medians(rows: Sequence[Figures]) -> Figures:
    return Figures(*map(median, zip(*rows, strict=True))) if rows else UNKNOWN


def spreads(rows: Sequence[Figures], middle: Figures) -> Figures:
    """How far they usually are from the middle: what a standard deviation would be, were there no outliers."""
    return Figures(
        *(
            SIGMA_PER_MAD * median([abs(value - centre) for value in column])
            for column, centre in zip(zip(*rows, strict=True), middle, strict=True)
        )
    )

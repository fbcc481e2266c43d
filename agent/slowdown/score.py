"""Score: for how long, and how much, a disk has been slow; 1 is when patience with it is over."""

from itertools import pairwise
from typing import Final

PATIENCE_H: Final = ((1.7, 85.0), (2.0, 65.0), (3.5, 42.0), (4.6, 1.75))
"""How many hours a disk may be so many times as slow as usual; in between, along a line. Healthy disks are twice as
slow for hours, and seldom for days; five times as slow they hardly ever are."""
FORGOTTEN_H: Final = 168.0
"""After so many good hours the score has gone from 1 to 0."""
MOST: Final = 1.1
"""So that a disk that is well again is known to be within a day."""
MOST_OF_A_RUN: Final = 0.34
"""One run, however long ago the one before it was, says little."""


def patience_h(ratio: float) -> float:
    for (low, low_h), (high, high_h) in pairwise(PATIENCE_H):
        if ratio < high:
            return low_h + max(ratio - low, 0.0) / (high - low) * (high_h - low_h)
    return PATIENCE_H[-1][1]


def after_slow(score: float, ratio: float, time_s: float) -> float:
    """The score after so much time as so many times as slow."""
    return min(score + min(time_s / 3600 / patience_h(ratio), MOST_OF_A_RUN), max(MOST, score))


def after_usual(score: float, time_s: float) -> float:
    return max(score - time_s / 3600 / FORGOTTEN_H, 0.0)

"""Node: how many of the disks are slow at once, for what they share is then to be suspected, and not one of them."""

from collections.abc import Container
from typing import Final, NamedTuple

Key = tuple[str, str, str]
"""Disk, probe, operation."""

LEAST_DISKS: Final = 3
"""Of one or two it would only say what theirs already do."""
MOST_SLOW: Final = 0.5
FRESH_INTERVALS: Final = 2.5
LEAST_FRESH_S: Final = 600.0
RECOUNT_S: Final = 60.0
"""A word that is not fresh any more is left out as late as this."""


class Word(NamedTuple):
    """What was last said of a disk by a probe, and until when that holds."""

    is_slow: bool
    until_unix: float


class Node:
    """Every disk's last word, for as long as it is fresh."""

    def __init__(self) -> None:
        self._words: dict[Key, Word] = {}
        self._counted_unix = 0.0
        self.slow_ratio = 0.0
        """Share of the disks of which something can be said that are slow; 0 of fewer than three."""

    def note(self, key: Key, is_slow: bool | None, now_unix: float, interval_s: float) -> None:
        """None is that nothing can be said."""
        before = self._words.pop(key, None)
        if is_slow is not None:
            self._words[key] = Word(is_slow, now_unix + max(FRESH_INTERVALS * interval_s, LEAST_FRESH_S))
        was_slow = None if before is None else before.is_slow
        if was_slow is not is_slow:
            self._count(now_unix)
        else:
            self.look(now_unix)

    def look(self, now_unix: float) -> None:
        """Leave out what is not fresh any more, also where nothing is noted because all disks hang."""
        if abs(now_unix - self._counted_unix) >= RECOUNT_S:
            self._count(now_unix)

    def retain(self, probes: Container[tuple[str, str]], now_unix: float) -> None:
        """Forget all others than these, by disk and probe."""
        self._words = {key: word for key, word in self._words.items() if key[:2] in probes}
        self._count(now_unix)

    @property
    def is_slow(self) -> bool:
        return self.slow_ratio > MOST_SLOW

    def _count(self, now_unix: float) -> None:
        self._counted_unix = now_unix
        disks: dict[str, bool] = {}
        for (disk, _, _), word in self._words.items():
            if word.until_unix >= now_unix:
                disks[disk] = disks.get(disk, False) or word.is_slow
        self.slow_ratio = sum(disks.values()) / len(disks) if len(disks) >= LEAST_DISKS else 0.0

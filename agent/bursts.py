"""Mismatches as bursts: those of one disk without a long pause are two lines in the log, however many they are."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from iovigil.agent import mismatch_text
from iovigil.agent.journal import fields
from iovigil.engines.stats import MismatchRecord

log = logging.getLogger(__name__)

PAUSE_S: Final = 60.0
BEGIN_ID: Final = "9ed0a179740948a09edaf84cc6d17810"
"""MESSAGE_ID of the line that begins a burst: `journalctl MESSAGE_ID=...` finds each."""
END_ID: Final = "05bf1ef308584c51b1a151134659ed63"


@dataclass(kw_only=True)
class Burst:
    """Mismatches of one disk, so far."""

    disk: str
    began_s: float
    last_s: float
    counted: Counter[str] = field(default_factory=Counter)
    lowest: int = -1
    highest: int = -1
    """Where the last byte of those that were described is; -1 while none was."""
    described: int = 0

    def add(self, records: Sequence[MismatchRecord], counted: Mapping[str, int], now_s: float) -> None:
        self.last_s = now_s
        self.counted.update(counted)
        self.described += len(records)
        for record in records:
            self.lowest = record.offset if self.lowest < 0 else min(self.lowest, record.offset)
            self.highest = max(self.highest, record.offset + record.length - 1)

    def describe(self) -> str:
        text = (
            f"data corruption on disk {self.disk}: the burst has ended after {self.last_s - self.began_s:.0f} s with "
        )
        text += mismatch_text.in_words(self.counted)
        if self.described:
            # A page describes the first ones of its run only.
            which = "" if self.described == self.counted.total() else f" (of {self.described} of them)"
            text += f"; bytes {self.lowest} to {self.highest}{which}"
        return text


class Bursts:
    """The bursts under way, one a disk at most."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._open: dict[str, Burst] = {}

    def note(
        self,
        disk: str,
        records: Sequence[MismatchRecord],
        counted: Mapping[str, int],
        now_s: float,
        *,
        where: Mapping[str, str],
        dump: str = "",
    ) -> None:
        """Take in mismatches that are new; the first of a burst is said at once.

        `where` is the journal fields of the run, `dump` the file that the first of these was written to.
        """
        self.close_quiet(now_s)
        burst = self._open.get(disk)
        if burst is None:
            burst = self._open[disk] = Burst(disk=disk, began_s=now_s, last_s=now_s)
            self._begin(disk, records, counted, where, dump)
        burst.add(records, counted, now_s)

    def _begin(
        self,
        disk: str,
        records: Sequence[MismatchRecord],
        counted: Mapping[str, int],
        where: Mapping[str, str],
        dump: str,
    ) -> None:
        extra = {**where, "MESSAGE_ID": BEGIN_ID}
        if records:
            extra |= record_fields(records[0], dump)
            text = mismatch_text.describe(records[0], disk, [dump] if dump else [])
        else:
            text = f"data corruption on disk {disk}: {mismatch_text.in_words(counted)}"
        log.error("%s", text, extra=extra)

    def close_quiet(self, now_s: float) -> None:
        """Say the end of those bursts that have paused for long enough."""
        for burst in [each for each in self._open.values() if now_s - each.last_s >= self._pause_s]:
            self._end(burst)

    def close(self) -> None:
        """Say the end of all: nobody looks any more."""
        for burst in list(self._open.values()):
            self._end(burst)

    def _end(self, burst: Burst) -> None:
        del self._open[burst.disk]
        log.error("%s", burst.describe(), extra={**fields(disk=burst.disk), "MESSAGE_ID": END_ID})


def record_fields(record: MismatchRecord, dump: str = "") -> dict[str, str]:
    """The journal fields of a mismatch; what is not known has none."""
    told = mismatch_text.values(record)
    named = {
        "mismatch": told["kind"],
        "offset": told["offset"],
        "length": told["length"],
        "first_byte": told["first_byte"],
        "wrong_bits": told["wrong_bits"],
        "expected_generation": told["expected_generation"],
        "found_generation": told["found_generation"],
        "found_offset": told["found_offset"],
        "dump": dump or None,
    }
    return fields(**{name: str(value) for name, value in named.items() if value is not None})

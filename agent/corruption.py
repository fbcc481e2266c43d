"""What the agent does about data corruption while it is found: says it, dates it, has it remembered."""

import logging
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from iovigil.agent import dumps, mismatch_text
from iovigil.agent.archive import Archive
from iovigil.agent.bursts import PAUSE_S, Bursts
from iovigil.agent.disks.identity import key_of
from iovigil.agent.history import LastMismatch, Mismatched
from iovigil.agent.ledger import DiskEntry, Ledger
from iovigil.agent.run import Run
from iovigil.engines.stats import MismatchRecord, StatsPage

log = logging.getLogger(__name__)


@dataclass
class Seen:
    """How much of a run's mismatches was taken in."""

    page: StatsPage
    counted: dict[str, int] = field(default_factory=dict)
    records: int = 0


class Corruption:
    """Looks at the pages of runs. A look is a few memory reads; only what is new costs more."""

    def __init__(self, archive: Archive, pause_s: float = PAUSE_S) -> None:
        self._archive = archive
        self._bursts = Bursts(pause_s)
        self._seen: weakref.WeakKeyDictionary[Run, Seen] = weakref.WeakKeyDictionary()
        self._last: dict[tuple[str, str], LastMismatch] = {}
        self.has_new_dumps = False
        """Whether dumps were written that nobody has bounded yet."""

    def remember(self, last: Iterable[LastMismatch]) -> None:
        """Take in what a former agent found."""
        for each in last:
            self._last.setdefault((each.disk, each.probe), each)

    def remind(self, ledger: Ledger) -> None:
        """Date the last mismatch in accounts that are new, where it was found on the same disk."""
        for key, entry in ledger.probes.items():
            last, disk = self._last.get(key), ledger.disks[entry.disk]
            if last is not None and last.is_of(disk.place, key_of(disk.identity)):
                entry.last_mismatch_unix = max(entry.last_mismatch_unix, last.found_unix)

    def look(self, run: Run, disk: DiskEntry | None) -> None:
        """Take in what is new on the page of a run, under way or just ended."""
        page = run.page
        seen = self._seen.get(run)
        if seen is None or seen.page is not page:
            seen = self._seen[run] = Seen(page)
        counted = mismatch_text.counts(page)
        new = {kind: number - seen.counted.get(kind, 0) for kind, number in counted.items()}
        new = {kind: number for kind, number in new.items() if number > 0}
        if not new:
            return
        # The job puts a record on the page before it counts it, so that there are no fewer of them than told here.
        records = page.mismatches()[seen.records :]
        first = seen.records
        seen.counted = counted
        seen.records += len(records)
        self._take_in(run, disk, first, records, new)

    def _take_in(
        self, run: Run, disk: DiskEntry | None, first: int, records: list[MismatchRecord], new: dict[str, int]
    ) -> None:
        now_s, now_unix, entry = time.monotonic(), time.time(), run.entry
        identity = key_of(disk.identity) if disk is not None else ""
        files = [dump_of(run, record) for record in records]
        self._bursts.note(entry.disk, records, new, now_s, where=run.fields, dump=files[0] if files else "")
        self.has_new_dumps |= any(files)
        rows = [
            Mismatched(
                run=run.name,
                number=first + place,
                found_unix=found_unix(record, now_s, now_unix),
                disk=entry.disk,
                probe=entry.probe,
                path=run.disk.path,
                identity=identity,
                dumps=file,
                text=mismatch_text.describe(record, entry.disk, [file] if file else []),
                **{name: told for name, told in mismatch_text.values(record).items() if name in Mismatched._fields},
            )
            for place, (record, file) in enumerate(zip(records, files, strict=True))
        ]
        # Beyond what the page describes, only the look can date them.
        is_all = len(records) == sum(new.values())
        latest = max(row.found_unix for row in rows) if is_all else now_unix
        last = LastMismatch(entry.disk, entry.probe, run.disk.place, identity, latest)
        # One in the future is of a clock that was set back since.
        entry.last_mismatch_unix = max(min(entry.last_mismatch_unix, now_unix), latest)
        self._last[entry.disk, entry.probe] = last
        self._archive.add(rows, last)

    def close_quiet(self) -> None:
        self._bursts.close_quiet(time.monotonic())

    def close(self) -> None:
        self._bursts.close()


def dump_of(run: Run, record: MismatchRecord) -> str:
    if not (record.is_dumped and run.dump_directory):
        return ""
    return str(dumps.received(Path(run.dump_directory), run.entry.disk, record.offset, run.dump_label))


def found_unix(record: MismatchRecord, now_s: float, now_unix: float) -> float:
    """When it was read; now where the record does not say."""
    age_s = now_s - record.found_ns / 1e9
    return now_unix - age_s if record.found_ns and age_s > 0 else now_unix

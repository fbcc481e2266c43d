"""What one run of a probe could not read back is handed to the next."""

from collections.abc import Container
from dataclasses import dataclass

from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import ProbeEntry, RunResult
from iovigil.agent.write_logs import WriteLog
from iovigil.engines.options import JobOptions


@dataclass(kw_only=True)
class Pending:
    """A disk's log, and whose work it tells of."""

    entry: ProbeEntry
    disk: DiskSettings
    options: JobOptions
    log: WriteLog


class Handover:
    """The write logs of the disks: on each at most one, of the probe that wrote to it last."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}

    def log_for(self, disk: DiskSettings, entry: ProbeEntry) -> WriteLog | None:
        """The log for a run that is about to start; None for one that has nothing to read back. Raises OSError.

        Where another probe writes, or this one in another way, what was left is not to be found any more.
        """
        options = entry.options
        known = self._pending.get(disk.name)
        is_continued = known is not None and known.entry is entry and (known.disk, known.options) == (disk, options)
        if options.does_change and not is_continued:
            self._give_up(disk.name)
        if not options.reads_back:
            return None
        if known is None or not is_continued:
            known = Pending(entry=entry, disk=disk, options=options, log=WriteLog.create())
            self._pending[disk.name] = known
        return known.log

    def finish(self, result: RunResult) -> None:
        """Take note of what a run has left. After a run that read back all it wrote the next begins anew."""
        known = self._pending.get(result.disk)
        if known is None or known.entry.probe != result.probe or known.options != result.options:
            return
        # Of a file that was made anew since, nothing is to be found any more.
        known.entry.unverified_bytes += max(known.entry.pending_bytes - result.page.inherited_bytes, 0)
        known.entry.pending_bytes = result.page.unverified_bytes
        # A child that was killed has not said what it left: the log has.
        if result.page.is_complete and not result.page.unverified_bytes:
            del self._pending[result.disk]

    def retain(self, disks: Container[str]) -> None:
        """Give up what is left on disks that are not watched any more."""
        for name in [name for name in self._pending if name not in disks]:
            self._give_up(name)

    def _give_up(self, disk: str) -> None:
        known = self._pending.pop(disk, None)
        if known is not None:
            known.entry.unverified_bytes += known.entry.pending_bytes
            known.entry.pending_bytes = 0

"""Keeps the ledger's word on which disks are there, and what they are."""

import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from iovigil.agent.aside import Lane
from iovigil.agent.config import DiskSettings
from iovigil.agent.journal import fields
from iovigil.agent.ledger import DiskEntry

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0


class Finding(Protocol):
    """What of inventory.Resolved is needed here."""

    @property
    def is_present(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def identity(self) -> dict[str, str]: ...


class Presence:
    """Looks at disks in /proc, /sys and /dev's links.

    None of these touches a device, yet sysfs may wait for a driver that is busy with an error:
    a look happens beside the loop, one at a time, and what it would have said stays as it was.
    """

    def __init__(self, resolve: Callable[[DiskSettings], Finding], look_s: float = LOOK_S) -> None:
        self._resolve = resolve
        self._look_s = look_s
        self._lane = Lane()
        self._reasons: dict[str, str] = {}
        """Why a disk was not there at the last look; empty when it was."""

    async def refresh(self, disks: Iterable[tuple[DiskSettings, DiskEntry]]) -> None:
        """Bring these entries up to date, where that is known in time."""
        wanted = list(disks)
        if not self._lane.is_free or not wanted:
            return
        try:
            findings = await self._lane.call(lambda: [self._finding(disk) for disk, _ in wanted], self._look_s)
        except TimeoutError:
            log.warning("looking for the disks takes more than %g s; going by what was known", self._look_s)
            return
        except OSError as error:
            log.warning("cannot look for the disks (%s); going by what was known", error.strerror)
            return
        for (_, entry), finding in zip(wanted, findings, strict=True):
            if finding is not None:
                self._note(entry, finding)

    def _finding(self, disk: DiskSettings) -> Finding | None:
        try:
            return self._resolve(disk)
        except OSError as error:
            # sysfs entries vanish while they are read; the next look sees it whole.
            log.warning("disk %s: %s", disk.name, error, extra=fields(disk=disk.name))
        except Exception:  # the outermost loop of a look: what one device says of itself must not stop the probes
            log.exception("disk %s: looking for it failed: please report", disk.name, extra=fields(disk=disk.name))
        return None

    def _note(self, entry: DiskEntry, finding: Finding) -> None:
        reason = "" if finding.is_present else finding.reason or "not found"
        if self._reasons.get(entry.name) != reason:
            if reason:
                log.warning("disk %s is not there: %s", entry.name, reason, extra=fields(disk=entry.name))
            else:
                log.info("disk %s is there", entry.name, extra=fields(disk=entry.name))
        self._reasons[entry.name] = reason
        entry.is_present = finding.is_present
        if finding.is_present:
            entry.identity = dict(finding.identity)

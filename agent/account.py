"""An account as it is kept for the next agent: every counter of one probe on one disk, by names."""

from typing import Any

import msgspec

from iovigil.agent.disks.identity import key_of
from iovigil.agent.history import is_same_disk
from iovigil.agent.ledger import DiskEntry, Failure, ProbeEntry, Skip
from iovigil.engines.stats import StatsPage


class NotAnAccount(Exception):
    """These bytes are none that `Account.encode` made."""


class Account(msgspec.Struct, kw_only=True):
    """What of a ProbeEntry outlives the agent. Fields may come and go: what is not known is passed over."""

    disk: str
    probe: str
    path: str
    """`place` of the disk."""
    identity: str
    keeper: str = ""
    """Which agent kept it."""
    runs: int = 0
    failures: dict[str, int] = {}
    skips: dict[str, int] = {}
    fallbacks: int = 0
    unverified_bytes: int = 0
    pending_bytes: int = 0
    last_success_unix: float = 0.0
    sums: dict[str, Any]

    @classmethod
    def of(cls, entry: ProbeEntry, disk: DiskEntry, *, keeper: str = "", totals: StatsPage | None = None) -> "Account":
        return cls(
            disk=entry.disk,
            probe=entry.probe,
            path=disk.place,
            identity=key_of(disk.identity),
            keeper=keeper,
            runs=entry.runs,
            failures={reason.value: number for reason, number in entry.failures.items()},
            skips={reason.value: number for reason, number in entry.skips.items()},
            fallbacks=entry.fallbacks,
            unverified_bytes=entry.unverified_bytes,
            pending_bytes=entry.pending_bytes,
            last_success_unix=entry.last_success_unix,
            sums=(totals or entry.totals).sums(),
        )

    @classmethod
    def decode(cls, data: bytes) -> "Account":
        """Raises NotAnAccount."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise NotAnAccount(str(error)) from None

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def is_of(self, disk: DiskEntry) -> bool:
        """Whether that disk is the one it was kept of: a name, or a path, may have been given to another."""
        return is_same_disk(self.path, self.identity, disk.place, key_of(disk.identity))

    def totals(self) -> StatsPage:
        """Raises NotAnAccount."""
        page = StatsPage.private()
        try:
            page.add_sums(self.sums)
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise NotAnAccount(f"{type(error).__name__}: {error}") from None
        return page

    def restore(self, entry: ProbeEntry) -> None:
        """Have an account that was just opened go on from here. Raises NotAnAccount, and changes nothing then."""
        entry.packed_totals = self.totals().packed()
        entry.runs = self.runs
        entry.failures |= {reason: self.failures.get(reason.value, 0) for reason in Failure}
        entry.skips |= {reason: self.skips.get(reason.value, 0) for reason in Skip}
        entry.fallbacks = self.fallbacks
        # Where the last run's writes are the former agent alone knew: nobody will read them back.
        entry.unverified_bytes = self.unverified_bytes + self.pending_bytes
        entry.last_success_unix = self.last_success_unix

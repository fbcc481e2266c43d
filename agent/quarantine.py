"""Quarantines: disks whose I/O did not come back, and when each of them is tried again."""

import hashlib
from collections.abc import Container, Iterable
from typing import Final

import msgspec

FIRST_S: Final = 60.0
LONGEST_S: Final = 3600.0
JITTER: Final = 0.1
"""Of the back-off, at most so much more: disks that went together are not all tried at one moment."""
RELAPSE_S: Final = LONGEST_S
"""A disk that hangs again this soon after it came back goes on where its back-off was."""


class Medium(msgspec.Struct, frozen=True):
    """What is behind a disk's name at a moment, to tell whether it is the same at another."""

    path: str
    device: str = ""
    """The kernel's name of the whole disk; empty where no single one is there, or none was seen."""
    sequence: str = ""
    """The kernel's number of this appearance of a device: a name can be given again, this not."""
    number: str = ""
    """wwn or serial number; empty where it has neither."""

    def is_same(self, other: "Medium") -> bool:
        """Also by another path: two files on one disk, two links to it. Not where another disk has taken its place."""
        if self.device and other.device:
            is_same_device = self.device == other.device and same_if_known(self.sequence, other.sequence)
            return is_same_device and same_if_known(self.number, other.number)
        return self.path == other.path

    def is_successor(self, other: "Medium") -> bool:
        """Whether it stands where that one was, and is another appearance of it, or another disk."""
        return self.path == other.path and not self.is_same(other)


def same_if_known(one: str, other: str) -> bool:
    return not one or not other or one == other


class Case(msgspec.Struct, kw_only=True):
    """What is known of a disk that hung. Times in seconds are of CLOCK_BOOTTIME, which a restart does not change."""

    place: str
    """What the disk is the same by after a restart."""
    medium: Medium
    probe: str
    """Whose I/O it was; its next run is the trial."""
    is_open: bool = False
    begun: int = 0
    """Quarantines so far."""
    hangs: int = 0
    """In a row, trials included."""
    begun_unix: float = 0.0
    hung_since_s: float = 0.0
    """When the I/O that did not come back was begun."""
    end_s: float = 0.0
    """When it is tried again."""
    lifted_s: float = 0.0

    def is_over(self, now_s: float) -> bool:
        """Whether the back-off has passed: the next run is a trial."""
        return now_s >= self.end_s


class Quarantines:
    """The cases of all disks, at most one a disk. Its clock is the caller's."""

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}
        self.changes = 0
        """Grows with each change, so that who keeps them knows when to."""

    def __bool__(self) -> bool:
        """Whether there is any disk in quarantine."""
        return any(case.is_open for case in self._cases.values())

    def on(self, medium: Medium) -> Case | None:
        """The quarantine that this medium is in; None when it is in none."""
        return next((case for case in self._cases.values() if case.is_open and case.medium.is_same(medium)), None)

    def open_cases(self) -> list[Case]:
        return [case for case in self._cases.values() if case.is_open]

    def begun(self, place: str) -> int:
        """How many quarantines there were of this disk."""
        case = self._cases.get(place)
        return case.begun if case is not None else 0

    def hang(self, place: str, medium: Medium, probe: str, *, hung_s: float, now_s: float, now_unix: float) -> Case:
        """An I/O of this probe had not come back after `hung_s` when its run was given up."""
        known = self.on(medium) or self._cases.get(place)
        case = known or Case(place=place, medium=medium, probe=probe)
        if not case.is_open or not case.medium.is_same(medium):
            is_relapse = case.is_open or now_s - case.lifted_s < RELAPSE_S
            case.hangs = case.hangs if is_relapse and case.medium.is_same(medium) else 0
            case.is_open, case.begun, case.begun_unix = True, case.begun + 1, now_unix
            case.hung_since_s = now_s - hung_s
            case.medium = medium
            case.probe = probe
        case.hangs += 1
        case.end_s = now_s + back_off_s(case.place, case.hangs)
        self._cases[case.place] = case
        self.changes += 1
        return case

    def recover(self, medium: Medium, now_s: float) -> Case | None:
        """A run has ended by itself: lift the quarantine, and return it."""
        case = self.on(medium)
        if case is not None:
            case.is_open, case.lifted_s, case.end_s = False, now_s, 0.0
            self.changes += 1
        return case

    def postpone(self, medium: Medium, now_s: float) -> None:
        """A trial has told nothing: the same back-off once more."""
        case = self.on(medium)
        if case is not None and case.is_over(now_s):
            case.end_s = now_s + back_off_s(case.place, case.hangs)
            self.changes += 1

    def end_back_off(self, medium: Medium, now_s: float) -> Case | None:
        """Let the next run be the trial, at once."""
        case = self.on(medium)
        if case is not None and not case.is_over(now_s):
            case.end_s = now_s
            self.changes += 1
        return case

    def see(self, place: str, medium: Medium, now_s: float) -> Case | None:
        """Take note of what is behind a disk now; its quarantine where that is lifted, for it is another disk's."""
        case = self._cases.get(place)
        if case is None or not case.is_open or not medium.is_successor(case.medium):
            return None
        self.changes += 1
        if medium.number and medium.number == case.medium.number:
            # The same disk, which has been away: what hung has ended, but nobody knows yet whether it answers.
            case.medium = medium
            case.end_s = min(case.end_s, now_s)
            return None
        case.is_open, case.hangs, case.end_s = False, 0, 0.0
        return case

    def retain(self, places: Container[str]) -> None:
        """Forget disks that are not watched any more."""
        for place in [place for place in self._cases if place not in places]:
            del self._cases[place]
            self.changes += 1

    def kept(self) -> list[Case]:
        """What outlives the agent."""
        return list(self._cases.values())

    def restore(self, cases: Iterable[Case], now_s: float, *, is_same_boot: bool) -> None:
        """Go on with what a former agent knew. After a boot nothing is outstanding any more."""
        for case in cases:
            if not is_same_boot:
                case.is_open, case.hangs, case.end_s, case.lifted_s = False, 0, 0.0, 0.0
            # Whatever stands there: a disk is tried again.
            case.end_s = min(case.end_s, now_s + longest_s())
            case.hung_since_s = min(case.hung_since_s, now_s)
            self._cases.setdefault(case.place, case)


def back_off_s(place: str, hangs: int) -> float:
    """How long a disk is left alone after so many hangs in a row: twice as long as before, up to an hour."""
    base_s = min(FIRST_S * 2.0 ** min(max(hangs, 1) - 1, 30), LONGEST_S)
    return base_s * (1 + JITTER * fraction(place))


def longest_s() -> float:
    return LONGEST_S * (1 + JITTER)


def fraction(place: str) -> float:
    """A number from 0 to 1 that stays the same for a disk."""
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:4]) / 0xFFFFFFFF

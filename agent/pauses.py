"""Pauses: which probes on which disks are not to start, as somebody said, kept over restarts in a file."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

import msgspec

from iovigil.agent import atomic_file

MOST: Final = 256
LONGEST_REASON: Final = 200
LATEST_UNIX: Final = 4e10  # what every clock of a host can still spell


Moment = Annotated[float, msgspec.Meta(ge=0, le=LATEST_UNIX)]


class Pause(msgspec.Struct, frozen=True):
    """What somebody wants not to start; disk and probe are names or patterns of them."""

    disk: str
    probe: str
    since_unix: Moment
    until_unix: Moment | None = None
    """When it ends by itself; None is never."""
    reason: str = ""

    def covers(self, disk: str, probe: str) -> bool:
        return fnmatchcase(disk, self.disk) and fnmatchcase(probe, self.probe)

    def has_ended(self, now_unix: float) -> bool:
        return self.until_unix is not None and self.until_unix <= now_unix


class Pauses:
    """The pauses in force, at most one of the same words."""

    def __init__(self, pauses: Iterable[Pause] = ()) -> None:
        self._pauses = {(pause.disk, pause.probe): pause for pause in pauses}
        self.changes = 0
        """Grows with each change, so that what follows from the pauses need not be worked out again and again."""

    def add(self, pause: Pause) -> None:
        """Put it in force, in place of one of the same words. Raises ValueError when there are too many."""
        key = (pause.disk, pause.probe)
        if key not in self._pauses and len(self._pauses) >= MOST:
            raise ValueError(f"there are {MOST} pauses already: resume some of them, or pause by a pattern")
        self._pauses[key] = pause
        self.changes += 1

    def remove(self, disk: str, probe: str) -> list[Pause]:
        """End those that concern nothing but what these patterns match; `*` and `*` are all. Returns them."""
        gone = [
            pause
            for pause in self._pauses.values()
            if fnmatchcase(pause.disk, disk) and fnmatchcase(pause.probe, probe)
        ]
        self._forget(gone)
        return gone

    def expire(self, now_unix: float) -> list[Pause]:
        """Forget those whose time is over; returns them."""
        gone = [pause for pause in self._pauses.values() if pause.has_ended(now_unix)]
        self._forget(gone)
        return gone

    def of(self, disk: str, probe: str, now_unix: float) -> Pause | None:
        """The oldest that holds this probe on this disk; None when none does."""
        holding = [each for each in self._pauses.values() if each.covers(disk, probe) and not each.has_ended(now_unix)]
        return min(holding, key=lambda pause: pause.since_unix, default=None)

    def _forget(self, gone: Iterable[Pause]) -> None:
        for pause in gone:
            del self._pauses[pause.disk, pause.probe]
            self.changes += 1

    def all(self) -> list[Pause]:
        return sorted(self._pauses.values(), key=lambda pause: pause.since_unix)


class Document(msgspec.Struct, frozen=True):
    """What stands in the file."""

    pauses: tuple[Pause, ...] = ()
    version: int = 1


class PausesUnusable(Exception):
    """The file cannot be read or written; the text says why."""


def load(path: Path) -> tuple[list[Pause], str]:
    """What is in the file, and a warning where it was damaged and has been set aside. Raises PausesUnusable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        raise PausesUnusable(f"{path}: {error.strerror}") from None
    try:
        return list(msgspec.json.decode(content, type=Document).pauses), ""
    except msgspec.DecodeError as error:
        aside = path.with_suffix(".damaged")
        try:
            path.replace(aside)
        except OSError as problem:
            raise PausesUnusable(f"{path} is damaged ({error}), and cannot be renamed: {problem.strerror}") from None
        return [], f"{path} is damaged ({error}); renamed to {aside.name}: what was paused before is not any more"


def save(path: Path, pauses: Iterable[Pause]) -> None:
    """Put them into the file: all of them, or it stays as it was. Raises PausesUnusable."""
    content = msgspec.json.format(msgspec.json.encode(Document(tuple(pauses))))
    try:
        atomic_file.replace(path, content + b"\n")
    except OSError as error:
        raise PausesUnusable(f"{path}: {error.strerror or error}") from None

"""Keeps which disks the selecting entries of the configuration stand for: those that are there, and those that were."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from iovigil.agent import atomic_file
from iovigil.agent.aside import Lane
from iovigil.agent.config import Config, DiskSettings
from iovigil.agent.disks import candidates, selection
from iovigil.agent.disks.candidates import Candidate
from iovigil.agent.journal import fields
from iovigil.agent.steady_clock import SteadyClock

log = logging.getLogger(__name__)

FILE: Final = "disks.json"
LOOK_S: Final = 5.0
REMEMBER_EVERY_S: Final = 3600.0
MOST_REMEMBERED: Final = 4096


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that was selected once."""

    name: str
    candidate: Candidate
    seen_unix: float


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found."""

    disks: tuple[DiskSettings, ...]
    known: tuple[Known, ...]


class Roster:
    """Looks for selected disks beside the loop, one look at a time.

    A disk that has gone stays on the roster, absent, until its time is over or the configuration does not select it any
    more; the roster outlives the agent in its state directory, so that one that does not come back from a reboot is
    missed.
    """

    def __init__(
        self,
        directory: str,
        find: Callable[[], Sequence[Candidate]] = candidates.all_candidates,
        *,
        look_s: float = LOOK_S,
        root: str = "/",
    ) -> None:
        self._path = Path(directory) / FILE
        self._find = find
        self._look_s = look_s
        self._root = root
        self._known: tuple[Known, ...] | None = None
        """None until the file was read."""
        self._written: tuple[Known, ...] = ()
        self._written_unix = 0.0
        self._clock = SteadyClock()
        self._lane = Lane()
        self._complaint = ""

    def identities(self) -> dict[str, dict[str, str]]:
        """What is known of each disk, also of those that are absent, by its name."""
        return {each.name: each.candidate.labels for each in self._known or ()}

    async def look(self, config: Config) -> tuple[DiskSettings, ...] | None:
        """The disks that the configuration selects; None where that cannot be told in time."""
        if not config.selectors:
            return ()
        if not self._lane.is_free:
            return None
        try:
            found = await self._lane.call(lambda: self._look(config, time.time()), self._look_s)
        except TimeoutError:
            self._complain(f"looking for disks takes more than {self._look_s:g} s; going by what was known")
            return None
        except (OSError, ValueError) as error:
            self._complain(f"cannot look for disks ({error}); going by what was known")
            return None
        self._complain("")
        return found.disks

    def _look(self, config: Config, now_unix: float) -> Look:
        if self._known is None:
            self._known = self._read()
        steady_unix = self._clock.now_unix()
        found = survey(config, self._find(), self._known, now_unix, self._root, steady_unix=steady_unix)
        self._known = found.known
        self._save(now_unix)
        return found

    def _read(self) -> tuple[Known, ...]:
        try:
            return remembered(self._path)
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read (%s): disks that went before this are not missed", self._path, error)
            return ()

    def _save(self, now_unix: float) -> None:
        known = self._known or ()
        same = [(each.name, each.candidate) for each in known] == [
            (each.name, each.candidate) for each in self._written
        ]
        # When a disk was last seen need not be known to the second.
        if same and 0 <= now_unix - self._written_unix < REMEMBER_EVERY_S:
            return
        try:
            atomic_file.replace(self._path, msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
        # Also where it failed: one warning an hour.
        self._written, self._written_unix = known, now_unix

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint


def remembered(path: Path) -> tuple[Known, ...]:
    """The roster that an agent left; empty where there was none. Raises OSError, MsgspecError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Known, ...])
    except FileNotFoundError:
        return ()


def expected(config: Config, found: Sequence[Candidate]) -> Config:
    """The configuration as an agent here would go by it: with what it selects, and what an agent before has missed."""
    known: tuple[Known, ...] = ()
    with contextlib.suppress(OSError, msgspec.MsgspecError):  # it may be the agent's alone to read
        known = remembered(Path(config.agent.state_directory) / FILE)
    return selection.with_disks(config, survey(config, found, known, time.time()).disks)


def untimed(known: Sequence[Known]) -> list[tuple[str, Candidate]]:
    return [(each.name, each.candidate) for each in known]


def survey(
    config: Config,
    found: Sequence[Candidate],
    known: Sequence[Known],
    now_unix: float,
    root: str = "/",
    *,
    steady_unix: float | None = None,
) -> Look:
    """The disks that are selected, of those found and of those known from before.

    `steady_unix` is by what a disk has not been there for long: the time, where it is not given.
    """
    steady_unix = now_unix if steady_unix is None else steady_unix
    there = {candidate.name_holder for candidate in found if not candidate.unusable}
    holders = {each.name: each.candidate.name_holder for each in known if each.candidate.name_holder in there}
    absent = {each.candidate.name_holder: each for each in known if each.candidate.name_holder not in there}
    gone = [each.candidate for each in absent.values()]
    usable = [candidate for candidate in found if candidate.name_holder not in absent]
    chosen = [each for each in selection.choose(config, [*usable, *gone], holders, root) if each.disk is not None]
    disks, kept = [], []
    for choice in chosen:
        assert choice.disk is not None
        before = absent.get(choice.candidate.name_holder)
        seen_unix = before.seen_unix if before is not None else now_unix
        if before is not None and steady_unix - seen_unix > config.selectors[choice.entry].forget_after_s:
            log.info(
                "disk %s is forgotten: it has not been there for long", before.name, extra=fields(disk=before.name)
            )
            continue
        disks.append(choice.disk)
        kept.append(Known(name=choice.disk.name, candidate=choice.candidate, seen_unix=seen_unix))
    return Look(disks=tuple(disks), known=tuple(kept[:MOST_REMEMBERED]))

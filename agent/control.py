"""What an operator may do to the plan while the agent runs: pause, resume, run now."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from iovigil.agent import aside, pauses
from iovigil.agent.aside import Lane
from iovigil.agent.config import DiskSettings
from iovigil.agent.config.kinds import read_glob
from iovigil.agent.holds import Holds
from iovigil.agent.journal import fields
from iovigil.agent.ledger import Skip
from iovigil.agent.pauses import LATEST_UNIX, LONGEST_REASON, Pause, PausesUnusable
from iovigil.agent.rounds import Rounds
from iovigil.agent.rounds import Starter as PlannedStarter
from iovigil.agent.supervisor import Busy

__all__ = ["Busy", "Control", "Pause", "Unknown"]

log = logging.getLogger(__name__)

FILE: Final = "pauses.json"
DEADLINE_S: Final = 5.0
INTERVAL_S: Final = 1.0
RETRY_S: Final = 60.0


class Starter(PlannedStarter, Protocol):
    """What is needed of the supervisor."""

    def release(self, disk: str = "*") -> tuple[list[str], list[str]]: ...
    def explain(self, disk: DiskSettings, skip: Skip) -> str: ...


class Unknown(LookupError):
    """No probe on no disk of the configuration is meant; the text says what there is."""


class Control:
    """Used on the event loop's thread. What it changes holds at once, and is in the state directory soon after."""

    def __init__(
        self,
        path: Path,
        holds: Holds,
        rounds: Rounds,
        starter: Starter,
        *,
        deadline_s: float = DEADLINE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._holds = holds
        self._rounds = rounds
        self._starter = starter
        self._deadline_s = deadline_s
        self._now = now
        self._is_saved = True
        self._lane = Lane()
        self._not_before_s = 0.0
        self._complaint = ""

    def pause(self, disk: str = "*", probe: str = "*", *, until_unix: float | None = None, reason: str = "") -> Pause:
        """Have nothing of this started; runs under way go on. Names may be patterns. Raises Unknown, ValueError."""
        now_unix = self._now()
        if until_unix is not None and not now_unix < until_unix <= LATEST_UNIX:
            raise ValueError("the pause would have ended before it begins, or never: leave out its end for that")
        self._meant(read_glob(disk), read_glob(probe))
        pause = Pause(disk, probe, now_unix, until_unix, one_line(reason))
        self._holds.pauses.add(pause)
        self._is_saved = False
        log.warning("paused %s", spell(pause), extra=fields(disk=disk, probe=probe))
        return pause

    def resume(self, disk: str = "*", probe: str = "*") -> list[Pause]:
        """End the pauses of what these names or patterns match, and return them; with all probes, also a back-off.

        A pause that holds more than that stays: `resume("data0")` does not end the pause of every disk. Raises Busy
        where nothing could be done because a child that does not end holds the disk.
        """
        gone = self._holds.pauses.remove(disk, probe)
        for pause in gone:
            log.warning("resumed %s", spell(pause), extra=fields(disk=pause.disk, probe=pause.probe))
        if gone:
            self._is_saved = False
        released, held = self._starter.release(disk) if probe == "*" else ([], [])
        for name in released:
            log.warning("released disk %s: it is tried at once", name, extra=fields(disk=name))
        for text in held:
            log.warning("not released: %s", text)
        if held and not gone and not released:
            raise Busy(Skip.STUCK, "; ".join(held))
        return gone

    def paused(self) -> list[Pause]:
        """The pauses in force, the oldest first."""
        now_unix = self._now()
        return [pause for pause in self._holds.pauses.all() if not pause.has_ended(now_unix)]

    def run_now(self, disk: str, probe: str) -> None:
        """Start a run outside of the plan, whatever its windows, the pressure and a back-off. Raises Busy and Unknown.

        Not during a blackout, and not while paused: somebody may have the disk in their hands.
        """
        turn = self._rounds.turn(disk, probe)
        if turn is None:
            raise Unknown(f"there is no probe {probe} on a disk {disk}")
        if (refusal := self._holds.refusal(disk, probe, self._now())) is not None:
            raise Busy(refusal)
        if not turn.disk_entry.is_present:
            raise Busy(Skip.ABSENT)
        blocker = self._starter.blocker(turn.disk, turn.entry)
        if blocker is Skip.QUARANTINED:
            self._starter.release(disk)
            blocker = self._starter.blocker(turn.disk, turn.entry)
        if blocker is not None:
            raise Busy(blocker, self._starter.explain(turn.disk, blocker))
        log.info("run now: %s on %s", probe, disk, extra=fields(disk=disk, probe=probe))
        self._starter.start(turn.disk, turn.entry)
        turn.due_unix, turn.is_trial = None, False  # what waited has got what it waited for

    async def load(self) -> None:
        """Put in force what was paused before a restart; nothing where that cannot be told in time."""
        try:
            known, warning = await aside.call(lambda: pauses.load(self.path), self._deadline_s)
        except (PausesUnusable, OSError, TimeoutError) as error:
            self._complain(f"pauses are not known: {reason_of(error, self.path, self._deadline_s)}")
            return
        if warning:
            log.warning("%s", warning)
        now_unix = self._now()
        for pause in known:
            if not pause.has_ended(now_unix):
                self._holds.pauses.add(pause)
                log.warning("still paused: %s", spell(pause), extra=fields(disk=pause.disk, probe=pause.probe))

    async def run(self) -> None:
        """End pauses whose time is over and have changes written, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                for pause in self._holds.pauses.expire(self._now()):
                    self._is_saved = False
                    log.info("pause has ended: %s", spell(pause), extra=fields(disk=pause.disk, probe=pause.probe))
                await self.flush()
            except Exception:  # the outermost loop of this task
                log.exception("keeping the pauses failed: please report")
                self._not_before_s = time.monotonic() + RETRY_S

    async def flush(self, deadline_s: float | None = None) -> bool:
        """Have changes written; whether all of them are. After a failure not again before some time has passed."""
        if self._is_saved or not self._lane.is_free or time.monotonic() < self._not_before_s:
            return self._is_saved
        wanted = self._holds.pauses.all()
        deadline_s = deadline_s or self._deadline_s
        try:
            await self._lane.call(lambda: pauses.save(self.path, wanted), deadline_s)
        except (PausesUnusable, OSError, TimeoutError) as error:
            self._complain(f"pauses are not kept over a restart: {reason_of(error, self.path, deadline_s)}")
            self._not_before_s = time.monotonic() + RETRY_S
            return False
        if self._complaint:
            log.info("pauses are kept again: %s", self.path)
        self._complaint = ""
        self._is_saved = wanted == self._holds.pauses.all()
        return self._is_saved

    async def close(self, deadline_s: float) -> None:
        """A last attempt to write what has changed, for as long as an ending agent has time."""
        end_s = time.monotonic() + deadline_s
        await self._lane.wait(deadline_s)
        self._not_before_s = 0.0
        await self.flush(max(end_s - time.monotonic(), 0.05))

    def _meant(self, disk: str, probe: str) -> None:
        """Raises Unknown where a pause would hold nothing: more likely a slip than a wish."""
        asked = Pause(disk, probe, 0.0)
        pairs = self._rounds.pairs()
        if not any(asked.covers(*pair) for pair in pairs):
            disks, probes = ({pair[place]: None for pair in pairs} for place in (0, 1))  # in order, each once
            raise Unknown(f"no probe {probe} runs on a disk {disk}: disks are {some(disks)}; probes are {some(probes)}")

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.warning("%s", text)
        self._complaint = text


def some(names: Iterable[str]) -> str:
    first = list(names)[:8]
    return ", ".join(first) + (", …" if len(first) == 8 else "")


def one_line(text: str) -> str:
    """The text as it may stand in a log and in a file, whoever sent it."""
    words = " ".join(text[: 4 * LONGEST_REASON].split())[:LONGEST_REASON]
    return "".join(character if character.isprintable() else "?" for character in words)


def spell(pause: Pause) -> str:
    until = f" until {time.strftime('%F %T', time.localtime(pause.until_unix))}" if pause.until_unix else ""
    reason = f": {pause.reason}" if pause.reason else ""
    return f"probe {pause.probe} on disk {pause.disk}{until}{reason}"


def reason_of(error: Exception, path: Path, deadline_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"{path}: no answer within {deadline_s:.1f} s"
    return getattr(error, "strerror", None) or str(error)

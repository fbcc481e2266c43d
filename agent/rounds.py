"""Starts each probe on each disk at its planned times, and counts the starts that could not be."""

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from iovigil.agent import schedule
from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import DiskEntry, ProbeEntry, Skip

LONGEST_SLEEP_S: Final = 1.0


class Starter(Protocol):
    """What the rounds need of the supervisor."""

    def blocker(self, disk: DiskSettings, entry: ProbeEntry) -> Skip | None: ...
    def start(self, disk: DiskSettings, entry: ProbeEntry) -> object: ...


@dataclass(kw_only=True)
class Turn:
    """A probe's place in the plan of one disk."""

    disk: DiskSettings
    disk_entry: DiskEntry
    entry: ProbeEntry
    phase_s: float
    next_unix: float = math.inf
    due_unix: float | None = None
    """A planned start that has come and waits for its disk or for a worker."""

    def plan(self, now_unix: float) -> None:
        self.next_unix = schedule.next_start_unix(now_unix, self.entry.interval_s, self.phase_s)

    def skip(self, reason: Skip, times: int = 1) -> None:
        self.entry.skips[reason] += times


class Rounds:
    """The plan of all turns, walked through by `tick`.

    The grid is on the wall clock, so that it stands still through restarts; how much time has
    passed is told by a clock that nobody sets, so that setting the wall clock counts as nothing.
    """

    def __init__(self, starter: Starter, look: Callable[[Iterable[Turn]], Awaitable[None]]) -> None:
        self._starter = starter
        self._look = look
        self._turns: dict[tuple[str, str], Turn] = {}
        self._last_s: float | None = None

    def adopt(self, turns: Iterable[Turn], now_unix: float) -> None:
        """Go by a new plan. Where a turn's grid is the same it goes on: a start that has come is not lost."""
        known = self._turns
        self._turns = {(turn.disk.name, turn.entry.probe): turn for turn in turns}
        for key, turn in self._turns.items():
            old = known.get(key)
            # A phase is a fixed part of its interval: the same phase is the same interval.
            if old is not None and old.phase_s == turn.phase_s:
                turn.next_unix, turn.due_unix = old.next_unix, old.due_unix
            else:
                turn.plan(now_unix)

    async def tick(self, now_unix: float, now_s: float) -> None:
        """Start what is due and can be started. Raises nothing of its own."""
        passed_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        for turn in self._turns.values():
            self._come_due(turn, now_unix, passed_s)
        if not any(turn.due_unix is not None for turn in self._turns.values()):
            return
        await self._look([turn for turn in self._turns.values() if turn.due_unix is not None])
        # After the look: a reload may have come in between, and then these turns are gone.
        waiting = [turn for turn in self._turns.values() if turn.due_unix is not None]
        for turn in sorted(waiting, key=lambda turn: turn.due_unix or 0.0):
            self._try(turn)

    def sleep_s(self, now_unix: float) -> float:
        """Time until something is due, at most a second."""
        next_unix = min((turn.next_unix for turn in self._turns.values()), default=math.inf)
        return min(max(next_unix - now_unix, 0.0), LONGEST_SLEEP_S)

    def _come_due(self, turn: Turn, now_unix: float, passed_s: float) -> None:
        interval_s = turn.entry.interval_s
        if now_unix < turn.next_unix:
            if turn.next_unix - now_unix > interval_s:
                turn.plan(now_unix)  # the wall clock was set back
            return
        if turn.due_unix is not None:
            turn.skip(self._starter.blocker(turn.disk, turn.entry) or Skip.CONCURRENCY)
        later = int((now_unix - turn.next_unix) // interval_s)
        # Points that lie between are missed only if that time has passed: a clock set forward missed nothing.
        if missed := min(later, int(passed_s // interval_s)):
            turn.skip(Skip.MISSED, missed)
        turn.due_unix = turn.next_unix + later * interval_s
        turn.plan(now_unix)

    def _try(self, turn: Turn) -> None:
        if not turn.disk_entry.is_present:
            turn.skip(Skip.ABSENT)
        elif self._starter.blocker(turn.disk, turn.entry) is not None:
            return
        else:
            self._starter.start(turn.disk, turn.entry)
        turn.due_unix = None

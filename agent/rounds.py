"""Starts each probe on each disk at its planned times, and counts the starts that could not be."""

import math
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from iovigil.agent import schedule
from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import DiskEntry, ProbeEntry, Skip
from iovigil.agent.windows import ALWAYS, Windows

LONGEST_SLEEP_S: Final = 1.0
WINDOW_GRACE_S: Final = 5.0  # a tick that is late does not cost a start at the end of a window


class Starter(Protocol):
    """What the rounds need of the supervisor."""

    def blocker(self, disk: DiskSettings, entry: ProbeEntry) -> Skip | None: ...
    def start(self, disk: DiskSettings, entry: ProbeEntry, planned_s: float | None = None) -> object: ...
    def is_trial_due(self, disk: DiskSettings, entry: ProbeEntry) -> bool:
        """Whether a run of this probe is wanted, planned or not, to find out whether its disk answers again."""


class Holding(Protocol):
    """What the rounds need of what holds starts back."""

    def refusal(self, disk: str, probe: str, now_unix: float) -> Skip | None: ...
    def blocker(self) -> Skip | None: ...


class Unheld:
    """Holds nothing back."""

    def refusal(self, _disk: str, _probe: str, _now_unix: float) -> Skip | None:
        return None

    def blocker(self) -> Skip | None:
        return None


class Upcoming(NamedTuple):
    """What the plan has for one probe on one disk."""

    disk: str
    probe: str
    next_unix: float
    """The next planned start that falls into a window; infinity where none is near."""
    due_unix: float | None
    """A planned start that has come and waits."""
    last_skip: Skip | None
    last_skip_unix: float


@dataclass(kw_only=True)
class Turn:
    """A probe's place in the plan of one disk."""

    disk: DiskSettings
    disk_entry: DiskEntry
    entry: ProbeEntry
    phase_s: float
    windows: Windows = ALWAYS
    interval_s: float = field(init=False)
    """As it was when this was planned: a reload changes the entry's."""
    next_unix: float = math.inf
    due_unix: float | None = None
    """A planned start that has come and waits for its disk or for a worker."""
    due_s: float = 0.0
    """When it came, on the clock that nobody sets."""
    blocked_by: Skip | None = None
    """What it waits for."""
    is_trial: bool = False
    """Whether what is due was not planned: its disk hung, and is to be tried."""
    _next_in_window: tuple[float, float] = (math.inf, -math.inf)

    def __post_init__(self) -> None:
        self.interval_s = self.entry.interval_s

    def plan(self, now_unix: float) -> None:
        self.next_unix = schedule.next_start_unix(now_unix, self.interval_s, self.phase_s)

    def has_grid_of(self, other: "Turn") -> bool:
        return (self.phase_s, self.interval_s) == (other.phase_s, other.interval_s)

    def take_over(self, old: "Turn") -> None:
        """Go on where the same turn was in the plan before."""
        self.next_unix, self.due_unix, self.due_s, self.blocked_by, self.is_trial = (
            old.next_unix, old.due_unix, old.due_s, old.blocked_by, old.is_trial,
        )  # fmt: skip

    def skip(self, reason: Skip, now_unix: float, times: int = 1) -> None:
        self.entry.skip(reason, now_unix, times)

    def next_in_window_unix(self) -> float:
        """The first planned start from the next on that falls into a window."""
        asked_unix, answer_unix = self._next_in_window
        # Who shows the plan asks often, and far ahead the answer takes a look at many days.
        if math.isinf(answer_unix) or not asked_unix <= self.next_unix <= answer_unix:
            before_unix = math.nextafter(self.next_unix, 0)
            answer_unix = schedule.next_start_unix(before_unix, self.interval_s, self.phase_s, self.windows)
            self._next_in_window = (self.next_unix, answer_unix)
        return answer_unix


class Rounds:
    """The plan of all turns, walked through by `tick`.

    The grid is on the wall clock, so that it stands still through restarts; how much time has
    passed is told by a clock that nobody sets, so that setting the wall clock counts as nothing.
    """

    def __init__(
        self,
        starter: Starter,
        look: Callable[[Iterable[Turn]], Awaitable[None]],
        holding: Holding = Unheld(),  # noqa: B008 - has no state
    ) -> None:
        self._starter = starter
        self._look = look
        self._holding = holding
        self._turns: dict[tuple[str, str], Turn] = {}
        self._last_s: float | None = None

    def adopt(self, turns: Iterable[Turn], now_unix: float) -> None:
        """Go by a new plan. Where a turn's grid is the same it goes on: a start that has come is not lost."""
        known = self._turns
        self._turns = {(turn.disk.name, turn.entry.probe): turn for turn in turns}
        for key, turn in self._turns.items():
            old = known.get(key)
            if old is not None and turn.has_grid_of(old):
                turn.take_over(old)
            else:
                turn.plan(now_unix)

    def turn(self, disk: str, probe: str) -> Turn | None:
        return self._turns.get((disk, probe))

    def pairs(self) -> Collection[tuple[str, str]]:
        """(disk, probe) of every turn."""
        return self._turns.keys()

    def upcoming(self) -> list[Upcoming]:
        """What comes next of every turn, in the order of the configuration."""
        return [
            Upcoming(
                disk=turn.disk.name,
                probe=turn.entry.probe,
                next_unix=turn.next_in_window_unix(),
                due_unix=turn.due_unix,
                last_skip=turn.entry.last_skip,
                last_skip_unix=turn.entry.last_skip_unix,
            )
            for turn in self._turns.values()
        ]

    async def tick(self, now_unix: float, now_s: float) -> None:
        """Start what is due and can be started. Raises nothing of its own."""
        passed_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        for turn in self._turns.values():
            self._come_due(turn, now_unix, now_s, passed_s)
            if turn.due_unix is None and self._may_try(turn, now_unix):
                turn.due_unix, turn.due_s, turn.is_trial = now_unix, now_s, True
        if not any(turn.due_unix is not None for turn in self._turns.values()):
            return
        await self._look([turn for turn in self._turns.values() if turn.due_unix is not None])
        # After the look: a reload may have come in between, and then these turns are gone.
        waiting = [turn for turn in self._turns.values() if turn.due_unix is not None]
        # That of a trial first: of the probes of a disk that hung, the one whose I/O did not come back.
        trials = {id(turn): self._starter.is_trial_due(turn.disk, turn.entry) for turn in waiting}
        for turn in sorted(waiting, key=lambda turn: (not trials[id(turn)], turn.due_unix or 0.0)):
            self._try(turn, now_unix, now_s)

    def sleep_s(self, now_unix: float) -> float:
        """Time until something is due, at most a second."""
        next_unix = min((turn.next_unix for turn in self._turns.values()), default=math.inf)
        return min(max(next_unix - now_unix, 0.0), LONGEST_SLEEP_S)

    def _come_due(self, turn: Turn, now_unix: float, now_s: float, passed_s: float) -> None:
        interval_s = turn.interval_s
        if now_unix < turn.next_unix:
            if turn.next_unix - now_unix > interval_s:
                turn.plan(now_unix)  # the wall clock was set back
            return
        if turn.due_unix is not None and not turn.is_trial:
            turn.skip(self._blocker(turn) or turn.blocked_by or Skip.CONCURRENCY, now_unix)
        later = int((now_unix - turn.next_unix) // interval_s)
        due_unix = turn.next_unix + later * interval_s
        # Points that lie between are missed only if that time has passed: a clock set forward missed nothing.
        if missed := min(later, int(passed_s // interval_s)):
            self._miss(turn, due_unix - missed * interval_s, missed, now_unix)
        if turn.windows.is_open(due_unix):
            turn.due_unix = due_unix
            turn.due_s = now_s - min(now_unix - due_unix, passed_s)
        else:
            turn.due_unix = None
            turn.skip(Skip.WINDOW, now_unix)
        turn.blocked_by, turn.is_trial = None, False
        turn.plan(now_unix)

    def _may_try(self, turn: Turn, now_unix: float) -> bool:
        """Whether a trial of its disk is wanted that the plan has not, and nobody forbids."""
        return (
            self._starter.is_trial_due(turn.disk, turn.entry)
            and turn.disk_entry.is_present
            and turn.windows.is_open(now_unix)
            and self._holding.refusal(turn.disk.name, turn.entry.probe, now_unix) is None
        )

    @staticmethod
    def _miss(turn: Turn, first_unix: float, missed: int, now_unix: float) -> None:
        """Count the starts that were slept through, those outside of the windows as such."""
        outside = 0
        if not turn.windows.are_always:
            # Half an interval before the first and after the last: the edges are not on a start.
            half_s = turn.interval_s / 2
            spans = turn.windows.spans(first_unix - half_s, first_unix + (missed - 0.5) * turn.interval_s)
            outside = missed - schedule.starts_within(spans, turn.interval_s, turn.phase_s)
        for reason, times in ((Skip.WINDOW, outside), (Skip.MISSED, missed - outside)):
            if times > 0:
                turn.skip(reason, now_unix, times)

    def _blocker(self, turn: Turn) -> Skip | None:
        return self._starter.blocker(turn.disk, turn.entry) or self._holding.blocker()

    def _try(self, turn: Turn, now_unix: float, now_s: float) -> None:
        if turn.is_trial and not self._may_try(turn, now_unix):
            pass  # it was not planned, so that it is not missed
        elif (refusal := self._holding.refusal(turn.disk.name, turn.entry.probe, now_unix)) is not None:
            turn.skip(refusal, now_unix)
        elif not turn.disk_entry.is_present:
            turn.skip(Skip.ABSENT, now_unix)
        elif now_s - turn.due_s > WINDOW_GRACE_S and not turn.windows.is_open(now_unix):
            # It waited, or was slept through, until its window had closed.
            turn.skip(turn.blocked_by or Skip.MISSED, now_unix)
        elif (blocker := self._blocker(turn)) is not None:
            turn.blocked_by = blocker
            return
        else:
            self._starter.start(turn.disk, turn.entry, None if turn.is_trial else turn.due_s)
        turn.due_unix = None
        turn.blocked_by, turn.is_trial = None, False

"""What the API asks of the rest of the agent: the least that it needs, each answered from memory or aside."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from iovigil.agent.aside import Lane, Taken
from iovigil.agent.history import HistoryUnusable, Mismatched
from iovigil.agent.pauses import Pause
from iovigil.agent.run_record import RunRecord

T = TypeVar("T")

DEADLINE_S: Final = 5.0
CALLS: Final = 4
"""Most calls aside at a time: a state directory that hangs costs that many threads, and no more."""


class Control(Protocol):
    """What an operator can do to the plan, on the event loop's thread. Raises LookupError and ValueError for people."""

    def pause(self, disk: str = "*", probe: str = "*", *, until_unix: float | None = None, reason: str = "") -> object:
        """Start nothing of this any more."""

    def resume(self, disk: str = "*", probe: str = "*") -> object: ...
    def paused(self) -> Sequence[Pause]: ...
    def run_now(self, disk: str, probe: str) -> object:
        """Start a run. Raises Busy, and LookupError where there is none."""


class Upcoming(Protocol):
    """One turn of the plan."""

    @property
    def disk(self) -> str: ...
    @property
    def probe(self) -> str: ...
    @property
    def next_unix(self) -> float: ...
    @property
    def due_unix(self) -> float | None: ...
    @property
    def last_skip(self) -> str | None: ...
    @property
    def last_skip_unix(self) -> float | None: ...


class Plan(Protocol):
    """The rounds, as far as they tell what comes."""

    def upcoming(self) -> Sequence[Upcoming]: ...


class Runs(Protocol):
    """Finished runs, newest first. Raises HistoryUnusable."""

    async def latest(
        self,
        disk: str | None = None,
        probe: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
        *,
        is_failed: bool = False,
    ) -> Sequence[RunRecord]: ...
    async def run(self, id: int) -> RunRecord | None: ...  # noqa: A002 - the field's own name


class Mismatches(Protocol):
    """Blocks that failed verification, newest first. Raises HistoryUnusable."""

    async def latest(self, disk: str, limit: int, before: tuple[str, int] | None) -> Sequence[Mismatched]: ...


class BlockingRuns(Protocol):
    """A history that is read where it may block."""

    def latest(
        self,
        disk: str | None = None,
        probe: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
        *,
        is_failed: bool = False,
    ) -> Sequence[RunRecord]: ...
    def run(self, id: int) -> RunRecord | None: ...  # noqa: A002


class Aside:
    """Reads the history beside the loop, each call for as long as a reader waits."""

    def __init__(self, deadline_s: float = DEADLINE_S, calls: int = CALLS) -> None:
        self._deadline_s = deadline_s
        self._lane = Lane(calls)

    async def call(self, work: Callable[[], T]) -> T:
        """The result of that. Raises HistoryUnusable."""
        try:
            return await self._lane.call(work, self._deadline_s)
        except Taken:
            text = "the history is being read by others, and does not answer: try again later"
            raise HistoryUnusable(text) from None
        except TimeoutError:
            raise HistoryUnusable(f"the history does not answer within {self._deadline_s:g} s") from None
        except OSError as error:
            raise HistoryUnusable(f"the history cannot be read: {error.strerror or error}") from None


async def at_once() -> None:
    """Nothing waits to be written."""


class RunsAside:
    """Makes of a history that blocks one that is waited for beside the loop."""

    def __init__(self, history: BlockingRuns, beside: Aside, catch_up: Callable[[], Awaitable[None]] = at_once) -> None:
        """`catch_up` has what waits to be written put into the history."""
        self._catch_up = catch_up
        self._history = history
        self._aside = beside

    async def latest(
        self,
        disk: str | None = None,
        probe: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
        *,
        is_failed: bool = False,
    ) -> Sequence[RunRecord]:
        await self._catch_up()
        return await self._aside.call(lambda: self._history.latest(disk, probe, limit, before_id, is_failed=is_failed))

    async def run(self, id: int) -> RunRecord | None:  # noqa: A002
        return await self._aside.call(lambda: self._history.run(id))


class MismatchesAside:
    """The mismatches of a database, read beside the loop."""

    def __init__(self, read: Callable[[str, int, tuple[str, int] | None], Sequence[Mismatched]], beside: Aside) -> None:
        """`read` gets the disk (empty is all), the limit and the key of the row before; oldest first."""
        self._read = read
        self._aside = beside

    async def latest(self, disk: str, limit: int, before: tuple[str, int] | None) -> Sequence[Mismatched]:
        return (await self._aside.call(lambda: self._read(disk, limit, before)))[::-1]


class NoRuns:
    """Where there is no history."""

    async def latest(
        self,
        disk: str | None = None,  # noqa: ARG002
        probe: str | None = None,  # noqa: ARG002
        limit: int = 50,  # noqa: ARG002
        before_id: int | None = None,  # noqa: ARG002
        *,
        is_failed: bool = False,  # noqa: ARG002
    ) -> Sequence[RunRecord]:
        return ()

    async def run(self, id: int) -> RunRecord | None:  # noqa: A002, ARG002
        return None


class NoMismatches:
    """Where there is no history."""

    async def latest(self, disk: str, limit: int, before: tuple[str, int] | None) -> Sequence[Mismatched]:  # noqa: ARG002
        return ()

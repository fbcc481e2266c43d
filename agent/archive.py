"""Keeps the history beside the event loop: what is to be written waits in memory, bounded, until the disk takes it."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from iovigil.agent import history, run_table
from iovigil.agent.aside import Lane, Taken
from iovigil.agent.baseline_table import KeptBaseline
from iovigil.agent.bounds import Bounds
from iovigil.agent.history import HistoryUnusable, KeptAccount, LastMismatch, Mismatched, Runs
from iovigil.agent.run_record import RunRecord
from iovigil.agent.run_table import Numbered
from iovigil.agent.steady_clock import SteadyClock

log = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE_S: Final = 5.0
RETRY_S: Final = 60.0
WAITING: Final = 10_000
RUNS_WAITING: Final = 5000
INTERVAL_S: Final = 1.0
SUCCESSES_S: Final = 60.0
"""How long a success may wait for others: each write costs a few dozen KiB besides what is written."""
CATCH_UP_S: Final = 5.0
CATCH_UP_DEADLINE_S: Final = 2.0
LOOK_OVER_S: Final = 600.0


class Archive:
    """The one writer of a history. What goes wrong with it is said once, and never fatal."""

    def __init__(self, path: Path, *, deadline_s: float = DEADLINE_S, retry_s: float = RETRY_S) -> None:
        self.path = path
        self.bounds = Bounds()
        self.clock = SteadyClock()
        self._deadline_s = deadline_s
        self._retry_s = retry_s
        self._found: list[Mismatched] = []
        self._last: dict[tuple[str, str], LastMismatch] = {}
        self._runs: list[Numbered] = []
        self._runs_due_s = 0.0
        self._number = 0
        self._agent = secrets.token_hex(8)
        self._accounts: Sequence[KeptAccount] = ()
        self._must_forget = False
        self._baselines: dict[tuple[str, ...], KeptBaseline] = {}
        self._lost = 0
        self._lost_runs = 0
        self._not_before_s = 0.0
        self._caught_up_s = -CATCH_UP_S
        self._complaint = ""
        self._lane = Lane()

    async def load(self) -> list[LastMismatch]:
        """What is known from before; nothing where that cannot be told in time."""
        try:
            last, warning = await self._aside(lambda: history.load(self.path), self._deadline_s)
        except HistoryUnusable as problem:
            self._complain(str(problem))
            return []
        if warning:
            log.warning("%s", warning)
        return last

    def add(self, found: Iterable[Mismatched], last: LastMismatch) -> None:
        """Have these written soon."""
        self._found += found
        self._last[last.disk, last.probe] = last
        if (surplus := len(self._found) - WAITING) > 0:
            del self._found[:surplus]
            self._lost += surplus

    def add_run(self, record: RunRecord) -> None:
        """Have this run written: a failure soon, a success with others."""
        self._number += 1
        due_s = time.monotonic() + (SUCCESSES_S if record.is_success else 0.0)
        self._runs_due_s = min(self._runs_due_s, due_s) if self._runs else due_s
        self._runs.append(run_table.numbered(self._number, record))
        if len(self._runs) > RUNS_WAITING:
            # A failure says more: of successes the first goes, as long as there is one.
            place = next((place for place, run in enumerate(self._runs) if run.is_success), 0)
            del self._runs[place]
            self._lost_runs += 1

    def keep(self, baselines: Iterable[KeptBaseline]) -> None:
        """Have these written with the next runs, in place of what is there."""
        self._baselines |= {row[:4]: row for row in baselines}

    @property
    def is_written(self) -> bool:
        return not (self._last or self._runs or self._accounts or self._baselines or self._must_forget)

    @property
    def _is_due(self) -> bool:
        return bool(self._last or self._accounts or self._must_forget) or bool(
            self._runs and time.monotonic() >= self._runs_due_s
        )

    async def accounts(self) -> list[KeptAccount]:
        """The accounts that the last agent has left; none where that cannot be told in time."""
        try:
            return await self._aside(lambda: history.accounts(self.path), self._deadline_s)
        except HistoryUnusable as problem:
            self._complain(f"{problem}; counters begin at 0")
            return []

    async def forget_accounts(self) -> bool:
        """Have them kept here no more; False where that has to be tried again later."""
        try:
            await self._aside(lambda: history.forget_accounts(self.path), self._deadline_s)
        except HistoryUnusable as problem:
            self._complain(str(problem))
            self._must_forget = True
            self._put_off()
        return not self._must_forget

    async def baselines_of(self, disk: str, probe: str) -> list[KeptBaseline] | None:
        """What was kept of this probe, the latest first; None where that cannot be told in time."""
        waiting = {key: row for key, row in self._baselines.items() if key[:2] == (disk, probe)}
        rows = await self._read(lambda: history.baselines_of(self.path, disk, probe))
        if rows is None:
            return None
        newest = {row[:4]: row for row in rows} | waiting
        return sorted(newest.values(), key=lambda row: row.kept_unix, reverse=True)

    async def latest_baselines(self, probes: Container[tuple[str, str]]) -> list[KeptBaseline] | None:
        """The last ones of each operation of these, by disk and probe; None where that cannot be told in time."""
        return await self._read(lambda: history.latest_baselines(self.path, probes))

    async def _read(self, work: Callable[[], T]) -> T | None:
        if not self._lane.is_free:
            return None
        try:
            return await self._aside(work, self._deadline_s)
        except HistoryUnusable as problem:
            self._complain(str(problem))
            return None

    async def look_over(self) -> None:
        """Look for damage; what is to be written waits meanwhile."""
        try:
            warning = await self._aside(lambda: history.look_over(self.path), LOOK_OVER_S)
        except HistoryUnusable as problem:
            self._complain(str(problem))
            return
        if warning:
            log.warning("%s", warning)

    async def run(self) -> None:
        """Write what is added, until cancelled."""
        await self.look_over()
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.flush()
            except Exception:  # the outermost loop of this task
                log.exception("writing the history failed: please report")
                self._put_off()

    async def flush(self, deadline_s: float | None = None) -> None:
        """Write what waits; after a failure not again before some time has passed."""
        if self._is_due and time.monotonic() >= self._not_before_s:
            await self._write(deadline_s or self._deadline_s)

    async def catch_up(self) -> None:
        """Write the runs that wait, for somebody who wants to see them; not each time anew."""
        if self._runs and time.monotonic() >= max(self._not_before_s, self._caught_up_s + CATCH_UP_S):
            self._caught_up_s = time.monotonic()
            await self._write(CATCH_UP_DEADLINE_S)

    async def _write(self, deadline_s: float) -> None:
        if self.is_written or not self._lane.is_free:
            return
        found, last, accounts = tuple(self._found), dict(self._last), self._accounts
        baselines = dict(self._baselines)
        runs = Runs(self._agent, tuple(self._runs), self.bounds, self.clock.now_unix())
        try:
            warning = await self._aside(
                lambda: history.write(self.path, found, last.values(), runs, accounts, tuple(baselines.values())),
                deadline_s,
            )
        except HistoryUnusable as problem:
            self._complain(f"{problem}; what is to be kept waits in memory, and is tried again")
            self._put_off()
            return
        if warning:
            log.warning("%s", warning)
        written = {(each.run, each.number) for each in found}
        self._found = [each for each in self._found if (each.run, each.number) not in written]
        self._last = {key: each for key, each in self._last.items() if last.get(key) is not each}
        self._baselines = {key: each for key, each in self._baselines.items() if baselines.get(key) is not each}
        self._forget_runs(runs.runs)
        self._accounts, self._must_forget = (), False
        if self._complaint:
            counts = {"mismatches": self._lost, "runs": self._lost_runs}
            lost = "".join(f"; {number} {what} were lost to it" for what, number in counts.items() if number)
            log.info("history %s is written again%s", self.path, lost)
        self._complaint, self._lost, self._lost_runs = "", 0, 0

    def _forget_runs(self, written: Sequence[Numbered]) -> None:
        last = max((run.number for run in written), default=0)
        self._runs = [run for run in self._runs if run.number > last]
        # What came meanwhile may be a failure.
        self._runs_due_s = 0.0 if any(not run.is_success for run in self._runs) else time.monotonic() + SUCCESSES_S

    async def close(self, deadline_s: float, accounts: Sequence[KeptAccount] = ()) -> None:
        """A last attempt to write what waits, and the accounts, for as long as an ending agent has time."""
        self._accounts = accounts
        end_s = time.monotonic() + deadline_s
        await self._lane.wait(deadline_s)
        await self._write(max(end_s - time.monotonic(), 0.05))

    async def _aside(self, work: Callable[[], T], deadline_s: float) -> T:
        """Call that beside the loop, one call at a time. Raises HistoryUnusable."""
        try:
            return await self._lane.call(work, deadline_s)
        except Taken:
            raise HistoryUnusable(f"history {self.path} has not answered before") from None
        except TimeoutError:
            raise HistoryUnusable(f"history {self.path} does not answer within {deadline_s:.1f} s") from None
        except OSError as error:
            raise HistoryUnusable(f"history {self.path}: {error.strerror or error}") from None

    def _put_off(self) -> None:
        self._not_before_s = time.monotonic() + self._retry_s

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.warning("%s", text)
        self._complaint = text

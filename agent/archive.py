"""Keeps the history beside the event loop: what is to be written waits in memory, bounded, until the disk takes it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from iovigil.agent import aside, history
from iovigil.agent.history import HistoryUnusable, LastMismatch, Mismatched

log = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE_S: Final = 5.0
RETRY_S: Final = 60.0
WAITING: Final = 10_000
INTERVAL_S: Final = 1.0


class Archive:
    """The one writer of a history. What goes wrong with it is said once, and never fatal."""

    def __init__(self, path: Path, *, deadline_s: float = DEADLINE_S, retry_s: float = RETRY_S) -> None:
        self.path = path
        self._deadline_s = deadline_s
        self._retry_s = retry_s
        self._found: list[Mismatched] = []
        self._last: dict[tuple[str, str], LastMismatch] = {}
        self._lost = 0
        self._not_before_s = 0.0
        self._complaint = ""
        self._is_busy = False

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

    @property
    def is_written(self) -> bool:
        return not self._last

    async def run(self) -> None:
        """Write what is added, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.flush()
            except Exception:  # the outermost loop of this task
                log.exception("writing the history failed: please report")
                self._put_off()

    async def flush(self, deadline_s: float | None = None) -> None:
        """Write what waits; after a failure not again before some time has passed."""
        if self.is_written or self._is_busy or time.monotonic() < self._not_before_s:
            return
        found, last = tuple(self._found), dict(self._last)
        try:
            warning = await self._aside(
                lambda: history.write(self.path, found, last.values()), deadline_s or self._deadline_s
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
        if self._complaint:
            lost = f"; {self._lost} mismatches were lost to it" if self._lost else ""
            log.info("history %s is written again%s", self.path, lost)
        self._complaint, self._lost = "", 0

    async def close(self, deadline_s: float) -> None:
        """A last attempt to write what waits, for as long as an ending agent has time."""
        end_s = time.monotonic() + deadline_s
        while self._is_busy and time.monotonic() < end_s:
            await asyncio.sleep(0.02)
        self._not_before_s = 0.0
        await self.flush(max(end_s - time.monotonic(), 0.05))

    async def _aside(self, work: Callable[[], T], deadline_s: float) -> T:
        """Call that beside the loop, one call at a time. Raises HistoryUnusable."""

        def function() -> T:
            try:
                return work()
            finally:
                self._is_busy = False

        self._is_busy = True
        try:
            return await aside.call(function, deadline_s)
        except TimeoutError:
            raise HistoryUnusable(f"history {self.path} does not answer within {deadline_s:.1f} s") from None
        except OSError as error:
            self._is_busy = False
            raise HistoryUnusable(f"history {self.path}: {error.strerror or error}") from None

    def _put_off(self) -> None:
        self._not_before_s = time.monotonic() + self._retry_s

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.warning("%s", text)
        self._complaint = text

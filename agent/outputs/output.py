"""What every way out has in common: it is gone again and again; a failure is told when it begins and when it ends."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from typing import Final

from iovigil.agent.aside import Lane
from iovigil.agent.output_account import OutputAccount

LEAST_GAP_S: Final = 0.5

log = logging.getLogger(__name__)


class Failed(Exception):
    """Nothing got out; the text says why, and what to do."""


class Output(ABC):
    """One way out. What may hang goes through the lane: one call at a time, each with its deadline."""

    def __init__(self, name: str, every_s: float) -> None:
        """`name` says in the log what goes where."""
        self.name = name
        self.lane = Lane()
        self._every_s = every_s
        self._complaint = ""

    @abstractmethod
    def account(self) -> OutputAccount: ...

    @abstractmethod
    async def put(self) -> None:
        """Let out what is known now. Raises Failed."""

    @abstractmethod
    async def close(self, deadline_s: float) -> None:
        """Say good-bye, for as long as an ending agent has time; `run` has been cancelled before."""

    async def run(self) -> None:
        """Go this way again and again, until cancelled."""
        while True:
            begun_s = time.monotonic()
            await self.attempt()
            await asyncio.sleep(max(begun_s + self.pause_s() - time.monotonic(), LEAST_GAP_S))

    def pause_s(self) -> float:
        """From the beginning of one attempt to that of the next."""
        return self._every_s

    async def attempt(self) -> bool:
        """Go once, and book how it went."""
        complaint = ""
        try:
            await self.put()
        except Failed as failed:
            complaint = str(failed)
        except Exception:  # the outermost loop of this task; the probes go on without it
            log.exception("%s failed: please report", self.name)
            complaint = "an error in the agent"
        self.account().book(is_success=not complaint, now_unix=time.time())
        self._tell(complaint)
        return not complaint

    def _tell(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            log.warning("%s: %s", self.name, complaint)
        elif self._complaint and not complaint:
            log.info("%s: works again", self.name)
        self._complaint = complaint

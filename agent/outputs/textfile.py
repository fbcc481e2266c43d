"""A file for node_exporter's textfile collector: what a scrape would be told, for hosts where only that is scraped."""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from iovigil.agent import atomic_file, metrics
from iovigil.agent.aside import Taken
from iovigil.agent.config import TextfileSettings
from iovigil.agent.ledger import Ledger
from iovigil.agent.output_account import OutputAccount
from iovigil.agent.outputs.output import Failed, Output

NAME: Final = "iovigil.prom"
MODE: Final = 0o644  # node_exporter runs as another user
DEADLINE_S: Final = 10.0
CLASSIC: Final = "text/plain"

Render = Callable[[Ledger, str], tuple[bytes, str]]
"""From an Accept header, as `metrics.render`."""


class Textfile(Output):
    """Replaced as a whole, and removed when the agent ends: a file that stays shows its last values for ever."""

    def __init__(
        self,
        settings: TextfileSettings,
        shown: Callable[[], Ledger],
        render: Render = metrics.render,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """`shown` gives the ledger that a scrape is answered from, `render` the body that it gets."""
        super().__init__(f"textfile {settings.directory}/{NAME}", settings.every_s)
        self.path = Path(settings.directory) / NAME
        self._shown = shown
        self._render = render
        self._deadline_s = deadline_s
        self._is_over = False

    def account(self) -> OutputAccount:
        return self._shown().textfile

    async def put(self) -> None:
        if not self.lane.is_free:
            raise Failed("the directory does not answer: an earlier write has not come back")
        ledger = self._shown()
        ledger = dataclasses.replace(ledger, textfile=ledger.textfile.succeeding(time.time()))
        content, _ = self._render(ledger, CLASSIC)
        await self._call(lambda: self._replace(content), self._deadline_s)

    def _replace(self, content: bytes) -> None:
        atomic_file.replace(self.path, content, mode=MODE, must_last=False)
        if self._is_over:  # it hung for as long as the agent, or its configuration, waited for it
            self.path.unlink(missing_ok=True)

    async def close(self, deadline_s: float) -> None:
        self._is_over = True
        end_s = time.monotonic() + deadline_s
        if not await self.lane.wait(deadline_s):
            self._tell("the directory does not answer: the last file is left there")
            return
        try:
            await self._call(lambda: self.path.unlink(missing_ok=True), max(end_s - time.monotonic(), 0.05))
        except Failed as failed:
            self._tell(f"the last file is left there: {failed}")

    async def _call(self, work: Callable[[], None], deadline_s: float) -> None:
        try:
            await self.lane.call(work, deadline_s)
        except Taken:
            raise Failed("the directory does not answer: an earlier write has not come back") from None
        except TimeoutError:
            raise Failed(f"the directory does not answer within {deadline_s:g} s") from None
        except OSError as error:
            raise Failed(self._reason_of(error)) from None

    def _reason_of(self, error: OSError) -> str:
        reason = os.strerror(error.errno) if error.errno else str(error)
        match error:
            case FileNotFoundError():
                return f"there is no directory {self.path.parent}: make it, or change agent.textfile.directory"
            case PermissionError():
                return f"{reason}: the agent's user has to be able to write to {self.path.parent}"
        return reason

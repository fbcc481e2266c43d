"""What holds planned starts back on the whole host: pauses, a blackout, I/O pressure."""

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Final

from iovigil.agent import pressure
from iovigil.agent.aside import Lane
from iovigil.agent.config import AgentSettings
from iovigil.agent.ledger import Ledger, Skip
from iovigil.agent.pauses import Pauses
from iovigil.agent.pressure import BackOff, PressureUnknown, Reading

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
WHAT: Final = "blackout file and I/O pressure"
INTERVAL_S: Final = 2.0  # the kernel's averages move as often


class Holds:
    """Looks beside the loop, and answers from what it saw last: a file may be on a disk that hangs."""

    def __init__(self, settings: AgentSettings, pauses: Pauses, *, root: str = "/", look_s: float = LOOK_S) -> None:
        self.pauses = pauses
        self.is_blackout = False
        self._settings = settings
        self._back_off = BackOff(settings.pressure)
        self._root = root
        self._look_s = look_s
        self._lane = Lane()
        self._was_backing_off = False
        self._complaint = ""
        self._marked: Ledger | None = None
        self._marked_changes = 0

    def adopt(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._back_off.adopt(settings.pressure)
        if not settings.blackout_file:
            self.is_blackout = False

    @property
    def is_backing_off(self) -> bool:
        return self._back_off.is_active(time.monotonic())

    def refusal(self, disk: str, probe: str, now_unix: float) -> Skip | None:
        """Why a start of this probe must not take place, whoever asks for it; None when it may."""
        if self.is_blackout:
            return Skip.BLACKOUT
        return Skip.PAUSED if self.pauses.of(disk, probe, now_unix) else None

    def blocker(self) -> Skip | None:
        """Why a planned start has to wait; None when it need not."""
        return Skip.PRESSURE if self.is_backing_off else None

    def mark(self, ledger: Ledger, now_unix: float) -> None:
        """Put on the books what holds."""
        ledger.is_blackout = self.is_blackout
        ledger.is_backing_off = self.is_backing_off
        if self._marked is ledger and self._marked_changes == self.pauses.changes:
            return
        self._marked, self._marked_changes = ledger, self.pauses.changes
        for entry in ledger.probes.values():
            entry.is_paused = self.pauses.of(entry.disk, entry.probe, now_unix) is not None

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.look()
            except Exception:  # the outermost loop of this task; the probes go on without it
                log.exception("looking for pressure and blackout failed: please report")

    async def look(self) -> None:
        """See whether there is a blackout, and how high the pressure is; what is not told in time stays as it was."""
        settings = self._settings
        if not self._lane.is_free or not (settings.blackout_file or settings.pressure):
            return
        try:
            is_blackout, reading, complaint = await self._lane.call(lambda: self._look(settings), self._look_s)
        except TimeoutError:
            self._complain(f"{WHAT}: no answer within {self._look_s:g} s; taken to be as they were")
            return
        except OSError as error:
            self._complain(f"{WHAT}: {error.strerror or error}; taken to be as they were")
            return
        self._complain(complaint)
        if settings is not self._settings:
            return  # another configuration has come in between
        if is_blackout is not None:
            self._note_blackout(is_blackout)
        if reading is not None:
            self._back_off.note(reading, time.monotonic())
        self._report_pressure(reading)

    def _look(self, settings: AgentSettings) -> tuple[bool | None, Reading | None, str]:
        is_blackout, reading, complaints = None, None, []
        if settings.blackout_file:
            try:
                is_blackout = False
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    # A link counts, wherever it points to: it is the file that was put there.
                    os.lstat(Path(self._root, settings.blackout_file.lstrip("/")))
                    is_blackout = True
            except OSError as error:
                is_blackout = None
                complaints.append(
                    f"agent.blackout_file {settings.blackout_file}: {error.strerror}; taken to be as it was"
                )
        if settings.pressure:
            try:
                reading = pressure.read(pressure.sources(settings.pressure, self._root))
            except PressureUnknown as error:
                reading = Reading()  # who cannot be asked holds nothing back
                complaints.append(f"agent.pressure: {error}; starts do not wait")
        return is_blackout, reading, "; ".join(complaints)

    def _note_blackout(self, is_blackout: bool) -> None:
        if is_blackout != self.is_blackout:
            if is_blackout:
                log.warning("blackout: nothing starts while %s exists", self._settings.blackout_file)
            else:
                log.info("blackout is over: %s is gone", self._settings.blackout_file)
        self.is_blackout = is_blackout

    def _report_pressure(self, reading: Reading | None) -> None:
        is_backing_off = self.is_backing_off
        if is_backing_off != self._was_backing_off and reading is not None:
            text = "the host waits for I/O (some %.0f %%, full %.0f %% of 10 s): %s"
            what = "starts wait" if is_backing_off else "starts are let through again"
            log.log(logging.WARNING if is_backing_off else logging.INFO, text, reading.some, reading.full, what)
        self._was_backing_off = is_backing_off

    def _complain(self, text: str) -> None:
        if text and text != self._complaint:
            log.warning("%s", text)
        self._complaint = text

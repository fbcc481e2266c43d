"""Keeps at most one child per disk: starts runs, books their results, quarantines a disk whose child is stuck."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Container
from pathlib import Path

from iovigil.agent.cgroups import Cgroups
from iovigil.agent.config import DiskSettings
from iovigil.agent.handover import Handover
from iovigil.agent.ledger import Ledger, ProbeEntry, RunResult, Skip
from iovigil.agent.run import Patience, Run, Spawn, Tools, new_page
from iovigil.agent.worker import LAUNCHER, Worker
from iovigil.engines.clock import Clock
from iovigil.engines.stats import StatsPage

log = logging.getLogger(__name__)

LABEL_MOST = 48  # characters of a disk's serial number or WWN by which it is known
STOP_KILL_S = 1.0  # systemd waits for the whole agent: less than for one run


class Busy(Exception):
    """A run cannot start now; `skip` says why."""

    def __init__(self, skip: Skip) -> None:
        super().__init__(skip.value)
        self.skip = skip


class Supervisor:
    """Owns every child process of the agent.

    Used on the event loop's thread only, so that no state here needs a lock.
    """

    def __init__(
        self,
        ledger: Ledger,
        max_workers: int,
        clock: Clock | None = None,
        *,
        launcher: Path = LAUNCHER,
        patience: Patience = Patience(),  # noqa: B008 - immutable
        spawn: Spawn = Worker.spawn,
        dump_directory: str = "",
        state_directory: str = "",
        create_page: Callable[[ProbeEntry, str], StatsPage] = new_page,
        cgroups: Cgroups | None = None,
    ) -> None:
        self.ledger = ledger
        self.max_workers = max_workers
        self.max_workers_per_controller = 0
        """Of one host adapter or NVMe controller, where it is known; 0 is no bound."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when a disk or a worker has become free."""
        self.on_look: Callable[[Run], None] = lambda _: None
        """Called with each run at every look, and once more when it has ended, before it is on the books."""
        self.on_result: Callable[[Run, RunResult], None] = lambda _run, _result: None
        """Called with each run that is on the books."""
        self._tools = Tools(
            clock=clock or Clock(),
            launcher=launcher,
            patience=patience,
            spawn=spawn,
            create_page=create_page,
            cgroups=cgroups or Cgroups(),
            dump_directory=dump_directory,
            state_directory=state_directory,
        )
        self._running: set[Run] = set()
        self._abandoned: set[Run] = set()
        self._tasks: set[asyncio.Task[RunResult]] = set()
        self._handover = Handover()
        self._is_stopping = False

    def blocker(self, disk: DiskSettings, entry: ProbeEntry) -> Skip | None:
        """Why a run of this probe cannot start on this disk now; None when it can."""
        device = self._device_of(disk)
        if any(run.holds(disk.path, device) for run in self._abandoned):
            return Skip.STUCK
        for run in self._running:
            if run.holds(disk.path, device):
                return Skip.OVERLAP if run.entry is entry else Skip.CONCURRENCY
        is_full = len(self._running) >= self.max_workers or self._is_controller_full(disk)
        return Skip.CONCURRENCY if self._is_stopping or is_full else None

    async def run(
        self,
        disk: DiskSettings,
        entry: ProbeEntry,
        on_start: Callable[[StatsPage], None] | None = None,
        *,
        fallback: bool = True,
        is_probe_file: bool = True,
        on_messages: Callable[[tuple[str, ...]], None] | None = None,
    ) -> RunResult:
        """One run from order to result, on the books when this returns. Raises Busy.

        `on_start` is called with the stats page of each child of the run: a second one when the
        I/O engine had to be changed. `on_messages` gets what the child said to people.
        """
        run = self._take(disk, entry, on_start, is_probe_file)
        return await self._conduct(run, fallback, on_messages)

    def start(self, disk: DiskSettings, entry: ProbeEntry, planned_s: float | None = None) -> asyncio.Task[RunResult]:
        """Begin a run beside the caller; the disk is taken when this returns. Raises Busy.

        `planned_s` is when it was to start, on CLOCK_BOOTTIME; None is a run outside of the plan.
        """
        run = self._take(disk, entry, self._delay_since(planned_s), is_probe_file=True)
        task = asyncio.get_running_loop().create_task(self._conduct(run, fallback=True), name=run.name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def look(self) -> None:
        """Have every run under way looked at."""
        for run in self._running:
            self.on_look(run)

    def request_stop(self, probes: Container[tuple[str, str]]) -> None:
        """End the runs of these (disk, probe) pairs early, each in its own time."""
        for run in self._running:
            if (run.entry.disk, run.entry.probe) in probes:
                run.request_stop()

    def kill(self, probes: Container[tuple[str, str]]) -> None:
        """End the runs of these (disk, probe) pairs now, with SIGKILL."""
        for run in self._running:
            if (run.entry.disk, run.entry.probe) in probes:
                run.kill()

    async def stop(self) -> None:
        """End all runs, gracefully while there is time, then with SIGKILL. Nothing starts any more."""
        self._is_stopping = True
        for run in self._running:
            run.request_stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._tools.patience.stop_s + STOP_KILL_S)
        for run in [*self._running, *self._abandoned]:
            run.kill()

    def adopt(self, ledger: Ledger) -> None:
        """Continue on new books, with what is known of children still there."""
        self.ledger = ledger
        self._handover.retain(ledger.disks)
        self._count()

    def _take(
        self,
        disk: DiskSettings,
        entry: ProbeEntry,
        on_start: Callable[[StatsPage], None] | None,
        is_probe_file: bool,
    ) -> Run:
        if (skip := self.blocker(disk, entry)) is not None:
            raise Busy(skip)
        write_log = self._handover.log_for(disk, entry)
        run = Run(
            disk,
            entry,
            self._tools,
            is_probe_file=is_probe_file,
            write_log=write_log,
            on_start=on_start,
            identity=self._identity_of(disk),
        )
        run.device = self._device_of(disk)
        self._running.add(run)
        self._count()
        return run

    async def _conduct(
        self, run: Run, fallback: bool, on_messages: Callable[[tuple[str, ...]], None] | None = None
    ) -> RunResult:
        try:
            result = await run.execute(fallback=fallback)
            if run.was_asleep:
                run.entry.skip(Skip.STANDBY, time.time())
                log.debug("%s on %s: %s", result.probe, result.disk, result.message, extra=run.fields)
                return result
            self.on_look(run)
            run.entry.finish(result)
            self._handover.finish(result)
            self.on_result(run, result)
        finally:
            self._release(run)
        if on_messages is not None:
            on_messages(run.messages)
        self._report(run, result)
        return result

    def _release(self, run: Run) -> None:
        self._running.remove(run)
        run.entry.live = None
        if run.is_abandoned:
            self._abandoned.add(run)
            run.entry.stuck = run.page
            run.on_return = lambda: self._return(run)
        self._count()
        self.on_end()

    def _return(self, run: Run) -> None:
        """The child of an abandoned run has gone after all: its disk can be used again."""
        self._abandoned.remove(run)
        run.entry.stuck = None
        self._count()
        log.warning("disk %s is free again: its abandoned child has ended", run.disk.name, extra=run.fields)
        self.on_end()

    def _count(self) -> None:
        self.ledger.workers_running = len(self._running)
        self.ledger.workers_abandoned = len(self._abandoned)
        for disk in self.ledger.disks.values():
            device = disk.identity.get("device", "")
            disk.is_stuck = any(run.holds(disk.path, device) for run in self._abandoned)

    def _delay_since(self, planned_s: float | None) -> Callable[[StatsPage], None] | None:
        """What books, at the first child of a run, how late it is."""
        planned = [] if planned_s is None else [planned_s]

        def note(_page: StatsPage) -> None:
            while planned:  # another I/O engine's child is no second start
                self.ledger.start_delays.note(time.clock_gettime(time.CLOCK_BOOTTIME) - planned.pop())

        return note

    def _is_controller_full(self, disk: DiskSettings) -> bool:
        controller = self._controller_of(disk)
        if not controller or not self.max_workers_per_controller:
            return False
        # Without those abandoned: a disk that hangs must not stop the probes of its neighbours.
        taken = sum(self._controller_of(run.disk) == controller for run in self._running)
        return taken >= self.max_workers_per_controller

    def _controller_of(self, disk: DiskSettings) -> str:
        """The host adapter or NVMe controller that a disk is behind; empty where it is not known."""
        entry = self.ledger.disks.get(disk.name)
        return entry.identity.get("controller", "") if entry is not None and entry.path == disk.path else ""

    def _device_of(self, disk: DiskSettings) -> str:
        """The device behind a disk, as far as the agent has seen it; empty where there is none to name."""
        entry = self.ledger.disks.get(disk.name)
        return entry.identity.get("device", "") if entry is not None and entry.path == disk.path else ""

    def _identity_of(self, disk: DiskSettings) -> str:
        """What the disk says of itself; empty where it says nothing, or has not been seen."""
        entry = self.ledger.disks.get(disk.name)
        labels = entry.identity if entry is not None and entry.path == disk.path else {}
        return "\n".join(f"{label}={labels[label][:LABEL_MOST]}" for label in ("serial", "wwn") if labels.get(label))

    def _forget(self, task: asyncio.Task[RunResult]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                log.error("a run ended in an internal error: please report", exc_info=error)

    def _report(self, run: Run, result: RunResult) -> None:
        for message in run.messages:
            if not message.startswith("error:"):  # that one is the result's own message
                level = logging.WARNING if message.startswith("warning:") else logging.INFO
                log.log(level, "%s on %s: %s", result.probe, result.disk, message, extra=run.fields)
        if result.failure is not None:
            level = logging.ERROR if run.is_abandoned else logging.WARNING
            text = "%s on %s failed (%s): %s"
            log.log(level, text, result.probe, result.disk, result.failure, result.message, extra=run.fields)
        else:
            ended = "stopped after" if run.is_cut_short else "done in"
            log.info("%s on %s: %s %.1f s", result.probe, result.disk, ended, result.duration_s, extra=run.fields)

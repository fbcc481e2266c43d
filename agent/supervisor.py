"""Keeps at most one child per disk: starts runs, books their results, leaves disks alone that hang."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Container, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from iovigil.agent.cgroups import Cgroups
from iovigil.agent.config import DiskSettings
from iovigil.agent.disks.identity import DISKSEQ, key_of
from iovigil.agent.handover import Handover
from iovigil.agent.journal import fields
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry, RunResult, Skip
from iovigil.agent.leftover import LeftOver
from iovigil.agent.quarantine import Medium
from iovigil.agent.run import HANG_S, STUCK_S, Patience, Run, Spawn, Tools, new_page
from iovigil.agent.worker import LAUNCHER, Worker
from iovigil.engines.clock import Clock
from iovigil.engines.stats import StatsPage

log = logging.getLogger(__name__)

BEGIN_ID = "b7c5e4d21f0a4f0f9a3c6a8e51d27b64"
"""MESSAGE_ID of the line that begins a quarantine: `journalctl MESSAGE_ID=...` finds each."""
END_ID = "0f6e2c9b7d3841d8a1c5f4b09e8376aa"

LABEL_MOST = 48  # characters of a disk's serial number or WWN by which it is known
STOP_KILL_S = 1.0  # systemd waits for the whole agent: less than for one run


class Busy(Exception):
    """A run cannot start now; `skip` says why, the text says it to people."""

    def __init__(self, skip: Skip, text: str = "") -> None:
        super().__init__(text or skip.value)
        self.skip = skip


class Holder(Protocol):
    """A child that does not end: of a run that was abandoned, or of an agent before this one."""

    @property
    def pid(self) -> int: ...
    @property
    def entry(self) -> ProbeEntry: ...
    @property
    def page(self) -> StatsPage: ...
    def holds(self, medium: Medium) -> bool: ...


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
        self._abandoned: set[Holder] = set()
        self._is_marked = False
        self._tasks: set[asyncio.Task[RunResult]] = set()
        self._handover = Handover()
        self._is_stopping = False

    def blocker(self, disk: DiskSettings, entry: ProbeEntry) -> Skip | None:
        """Why a run of this probe cannot start on this disk now; None when it can."""
        medium = self._medium_of(disk)
        if self._holder_of(medium) is not None:
            return Skip.STUCK
        for run in self._running:
            if run.holds(medium):
                return Skip.OVERLAP if run.entry is entry else Skip.CONCURRENCY
        case = self.ledger.quarantines.on(medium)
        if case is not None and not case.is_over(now_s()):
            return Skip.QUARANTINED
        # Without those that hang: what waits for one disk must not keep the others waiting.
        taken = sum(not run.is_hanging for run in self._running)
        is_full = taken >= self.max_workers or self._is_controller_full(disk)
        return Skip.CONCURRENCY if self._is_stopping or is_full else None

    def is_trial_due(self, disk: DiskSettings, entry: ProbeEntry) -> bool:
        """Whether this probe is the one to find out whether its disk answers again."""
        if not self.ledger.quarantines:
            return False
        medium = self._medium_of(disk)
        case = self.ledger.quarantines.on(medium)
        if case is None or not case.is_over(now_s()):
            return False
        if self._holder_of(medium) is not None or any(run.holds(medium) for run in self._running):
            return False
        names = [each.name for each in self.ledger.disks.values() if each.place == case.place]
        is_known = any((name, case.probe) in self.ledger.probes for name in names)
        return not is_known or (disk.place == case.place and entry.probe == case.probe)

    def release(self, disk: str = "*") -> tuple[list[str], list[str]]:
        """End the back-off of the disks of this name or pattern: the next run is the trial, and is due at once.

        Returns the names of those disks, and why others cannot be released.
        """
        released, held = [], []
        for entry in self.ledger.disks.values():
            if not fnmatchcase(entry.name, disk):
                continue
            medium = medium_of(entry)
            if (holder := self._holder_of(medium)) is not None:
                held.append(described(entry.name, holder))
            elif self.ledger.quarantines.end_back_off(medium, now_s()) is not None:
                released.append(entry.name)
        self._count()
        if released:
            self.on_end()
        return released, held

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
        """Have every run under way looked at, and what hangs marked."""
        for run in self._running:
            run.look()
            self.on_look(run)
            if run.is_trial and run.is_flowing:
                self._recover(run)
        self._see_left_over()
        self._see_media()
        if self._is_marked or self._is_anything_hung():
            self._count()

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
        for run in self._running:
            # The agent that comes next must not begin with another child there.
            if hung_s := run.hung_s:
                run.was_given_up = True
                self._put_away(run, hung_s)
            run.kill()
        for holder in self._abandoned:
            if isinstance(holder, Run):
                holder.kill()

    def adopt(self, ledger: Ledger) -> None:
        """Continue on new books, with what is known of children still there."""
        self.ledger = ledger
        self._handover.retain(ledger.disks)
        ledger.quarantines.retain({disk.place for disk in ledger.disks.values()})
        self._count()

    def take_over(self, left: Sequence[LeftOver]) -> None:
        """Leave alone the disks that children of a former agent still wait for."""
        loop = asyncio.get_running_loop()
        for child in left:
            name = child.entry.disk
            if name in self.ledger.disks:  # a reload may have come meanwhile
                child.medium = medium_of(self.ledger.disks[name])
            self._abandoned.add(child)
            child.entry.stuck = child.page
            child.watch(loop, self._return)
            log.warning("%s", described(name, child), extra=fields(disk=name, probe=child.entry.probe))
        self._see_left_over()
        self._count()

    def _take(
        self,
        disk: DiskSettings,
        entry: ProbeEntry,
        on_start: Callable[[StatsPage], None] | None,
        is_probe_file: bool,
    ) -> Run:
        if (skip := self.blocker(disk, entry)) is not None:
            raise Busy(skip, self.explain(disk, skip))
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
        run.medium = self._medium_of(disk)
        run.is_trial = self.ledger.quarantines.on(run.medium) is not None
        self._running.add(run)
        self._count()
        return run

    async def _conduct(
        self, run: Run, fallback: bool, on_messages: Callable[[tuple[str, ...]], None] | None = None
    ) -> RunResult:
        try:
            result = await run.execute(fallback=fallback)
            if run.was_asleep:
                self.ledger.quarantines.postpone(run.medium, now_s())
                run.entry.skip(Skip.STANDBY, time.time())
                log.debug("%s on %s: %s", result.probe, result.disk, result.message, extra=run.fields)
                return result
            self.on_look(run)
            run.entry.finish(result)
            self._handover.finish(result)
            self._learn(run)
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

    def _return(self, holder: Holder) -> None:
        """A child that did not end has gone after all: its disk can be tried."""
        self._abandoned.remove(holder)
        entry = holder.entry
        entry.stuck = None
        medium = self._medium_of_name(entry.disk)
        if medium is not None and self._holder_of(medium) is None:
            self.ledger.quarantines.end_back_off(medium, now_s())
        self._count()
        text = "disk %s: child %d, which did not end on SIGKILL, has ended: the disk is tried at once"
        log.warning(text, entry.disk, holder.pid, extra=fields(disk=entry.disk, probe=entry.probe))
        self.on_end()

    def _learn(self, run: Run) -> None:
        """Take note of what the end of a run says of its disk."""
        if hung_s := run.hung_s:
            if not run.was_given_up:
                self._put_away(run, hung_s)
        elif run.has_answered:
            self._recover(run)
        else:
            self.ledger.quarantines.postpone(run.medium, now_s())

    def _put_away(self, run: Run, hung_s: float) -> None:
        places = {disk.place for disk in self.ledger.disks.values()}
        if run.disk.place in places:  # a reload may have removed it
            self._begin_quarantine(run.disk.place, run.medium, run.entry, hung_s, run.fields)

    def _begin_quarantine(
        self, place: str, medium: Medium, entry: ProbeEntry, hung_s: float, where: Mapping[str, str]
    ) -> None:
        quarantines = self.ledger.quarantines
        is_new = quarantines.on(medium) is None
        case = quarantines.hang(place, medium, entry.probe, hung_s=hung_s, now_s=now_s(), now_unix=time.time())
        text = f"disk {entry.disk}: an I/O of {entry.probe} had not come back after {hung_s:.0f} s"
        text += ": quarantine" if is_new else f": it still hangs (trial {case.hangs})"
        text += f"; nothing starts there for {case.end_s - now_s():.0f} s, then one run as a trial"
        extra = {**fields(disk=entry.disk, probe=entry.probe), **where}
        log.error("%s", text, extra=extra | ({"MESSAGE_ID": BEGIN_ID} if is_new else {}))

    def _recover(self, run: Run) -> None:
        run.is_trial = False
        case = self.ledger.quarantines.recover(run.medium, now_s())
        if case is not None:
            lasted_s = time.time() - case.begun_unix
            text = "disk %s answers again: its quarantine is over after %.0f s"
            log.warning(text, run.disk.name, lasted_s, extra={**run.fields, "MESSAGE_ID": END_ID})
            self._count()

    def _see_left_over(self) -> None:
        """Put disks of a former agent's children into quarantine once they are known to hang, not only slow to end."""
        for child in self._abandoned:
            if not isinstance(child, LeftOver) or child.age_s <= HANG_S:
                continue
            disk = self.ledger.disks.get(child.entry.disk)
            is_there = disk is not None and child.holds(medium_of(disk))  # another one may have taken its place
            if disk is not None and is_there and self.ledger.quarantines.on(child.medium) is None:
                self._begin_quarantine(disk.place, child.medium, child.entry, child.age_s, {})

    def _see_media(self) -> None:
        """Whether disks that are in quarantine were removed, or others stand in their place."""
        quarantines = self.ledger.quarantines
        if not quarantines:
            return
        for disk in self.ledger.disks.values():
            medium = medium_of(disk)
            if disk.is_present:
                is_over, why = quarantines.see(disk.place, medium, now_s()) is not None, "is another one now"
            else:
                # With a device go its I/Os; a file system that is not mounted any more may still be there.
                has_ended = disk.target == "device" and self._holder_of(medium) is None
                is_over, why = has_ended and quarantines.recover(medium, now_s()) is not None, "was removed"
            if is_over:
                extra = {**fields(disk=disk.name), "MESSAGE_ID": END_ID}
                log.warning("disk %s %s: the quarantine is over", disk.name, why, extra=extra)

    def _is_anything_hung(self) -> bool:
        return bool(self._abandoned or self.ledger.quarantines or any(run.is_stuck for run in self._running))

    def _count(self) -> None:
        self.ledger.workers_running = len(self._running)
        self.ledger.workers_abandoned = len(self._abandoned)
        self._is_marked = self._is_anything_hung()
        for disk in self.ledger.disks.values():
            self._mark(disk)
        self._date()

    def _mark(self, disk: DiskEntry) -> None:
        """Say of a disk whether it hangs, as far as is known."""
        disk.quarantines = self.ledger.quarantines.begun(disk.place)
        if not self._is_marked:
            disk.is_stuck, disk.is_quarantined, disk.held_by, disk.quarantine_end_unix = False, False, 0, 0.0
            return
        medium = medium_of(disk)
        holder, case = self._holder_of(medium), self.ledger.quarantines.on(medium)
        is_waiting = any(run.is_stuck and run.holds(medium) for run in self._running)
        if is_waiting and not disk.is_stuck:
            text = "disk %s is stuck: an I/O has been in flight for over %.0f s; the run goes on"
            log.warning(text, disk.name, STUCK_S, extra=fields(disk=disk.name))
        disk.is_stuck = holder is not None or case is not None or is_waiting
        disk.is_quarantined = case is not None
        disk.held_by = holder.pid if holder is not None else 0
        disk.quarantine_end_unix = 0.0
        if case is not None and holder is None:
            # In whole seconds: two clocks are never quite the same distance apart.
            disk.quarantine_end_unix = float(round(time.time() + case.end_s - now_s()))

    def _date(self) -> None:
        """Have the I/O for which a disk is in quarantine go on ageing."""
        since = {(case.place, case.probe): case.hung_since_s for case in self.ledger.quarantines.open_cases()}
        for entry in self.ledger.probes.values():
            disk = self.ledger.disks.get(entry.disk)
            entry.hung_since_s = since.get((disk.place, entry.probe)) if since and disk is not None else None

    def explain(self, disk: DiskSettings, skip: Skip) -> str:
        """What keeps a disk from being used, in words; empty where the reason says it all."""
        medium = self._medium_of(disk)
        if skip is Skip.STUCK and (holder := self._holder_of(medium)) is not None:
            return described(disk.name, holder)
        case = self.ledger.quarantines.on(medium)
        if skip is Skip.QUARANTINED and case is not None:
            return f"an I/O of {case.probe} had not come back: tried again in {max(case.end_s - now_s(), 0):.0f} s"
        return ""

    def _holder_of(self, medium: Medium) -> Holder | None:
        return next((holder for holder in self._abandoned if holder.holds(medium)), None)

    def _delay_since(self, planned_s: float | None) -> Callable[[StatsPage], None] | None:
        """What books, at the first child of a run, how late it is."""
        planned = [] if planned_s is None else [planned_s]

        def note(_page: StatsPage) -> None:
            while planned:  # another I/O engine's child is no second start
                self.ledger.start_delays.note(now_s() - planned.pop())

        return note

    def _is_controller_full(self, disk: DiskSettings) -> bool:
        controller = self._controller_of(disk)
        if not controller or not self.max_workers_per_controller:
            return False
        # Without those abandoned: a disk that hangs must not stop the probes of its neighbours.
        taken = sum(self._controller_of(run.disk) == controller for run in self._running if not run.is_hanging)
        return taken >= self.max_workers_per_controller

    def _controller_of(self, disk: DiskSettings) -> str:
        """The host adapter or NVMe controller that a disk is behind; empty where it is not known."""
        entry = self.ledger.disks.get(disk.name)
        return entry.identity.get("controller", "") if entry is not None and entry.path == disk.path else ""

    def _medium_of(self, disk: DiskSettings) -> Medium:
        """What is behind a disk, as far as the agent has seen it."""
        entry = self.ledger.disks.get(disk.name)
        return medium_of(entry) if entry is not None and entry.path == disk.path else Medium(path=disk.path)

    def _medium_of_name(self, name: str) -> Medium | None:
        entry = self.ledger.disks.get(name)
        return medium_of(entry) if entry is not None else None

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


def medium_of(disk: DiskEntry) -> Medium:
    identity = disk.identity
    return Medium(
        path=disk.path,
        device=identity.get("device", ""),
        sequence=identity.get(DISKSEQ, ""),
        number=key_of(identity),
    )


def described(disk: str, holder: Holder) -> str:
    """Why a disk is left alone, for people."""
    return (
        f"child {holder.pid} of probe {holder.entry.probe} still waits in the kernel for disk {disk}, and does not end "
        "on SIGKILL: nothing can start there until it has gone"
    )


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)

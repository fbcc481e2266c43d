"""One run of a job on a disk: from the order through the child's life to a verdict."""

import asyncio
import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from iovigil.agent import dumps
from iovigil.agent import order as orders
from iovigil.agent.cgroups import Cgroups
from iovigil.agent.config import DiskSettings
from iovigil.agent.journal import fields
from iovigil.agent.ledger import Failure, ProbeEntry, RunResult
from iovigil.agent.quarantine import Medium
from iovigil.agent.verdict import Verdict, judge, judge_late
from iovigil.agent.worker import LAUNCHER, Exit, Worker
from iovigil.agent.write_logs import WriteLog
from iovigil.engines import exit_status
from iovigil.engines.clock import Clock
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, RunState, StatsPage

log = logging.getLogger(__name__)

CGROUP_KILL_S = 0.5
HANG_S = 10.0
"""An I/O that is in flight for longer hangs. Nothing is begun after a job's runtime, and its deadline is as much later:
a run that is killed at its deadline with an I/O in flight has waited for that long."""
STUCK_S = 60.0
"""One that is in flight for longer makes its disk stuck while the run still goes on."""
RECHECK_S = 0.5  # how soon a released run notices that its deadline has begun

DDIRS = range(4)  # read, write, trim, sync

FLOWING_S = 1.0

NEXT_ENGINE = {"io_uring": "psync", "libaio": "psync"}
"""What to use where the host does not allow an ioengine."""


def order_for(
    disk: DiskSettings,
    options: JobOptions,
    is_probe_file: bool,
    write_log: WriteLog | None,
    scrub: dict[str, Any] | None,
    engine: str,
) -> dict[str, Any]:
    return orders.order(disk, options, engine, is_probe_file=is_probe_file, write_log=write_log, scrub=scrub)


def scrub_order(entry: ProbeEntry, state_directory: str, identity: str) -> dict[str, Any] | None:
    if entry.scrub is None:
        return None
    path = orders.scrub_state_path(state_directory, entry.disk, entry.probe)
    return orders.scrub_order(entry.scrub, entry.options, state_path=path, identity=identity)


def new_page(_entry: ProbeEntry, _path: str) -> StatsPage:
    return StatsPage.create()


@dataclass(frozen=True)
class Patience:
    """How long a child is given, in seconds, once its own time is over."""

    run_s: float = orders.RUN_GRACE_S
    stop_s: float = 2.0
    kill_s: float = 3.0
    hang_s: float = HANG_S


class Spawn(Protocol):
    """Worker.spawn, or what a test puts in its place."""

    def __call__(self, order: dict[str, object], page: StatsPage, launcher: Path) -> Worker: ...


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What every run of one agent shares."""

    clock: Clock
    launcher: Path = LAUNCHER
    patience: Patience = Patience()
    spawn: Spawn = Worker.spawn
    create_page: Callable[[ProbeEntry, str], StatsPage] = new_page
    """Makes the page of a child, given the account and the path of the disk."""
    cgroups: Cgroups = field(default_factory=Cgroups)
    """Where each child has its limits; without `settle` none has."""
    dump_directory: str = ""
    """Where blocks that fail verification are written to, as evidence; empty is nowhere."""
    state_directory: str = ""


class Run:
    """One execution of a probe on a disk, in a child process at a time.

    `is_abandoned` stays set on a run whose child did not even end on SIGKILL; `on_return` is
    called when that child has gone after all.
    """

    def __init__(
        self,
        disk: DiskSettings,
        entry: ProbeEntry,
        tools: Tools,
        *,
        is_probe_file: bool = True,
        write_log: WriteLog | None = None,
        on_start: Callable[[StatsPage], None] | None = None,
        make_order: Callable[[str], dict[str, Any]] | None = None,
        is_released: bool = True,
        identity: str = "",
    ) -> None:
        """`make_order` writes another order than that for one disk, given the I/O engine.

        `identity` is what the disk says of itself, as lines of label=value; a scrub is of one disk.
        Without `is_released` the job waits, once it is ready, for `release`; until then it has no deadline.
        """
        self.disk = disk
        self.entry = entry
        self.options: JobOptions = entry.options  # a reload may change the entry's
        started_unix = time.time()
        self.name = f"{entry.disk}/{entry.probe}/{started_unix:.3f}"
        self.dump_label = dumps.run_label(entry.probe, started_unix)
        self.dump_directory = tools.dump_directory if self.options.verify != "none" or entry.scrub else ""
        self.is_abandoned = False
        self.medium = Medium(path=disk.path)
        """What is behind the disk."""
        self.is_hanging = False
        """Whether an I/O hung at the last look: such a run holds its disk, and no worker's place."""
        self.is_stuck = False
        self.is_trial = False
        """Whether its disk is in quarantine, and this run finds out whether it answers again."""
        self.was_given_up = False
        """Whether its supervisor has not waited for its end, and has taken it for what it was."""
        self._was_killed = False
        self._seen_ios = 0
        self._moved_s = -math.inf
        """When an I/O was last seen to have come back."""
        self.on_return: Callable[[], None] | None = None
        self._started_s = time.monotonic()
        self._tools = tools
        # Not a method: a cycle would keep the page of a finished run until the next garbage collection.
        self._make_order = make_order or partial(
            order_for, disk, self.options, is_probe_file, write_log, scrub_order(entry, tools.state_directory, identity)
        )
        self._is_released = is_released
        self._allowed_from_ns = 0  # when the time it is given began
        self._overdue = ""
        self._on_start = on_start
        self._page = StatsPage.private()
        self._worker: Worker | None = None
        self._ending: Exit | None = None
        self._gone = asyncio.Event()
        self._attention = asyncio.Event()  # the child is gone or has to stop
        self._must_stop = False

    def holds(self, medium: Medium) -> bool:
        """Whether the run works on that, by whatever path."""
        return self.medium.is_same(medium)

    def look(self) -> None:
        """Bring up to date whether it hangs."""
        ios = self._ios()
        if ios != self._seen_ios:
            self._seen_ios, self._moved_s = ios, time.monotonic()
        age_s = self._page.oldest_inflight_ns() / 1e9
        self.is_hanging = self._does_hang(age_s)
        self.is_stuck = age_s > STUCK_S

    def _does_hang(self, age_s: float) -> bool:
        """Whether nothing comes back any more: where a queue is deep, an I/O of a slow disk is old as well."""
        hang_s = self._tools.patience.hang_s
        return age_s > hang_s and time.monotonic() - self._moved_s > hang_s

    def _ios(self) -> int:
        return sum(self._page.counter(Counter.IOS, ddir) for ddir in DDIRS)

    @property
    def is_flowing(self) -> bool:
        """Whether I/Os have come back for so long that the disk can be said to answer, before the run is over."""
        first_ns, age_ns = self._page.first_io_ns, self._page.oldest_inflight_ns()
        has_lasted = first_ns != 0 and time.monotonic_ns() - first_ns > 1e9 * STUCK_S
        return has_lasted and age_ns < 1e9 * FLOWING_S and self.has_answered

    @property
    def hung_s(self) -> float:
        """For how long the run has waited for what did not come back until its end; 0 where nothing hung."""
        if self._page.is_complete:
            return 0.0
        age_s = self._page.oldest_inflight_ns() / 1e9
        if self._does_hang(age_s):
            return age_s
        # A child that is still being launched ends on SIGTERM, unless it waits in the kernel: for an open().
        is_opening = self._was_killed and self._page.state == RunState.NOT_CREATED
        return age_s or self._elapsed_s() if self.is_abandoned or is_opening else 0.0

    @property
    def has_answered(self) -> bool:
        """Whether an I/O came back, good or bad."""
        return self._page.is_complete or self._page.total_errors > 0 or self._ios() > 0

    @property
    def pid(self) -> int:
        """Of its child; 0 before there is one."""
        return self._worker.pid if self._worker is not None else 0

    def request_stop(self) -> None:
        """End the run early; it counts as it is."""
        self._must_stop = True
        self._attention.set()

    def release(self) -> None:
        """Let the job begin its I/O; its time runs from now on."""
        self._is_released = True
        self._allowed_from_ns = time.monotonic_ns()
        self._page.release()

    def expire(self, text: str) -> None:
        """End the run as one that has not done in time what `text` says."""
        self._overdue = text
        self._attention.set()

    @property
    def is_ready(self) -> bool:
        """Whether the job waits for `release`."""
        return self._worker is not None and self._page.state == RunState.INITIALIZED

    def kill(self) -> None:
        """End the child now; for ways out on which nobody can wait for it."""
        if self._worker is not None:
            self._worker.kill()

    async def execute(self, *, fallback: bool) -> RunResult:
        """Run to the end, on the next I/O engine if the host refuses this one."""
        self._started_s = time.monotonic()
        while True:
            engine = self.entry.engine
            verdict = await self._attempt(engine)
            if fallback and self._fall_back(engine, verdict):
                continue
            if engine != self.options.ioengine:
                self.entry.fallbacks += 1
            return self._result(engine, verdict)

    def _fall_back(self, engine: str, verdict: Verdict) -> bool:
        refused = self._ending is not None and self._ending.status == exit_status.ENGINE_UNAVAILABLE
        following = NEXT_ENGINE.get(engine)
        if not refused or following is None or self._must_stop:
            return False
        log.warning(
            "ioengine %s is not available on this host (%s): using %s until the next reload",
            engine, verdict.message, following, extra=self.fields,
        )  # fmt: skip
        self.entry.engine = following
        return True

    async def _attempt(self, engine: str) -> Verdict:
        try:
            worker = self._start(engine)
        except OSError as error:
            return Verdict(Failure.SETUP, f"the child could not be started: {error.strerror or error}")
        try:
            return await self._see_out(worker)
        finally:
            if not self._gone.is_set():
                # Cancelled, or abandoned: in both the watch goes on until the child is gone.
                worker.kill()
                self.is_abandoned = True

    def _start(self, engine: str) -> Worker:
        self._gone.clear()
        self._ending = None
        if not self._must_stop and not self._overdue:
            self._attention.clear()
        # Pages are never closed by hand: a scrape may still read one. The last reference frees it.
        self._page = page = self._tools.create_page(self.entry, self.disk.place)
        page.calibrate(self._tools.clock.source())
        if self._is_released:
            page.release()
        order = self._make_order(engine)
        if self.dump_directory:
            order["dumps"] = dumps.order(self.dump_directory, self.entry.disk, self.dump_label)
        if self.medium.device and not self.disk.wake:
            order["let_sleep"] = self.medium.device
        memory_bytes = order.get("limits", {}).get("memory_bytes", 0)
        order["cgroup"] = self._tools.cgroups.order(self.entry.disk, self.entry.probe, self.options, memory_bytes)
        worker = self._tools.spawn(order, page, self._tools.launcher)
        self._allowed_from_ns = page.spawned_ns
        self._worker = worker
        loop = asyncio.get_running_loop()
        loop.add_reader(worker.pidfd, self._notice_end, loop, worker)
        loop.add_reader(worker.stderr_fd, self._listen, loop, worker)
        self.entry.begin(page)
        if self._on_start is not None:
            self._on_start(page)
        return worker

    @staticmethod
    def _listen(loop: asyncio.AbstractEventLoop, worker: Worker) -> None:
        if not worker.read_messages():
            loop.remove_reader(worker.stderr_fd)

    def _notice_end(self, loop: asyncio.AbstractEventLoop, worker: Worker) -> None:
        ending = worker.reap()
        if ending is None:
            return
        # Whatever the child has said is in the pipe; what it left behind may hold the other end open.
        worker.read_messages()
        loop.remove_reader(worker.pidfd)
        loop.remove_reader(worker.stderr_fd)
        worker.close()
        self._tools.cgroups.discard(self.entry.disk, self.entry.probe)
        self._ending = ending
        self._gone.set()
        self._attention.set()
        if self.is_abandoned and self.on_return is not None:
            self.on_return()

    async def _see_out(self, worker: Worker) -> Verdict:
        """Wait for the child; when its time is over ask it to end, kill it, give it up."""
        is_late = not await self._until_attention() or self._overdue != ""
        if self._ending is not None:
            return judge(self._ending, self._page, worker.messages)
        late_text = self._overdue or f"not finished after {self._elapsed_s():.1f} s"
        worker.request_stop(self._page)
        if ending := await self._ending_within(self._tools.patience.stop_s):
            if is_late:
                return judge_late(self._page, f"{late_text}: stopped")
            if ending.signal == signal.SIGTERM:
                return Verdict(message="stopped before its I/O began")
            return judge(ending, self._page, worker.messages)
        worker.kill()
        self._was_killed = True
        late_text += f" nor {self._tools.patience.stop_s:g} s after SIGTERM"
        if await self._ending_within(self._tools.patience.kill_s):
            return judge_late(self._page, f"{late_text}: killed")
        # Before it is given up: this reaches also what has left the child's session.
        is_told = await self._tools.cgroups.kill(self.entry.disk, self.entry.probe)
        if is_told and await self._ending_within(CGROUP_KILL_S):
            return judge_late(self._page, f"{late_text}: killed with its control group")
        text = f"{late_text}, and child {worker.pid} does not end on SIGKILL: the disk is left alone until it does"
        if worker.state == "D":
            text += "; unkillable (D state)"
        return judge_late(self._page, text)

    async def _until_attention(self) -> bool:
        """Whether the child went, or has to go, before its deadline."""
        while True:
            left_s = self._left_s() if self._is_released else RECHECK_S
            if left_s is not None and left_s <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._attention.wait()
                    return True

    async def _ending_within(self, time_s: float) -> Exit | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(time_s):
                await self._gone.wait()
        return self._ending

    def _left_s(self) -> float | None:
        """Time to the deadline, None without one.

        The job's own time begins with its first I/O; before it stands the laying out of its file, which is allowed for
        up to a limit of its own, or the start of a child on a host that is busy: what hangs is told by the age of its
        I/O, which must not be young only because the I/O was late.
        """
        if not self.options.longest_us:
            return None
        now_ns = time.monotonic_ns()
        set_up_s = ((self._page.first_io_ns or now_ns) - self._allowed_from_ns) / 1e9
        allowed_s = min(set_up_s, max(orders.layout_s(self.disk), self._tools.patience.run_s))
        return allowed_s + self.options.longest_us / 1e6 + self._tools.patience.run_s - self._elapsed_s(now_ns)

    def _elapsed_s(self, now_ns: int | None = None) -> float:
        return ((now_ns or time.monotonic_ns()) - self._allowed_from_ns) / 1e9

    def _result(self, engine: str, verdict: Verdict) -> RunResult:
        # Counted back from the end: a clock that was set in between must not change how long the run took.
        ended_unix, lasted_s = time.time(), time.monotonic() - self._started_s
        return RunResult(
            disk=self.entry.disk,
            probe=self.entry.probe,
            options=self.options,
            engine=engine,
            page=self._page.copy(),
            started_unix=ended_unix - lasted_s,
            ended_unix=ended_unix,
            failure=verdict.failure,
            message=verdict.message,
            exit_status=self._ending.status if self._ending else None,
            signal=self._ending.signal if self._ending else None,
        )

    @property
    def was_asleep(self) -> bool:
        """Whether nothing was begun, so that the disk could sleep on."""
        return self._ending is not None and self._ending.status == exit_status.ASLEEP

    @property
    def is_cut_short(self) -> bool:
        """Whether it was asked to end early."""
        return self._must_stop

    @property
    def page(self) -> StatsPage:
        return self._page

    @property
    def messages(self) -> tuple[str, ...]:
        """The last lines the child said."""
        return tuple(self._worker.messages) if self._worker else ()

    @property
    def fields(self) -> dict[str, str]:
        return fields(disk=self.entry.disk, probe=self.entry.probe, run=self.name)

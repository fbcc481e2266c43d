"""The life of a session: jobs are laid out, started together, ended by each other, and tidied up after."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from iovigil.agent.ledger import Failure, RunResult
from iovigil.agent.run import Patience, Tools
from iovigil.agent.session.errand import errand
from iovigil.agent.session.gate import Gate
from iovigil.agent.session.job import Phase, SessionJob, join_flows, share_write_logs
from iovigil.agent.session.plan import PlannedJob
from iovigil.agent.session.steadiness import Watch, totals, watches
from iovigil.agent.shell_hooks import HookError, output_path, run_hook
from iovigil.engines.stats import RunState, StatsPage

log = logging.getLogger(__name__)

FLOW_GRACE_S: Final = 0.25
"""Jobs of a flow that were released together end within this of each other."""

BEGIN_S: Final = 10.0
"""Time from a job's creation, its files laid out, to its first sign of life; fio's startup timeout."""
READY_S: Final = 5.0
"""Time from there until it is ready to start."""
REMOVE_S: Final = 10.0
POLL_S: Final = 0.002
LONGEST_POLL_S: Final = 0.05  # a thousand jobs that wait must not keep the others from starting
STARTS_AT_ONCE: Final = 2 * (os.cpu_count() or 1)  # more would only take each other's time to start
PATIENCE: Final = Patience(stop_s=10.0)
"""A loaded disk may take seconds to finish what is in flight; a second signal of the user's is sooner."""

Hook = Callable[[str, Path, float | None], Awaitable[int]]
"""Runs a shell command, its output to a file, for at most so many seconds; the exit status. Raises HookError."""


class Session:
    """Runs planned jobs to their ends; used on the event loop's thread only."""

    def __init__(
        self,
        plans: Sequence[PlannedJob],
        tools: Tools,
        *,
        hook: Hook = run_hook,
        aux_path: str = "",
    ) -> None:
        self.jobs = tuple(SessionJob(plan, tools, aux_path) for plan in plans)
        join_flows(self.jobs)
        share_write_logs(self.jobs)
        self.is_interrupted = False
        self._tools = tools
        self._hook = hook
        self._aux_path = aux_path
        self._genesis_s = 0.0
        self._signals = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lives: dict[SessionJob, asyncio.Task[None]] = {}
        self._exits_all = any(job.plan.options.exitall for job in self.jobs)
        paths = [path for job in self.jobs for path in set(job.plan.paths)]
        self._shared = {path for path in paths if paths.count(path) > 1}
        self._unwatched = list(watches(self.jobs))
        self._asides: set[asyncio.Task[Any]] = set()

    async def conduct(self) -> None:
        """Run every job to its end; what came out is in `jobs`."""
        try:
            await self._lay_out()
            while True:
                if batch := self._startable():
                    await self._begin(batch)
                elif not any(job.phase is not Phase.ENDED for job in self.jobs):
                    break
                else:
                    await self._wait()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for job in self.jobs:
                job.run.kill()

    def interrupt(self) -> None:
        """End all jobs gracefully at the first call, at once at the next."""
        self.is_interrupted = True
        self._signals += 1
        for task in self._asides:
            task.cancel()
        if self._signals == 1:
            self.terminate(self.jobs)
        else:
            for job in self.jobs:
                job.run.kill()

    def terminate(self, jobs: Iterable[SessionJob]) -> None:
        """End these jobs early; those that have not begun never will."""
        for job in jobs:
            if job.phase is Phase.WAITING:
                job.note = job.note or "not started: the session ended before"
                self._end(job, job.outcome(None, job.note, StatsPage.private()))
            elif job.phase is not Phase.ENDED:
                job.run.request_stop()

    def snapshots(self) -> tuple[RunResult, ...]:
        """What each job has done so far, in order."""
        return tuple(job.snapshot() for job in self.jobs)

    @property
    def failures(self) -> int:
        return sum(job.is_failed for job in self.jobs)

    async def _lay_out(self) -> None:
        """Start the first batch and lay out the files of the other jobs, one at a time and in order."""
        first = set(self._startable())
        with Gate() as gate:
            batch = []
            for job in self.jobs:
                if job.phase is not Phase.WAITING:
                    continue  # ended in the meantime
                if job.plan.options.create_only:
                    await self._create_only(job)
                elif job in first:
                    batch.append(job)
                    await self._start_serial(job, gate)
                elif self._is_serial(job):
                    self._fail(job, await self._errand(job.order(purpose="lay_out"), job.plan.layout_s + BEGIN_S))
            await self._start_others(batch, gate)
            self._genesis_s = time.monotonic()
            await self._release_when_ready(batch)

    async def _create_only(self, job: SessionJob) -> None:
        self._fail(job, await self._errand(job.order(purpose="lay_out"), job.plan.layout_s + BEGIN_S))
        if job.phase is Phase.WAITING:
            self._end(job, job.outcome(None, "", StatsPage.private()))

    def _is_serial(self, job: SessionJob) -> bool:
        """Whether no other job's files may be laid out beside this one's; two must never make the same file."""
        if not job.plan.targets:
            return False
        return job.plan.options.create_serialize or not self._shared.isdisjoint(job.plan.paths)

    def _startable(self) -> list[SessionJob]:
        """The jobs that wait for nothing any more, in order."""
        found: list[SessionJob] = []
        now_s = time.monotonic()
        since_genesis_s = now_s - self._genesis_s if self._genesis_s else 0.0
        for place, job in enumerate(self.jobs):
            if job.phase is not Phase.WAITING:
                continue
            before = self.jobs[:place]
            if job.plan.is_stonewalled and any(other.phase is not Phase.ENDED for other in before):
                break
            if job.delay_s > since_genesis_s:
                continue
            awaited = job.plan.options.wait_for
            if awaited and any(other.phase is not Phase.ENDED for other in before if other.plan.name == awaited):
                continue
            found.append(job)
        return found

    async def _wait(self) -> None:
        """Sleep until a job ends or a delay is over."""
        delays_s = [job.delay_s for job in self.jobs if job.phase is Phase.WAITING]
        since_genesis_s = time.monotonic() - self._genesis_s
        ahead_s = [left for delay in delays_s if (left := delay - since_genesis_s) > 0]
        try:
            async with asyncio.timeout(min(ahead_s) if ahead_s else None):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _begin(self, batch: Sequence[SessionJob]) -> None:
        with Gate() as gate:
            for job in batch:
                await self._start_serial(job, gate)
            await self._start_others(batch, gate)
            await self._release_when_ready(batch)

    async def _start_serial(self, job: SessionJob, gate: Gate) -> None:
        """Start a job whose files no other job's may be laid out beside."""
        if self._is_serial(job) and job.phase is Phase.WAITING:
            self._start(job, gate)
            await self._until_begun(job)

    async def _start_others(self, batch: Sequence[SessionJob], gate: Gate) -> None:
        """Start the jobs that need not be started one by one, some at a time."""
        starts = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(job: SessionJob) -> None:
            async with starts:
                if job.phase is Phase.WAITING:
                    self._start(job, gate)
                    await self._until_begun(job)

        await asyncio.gather(*(start(job) for job in batch))

    def _start(self, job: SessionJob, gate: Gate) -> None:
        job.phase = Phase.STARTING
        job.gate = gate
        life = asyncio.get_running_loop().create_task(self._live(job))
        self._lives[job] = life
        self._keep(life)

    async def _release_when_ready(self, batch: Sequence[SessionJob]) -> None:
        """Wait until each job of the batch is ready or has failed; then all of them start together."""
        await asyncio.gather(*(self._until_ready(job) for job in batch))
        ready = [job for job in batch if job.phase is Phase.STARTING]
        for job in ready:
            job.phase = Phase.RUNNING
            if job.plan.options.exec_prerun:
                self._keep(asyncio.get_running_loop().create_task(self._prerun(job)))
            else:
                job.run.release()
        for watch in [watch for watch in self._unwatched if not set(watch.jobs).isdisjoint(ready)]:
            self._unwatched.remove(watch)
            self._keep(asyncio.get_running_loop().create_task(self._watch(watch)))
        self._end_leftovers()

    async def _until_begun(self, job: SessionJob) -> None:
        """Wait until the job's files are laid out and the engine has the process."""
        allowed_s = job.plan.layout_s + BEGIN_S
        await self._until(
            job, lambda: job.run.page.state != RunState.NOT_CREATED, allowed_s, f"start-up hung for {allowed_s:.0f} s"
        )

    async def _until_ready(self, job: SessionJob) -> None:
        await self._until(job, lambda: job.run.is_ready, READY_S, f"not ready to start after {READY_S:.0f} s")

    async def _until(self, job: SessionJob, is_so: Callable[[], bool], allowed_s: float, complaint: str) -> None:
        end_s = time.monotonic() + allowed_s
        poll_s = POLL_S
        life = self._lives.get(job)
        while life is not None and not life.done() and not is_so():
            if time.monotonic() >= end_s:
                # The others go on: a hung disk is what they are there to find.
                job.run.expire(complaint)
                return
            await asyncio.sleep(poll_s)
            poll_s = min(1.5 * poll_s, LONGEST_POLL_S)

    async def _live(self, job: SessionJob) -> None:
        """A job from its child to its result."""
        # No fallback: whoever names an engine wants its figures, not another's.
        result = await job.run.execute(fallback=False)
        if job.note and result.failure is None:
            result = job.outcome(Failure.SETUP, job.note, result.page)
        if (command := job.plan.options.exec_postrun) and job.phase is Phase.RUNNING:
            # As in fio, what becomes of it does not matter to the result.
            job.warning = await self._command(job, command, "postrun")
        self._end(job, result)
        await self._unlink(job)

    async def _prerun(self, job: SessionJob) -> None:
        """Run the command that stands before the job; the job begins when it has ended well."""
        text = await self._command(job, job.plan.options.exec_prerun, "prerun", until=self._lives[job])
        if text:
            job.note = text
            job.run.request_stop()
        else:
            job.run.release()

    async def _command(
        self, job: SessionJob, command: str, what: str, until: "asyncio.Task[None] | None" = None
    ) -> str:
        """What went wrong with a user's command; it is killed when `until` is over."""
        output = Path(self._aux_path) / output_path(job.plan.name, what)

        async def run() -> int:
            return await self._hook(command, output, None)

        task = asyncio.get_running_loop().create_task(run())
        self._asides.add(task)
        try:
            await asyncio.wait([task, until] if until else [task], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
            if task.cancelled():
                return f"exec_{what}: {command!r} was ended with the job"
            status = task.result()
        except HookError as error:
            return f"exec_{what}: {error}"
        finally:
            self._asides.discard(task)
        return f"exec_{what}: {command!r} ended with status {status}" if status else ""

    async def _errand(self, told: dict[str, Any], allowed_s: float) -> str:
        """What went wrong with an errand; empty when nothing did."""
        task = asyncio.get_running_loop().create_task(errand(told, self._tools, allowed_s))
        self._asides.add(task)
        try:
            await asyncio.wait([task])
            return "ended by a signal" if task.cancelled() else task.result()
        finally:
            self._asides.discard(task)

    def _fail(self, job: SessionJob, text: str) -> None:
        """End a job that has not begun as a failed one, if there is a reason."""
        if text and job.phase is Phase.WAITING:
            self._end(job, job.outcome(Failure.SETUP, text, StatsPage.private()))

    def _end(self, job: SessionJob, result: RunResult) -> None:
        """Book the result; end the other jobs where this one's end is also theirs."""
        was_active = job.is_active
        job.phase = Phase.ENDED
        job.result = result
        job.entry.live = None
        if job.flow is not None:
            # The others must not wait for one that has gone, unless their time is over within moments too: the last of
            # them would run free until it is.
            grace_s = FLOW_GRACE_S if result.failure is None else 0.0
            asyncio.get_running_loop().call_later(grace_s, job.flow.page.leave, job.flow.place)
        self._changed.set()
        is_error = result.failure is not None and job.plan.options.exitall_on_error
        if (was_active and self._exits_all) or is_error:
            self.terminate(self._ended_by(job))
        self._end_leftovers()

    def _ended_by(self, job: SessionJob) -> list[SessionJob]:
        match job.plan.options.exit_what:
            case "all":
                return list(self.jobs)
            case "stonewall":
                return [other for other in self.jobs if other.is_active]
            case _:
                return [other for other in self.jobs if other.plan.group == job.plan.group]

    def _end_leftovers(self) -> None:
        """End jobs that only burn CPU once there is no other left to burn it beside."""
        active = [job for job in self.jobs if job.is_active]
        if any(not job.is_load for job in active) or all(job.is_load for job in self.jobs):
            return
        is_pending = any(job.phase is Phase.WAITING for job in self.jobs)
        self.terminate(job for job in active if job.plan.options.exit_on_io_done or not is_pending)

    async def _unlink(self, job: SessionJob) -> None:
        """Remove what the session created for the job, as far as no other job needs it any more."""
        if not job.plan.options.unlink:
            return
        others = [other for other in self.jobs if other.phase is not Phase.ENDED]
        needed = {path for other in others for path in other.plan.paths}
        job.gate = None
        told = job.order(purpose="remove")
        told["targets"] = [target for target in told["targets"] if target["path"] not in needed]
        if told["targets"] and (text := await self._errand(told, REMOVE_S)):
            job.warning = f"unlink: {text}"

    async def _watch(self, watch: Watch) -> None:
        """Sample the jobs' figures until they are steady, and end the jobs then."""
        state = watch.state
        while not any(job.page.epoch_ns for job in watch.jobs):
            if all(job.phase is Phase.ENDED for job in watch.jobs):
                return
            await asyncio.sleep(POLL_S)
        began_s = time.monotonic()
        state.begin(0.0, *totals(watch.jobs))
        while not state.is_attained:
            await asyncio.sleep(max(0.0, began_s + state.next_s - time.monotonic()))
            if all(job.phase is Phase.ENDED for job in watch.jobs):
                return
            state.sample(time.monotonic() - began_s, *totals(watch.jobs))
        self.terminate(job for job in watch.jobs if job.is_active)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a job ended in an internal error: please report", exc_info=error)
            for job, life in self._lives.items():
                if life is task and job.phase is not Phase.ENDED:
                    self._end(job, job.outcome(Failure.CRASH, f"internal error: {error}", job.run.page.copy()))

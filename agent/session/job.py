"""One job of a session: what is planned, and how far it is."""

import enum
import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from iovigil.agent import order
from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import Failure, ProbeEntry, RunResult
from iovigil.agent.run import Run, Tools
from iovigil.agent.session.gate import Gate
from iovigil.agent.session.plan import PlannedJob
from iovigil.agent.steady_state import SteadyState
from iovigil.agent.write_logs import WriteLog
from iovigil.engines.flow import FlowPage
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import StatsPage


class Phase(enum.Enum):
    WAITING = enum.auto()
    STARTING = enum.auto()
    RUNNING = enum.auto()
    ENDED = enum.auto()


class FlowPlace(NamedTuple):
    """A job's place on the page that the jobs of its flow share."""

    page: FlowPage
    place: int


class LogShare(NamedTuple):
    """A job's share of the write log of all that write to the same blocks."""

    log: WriteLog
    place: int
    sharers: int


class SessionJob:
    """A planned job and how far it is."""

    def __init__(self, plan: PlannedJob, tools: Tools, aux_path: str = "") -> None:
        options = plan.options
        target = plan.targets[0]["path"] if plan.targets else options.ioengine
        self.plan = plan
        self.aux_path = aux_path
        self.phase = Phase.WAITING
        self.result: RunResult | None = None
        self.steady: SteadyState | None = None
        self.gate: Gate | None = None
        self.delay_s = delay_s(plan)
        self.note = ""
        """Why the job failed, or never ran, where its run cannot tell."""
        self.warning = ""
        """What went wrong beside the job."""
        self.entry = ProbeEntry(
            disk=target,
            probe=options.name,
            options=options,
            interval_s=0.0,
            timeout_s=order.timeout_s(options),
            engine=options.ioengine,
        )
        self.flow: FlowPlace | None = None
        self.log_share: LogShare | None = None
        disk = DiskSettings(name=target, file=target, size=sum(wanted["create_size"] for wanted in plan.targets))
        self.run = Run(disk, self.entry, tools, make_order=self.order, is_released=False)

    def order(self, engine: str = "", purpose: str = "run") -> dict[str, Any]:
        told = order.order_of(
            self.plan.targets,
            self.plan.options,
            engine or self.plan.options.ioengine,
            self.plan.layout_s,
            number=self.plan.number,
            names=self.plan.names,
            state_directory=self.aux_path,
            flow=(self.flow.page.fileno(), self.flow.place) if self.flow is not None else None,
            write_log=(
                self.log_share.log.told(self.log_share.place, self.log_share.sharers)
                if self.log_share is not None
                else None
            ),
        )
        fds = {"gate": self.gate.fd} if self.gate is not None else {}
        if self.flow is not None:
            fds["flow"] = self.flow.page.fileno()
        if self.log_share is not None:
            fds["write_log"] = self.log_share.log.fd
        return {**told, "purpose": purpose, "extra_fds": fds}

    @property
    def is_active(self) -> bool:
        return self.phase in (Phase.STARTING, Phase.RUNNING)

    @property
    def has_ended(self) -> bool:
        return self.phase is Phase.ENDED

    @property
    def options(self) -> JobOptions:
        return self.plan.options

    @property
    def is_load(self) -> bool:
        """Whether the job only burns CPU, so that the I/O of others is what a session waits for."""
        return self.plan.options.ioengine == "cpuio"

    @property
    def page(self) -> StatsPage:
        """The job's figures at this moment, also when it has ended or never began."""
        return self.result.page if self.result is not None else self.run.page

    @property
    def is_failed(self) -> bool:
        return self.result is not None and self.result.failure is not None

    def snapshot(self) -> RunResult:
        """The job's result, or what it would be if it ended now."""
        return self.result or self.outcome(None, self.note, self.run.page.copy())

    def outcome(self, failure: Failure | None, message: str, page: StatsPage) -> RunResult:
        ended_unix = time.time()
        elapsed_ns = time.monotonic_ns() - page.spawned_ns if page.spawned_ns else 0
        return RunResult(
            disk=self.entry.disk,
            probe=self.entry.probe,
            options=self.plan.options,
            engine=self.entry.engine,
            page=page,
            started_unix=ended_unix - elapsed_ns / 1e9,
            ended_unix=ended_unix,
            failure=failure,
            message=message,
        )


def delay_s(plan: PlannedJob) -> float:
    least, most = plan.options.start_delay
    if most <= least:
        return least / 1e6
    chance = random.Random(plan.options.randseed * 1000 + plan.number if plan.options.randrepeat else None)
    return chance.uniform(least, most) / 1e6


def join_flows(jobs: Sequence[SessionJob]) -> None:
    """Give the jobs of each flow a page to share. Raises OSError."""
    members: dict[int, list[SessionJob]] = {}
    for job in jobs:
        if job.plan.options.flow:
            members.setdefault(job.plan.options.flow_id, []).append(job)
    for together in members.values():
        page = FlowPage.create(len(together))
        for place, job in enumerate(together):
            job.flow = FlowPlace(page, place)


def share_write_logs(jobs: Sequence[SessionJob]) -> None:
    """Give clones that write to the same blocks one log: each would take the others' writes for corruption.

    Other jobs that overlap are warned: what one has yet to check the other may write again.
    Raises OSError.
    """
    writers = [job for job in jobs if job.options.verify != "none" and job.options.does_write and job.plan.paths]
    groups: dict[tuple[JobOptions, tuple[str, ...]], list[SessionJob]] = {}
    for job in writers:
        groups.setdefault((job.options, job.plan.paths), []).append(job)
    for together in groups.values():
        if len(together) > 1:
            log = WriteLog.create()
            for place, job in enumerate(together):
                job.log_share = LogShare(log, place, len(together))
    for index, job in enumerate(writers):
        for other in writers[:index]:
            if job.log_share and other.log_share and job.log_share.log is other.log_share.log:
                continue
            if may_overlap(other.plan, job.plan):
                is_clone = other.options.name == job.options.name
                way_out = (
                    "make offset_increment as long as the region of each, or leave it out"
                    if is_clone
                    else "put stonewall between them, or give each its offset and size"
                )
                job.warning = (
                    f"writes to what {'another clone' if is_clone else other.options.name} writes to at the same time, "
                    f"and both verify: one will find the blocks of the other; {way_out}"
                )


def may_overlap(first: PlannedJob, second: PlannedJob) -> bool:
    """Whether two jobs may write to the same bytes at the same time."""
    if first.group != second.group or not {*first.paths} & {*second.paths}:
        return False
    if second.options.wait_for:
        return False
    (offset, size), (other_offset, other_size) = region_of(first), region_of(second)
    if min(offset, size) < 0 and min(other_offset, other_size) < 0 and max(offset, size, other_offset, other_size) <= 0:
        # All in per cent.
        offset, size, other_offset, other_size = -offset, -size, -other_offset, -other_size
    if min(offset, size, other_offset, other_size) < 0 or not size or not other_size:
        return True
    return offset < other_offset + other_size and other_offset < offset + size


def region_of(plan: PlannedJob) -> tuple[int, int]:
    """Offset and size of what a job works on in each of its files; below 0 in per cent of it."""
    size = plan.options.size
    return plan.options.offset, size // len(plan.paths) if size > 0 else size

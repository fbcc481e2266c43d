"""The supervisor with real child processes in played roles: every way in which a run can end."""

import asyncio
import errno
import os
import signal
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from fake_children import DEAF, HUNG, OBEDIENT, WELL_BEHAVED, launcher
from processes import started, wait_until

from iovigil.agent.cgroups import Cgroups
from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import DiskEntry, Failure, LastRun, Ledger, ProbeEntry, RunResult, Skip
from iovigil.agent.run import Patience
from iovigil.agent.supervisor import Busy, Supervisor
from iovigil.agent.worker import Worker
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, StatsPage

DEADLINE_S = 20.0
QUICK = Patience(run_s=0.4, stop_s=0.3, kill_s=0.3)
STARTED = Patience(run_s=2.0, stop_s=0.3, kill_s=0.3)
"""For roles that have to be on the stage before they are asked to leave it."""
DISK = DiskSettings(name="data0", file="/nowhere/probe", size=0)
OPTIONS = JobOptions(rw="randread", time_based=True, runtime=100_000, ioengine="io_uring")

T = TypeVar("T")


def entry_for(disk: DiskSettings = DISK, probe: str = "latency", options: JobOptions = OPTIONS) -> ProbeEntry:
    return ProbeEntry(
        disk=disk.name, probe=probe, options=options, interval_s=10, timeout_s=10.1, engine=options.ioengine
    )


def supervisor_for(launch: Path, *, max_workers: int = 4, **more: Any) -> Supervisor:
    ledger = Ledger(disks={DISK.name: DiskEntry(name=DISK.name, path=DISK.path)})
    return Supervisor(ledger, max_workers, launcher=launch, **{"patience": QUICK, **more})


def in_time(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await work

    return asyncio.run(bounded())


def run_role(
    tmp_path: Path, role: str, patience: Patience = QUICK, **more: Any
) -> tuple[RunResult, ProbeEntry, Supervisor]:
    supervisor = supervisor_for(launcher(tmp_path, role), patience=patience)
    entry = entry_for(**more)
    supervisor.ledger.probes[entry.disk, entry.probe] = entry
    return in_time(supervisor.run(DISK, entry)), entry, supervisor


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_run_that_ends_well_is_booked(tmp_path: Path) -> None:
    result, entry, supervisor = run_role(tmp_path, WELL_BEHAVED)
    assert (result.failure, result.message, result.exit_status) == (None, "", 0)
    assert result.page.counter(Counter.IOS, 0) == 10
    assert entry.totals.counter(Counter.BYTES, 0) == 10 * 4096
    assert (entry.runs, entry.live, entry.last) == (1, None, LastRun.of(result))
    assert (supervisor.ledger.workers_running, supervisor.ledger.workers_abandoned) == (0, 0)


def test_the_child_is_given_the_order_and_little_else(tmp_path: Path) -> None:
    role = """
        target, options = order["targets"][0], order["options"]
        print(f"warning: {sorted(os.environ)} {target['path']} {options['ioengine']}", file=sys.stderr)
        print(f"warning: {order['parent_pid']} {os.getsid(0) == os.getpid()}", file=sys.stderr)
        print(f"warning: {len(os.listdir('/proc/self/fd'))}", file=sys.stderr)
        complete()
    """
    messages: list[str] = []
    supervisor = supervisor_for(launcher(tmp_path, role))
    in_time(supervisor.run(DISK, entry_for(), on_messages=messages.extend))
    environment, process, descriptors = messages
    # LC_CTYPE is Python's own addition to the C locale (PEP 538).
    assert environment == "warning: ['LANG', 'LC_CTYPE', 'PATH'] /nowhere/probe io_uring"
    assert process == f"warning: {os.getpid()} True"
    # Standard streams, order, stats page (the role maps it once more), and listdir's own.
    assert int(descriptors.removeprefix("warning: ")) <= 7


def test_counters_can_be_read_while_the_child_runs(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, OBEDIENT), patience=Patience(run_s=10))
    entry = entry_for()
    pages: list[StatsPage] = []

    async def look() -> RunResult:
        run = asyncio.create_task(supervisor.run(DISK, entry, pages.append))
        await until(lambda: entry.view().counter(Counter.IOS, 0))
        assert pages == [entry.live]
        assert supervisor.ledger.workers_running == 1
        supervisor.request_stop({("data0", "latency")})
        return await run

    assert in_time(look()).is_success
    assert entry.view().counter(Counter.IOS, 0) == 1


def test_a_clock_that_is_set_during_a_run_does_not_change_how_long_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = supervisor_for(launcher(tmp_path, WELL_BEHAVED))
    real = time.time

    def set_back(_: StatsPage) -> None:
        monkeypatch.setattr(time, "time", lambda: real() - 3600)

    result = in_time(supervisor.run(DISK, entry_for(), set_back))
    assert 0 < result.duration_s < DEADLINE_S


def test_a_killed_child_is_a_crash_and_its_counters_are_kept(tmp_path: Path) -> None:
    role = "do_io(7); os.kill(os.getpid(), signal.SIGKILL)"
    result, entry, _ = run_role(tmp_path, role)
    assert result.failure == Failure.CRASH
    assert result.signal == signal.SIGKILL
    assert "SIGKILL" in result.message
    assert entry.totals.counter(Counter.IOS, 0) == 7
    assert entry.failures[Failure.CRASH] == 1


@pytest.mark.parametrize(
    ("role", "failure", "text"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", Failure.CRASH, "SIGSEGV"),
        ("raise RuntimeError('no way')", Failure.CRASH, "before its job did: RuntimeError: no way"),
        ("sys.exit(0)", Failure.CRASH, "before its job did"),
        ("sys.exit(99)", Failure.CRASH, "unknown status 99"),
        ("print('error: /x is mounted', file=sys.stderr); sys.exit(3)", Failure.REFUSED, "/x is mounted"),
        ("print('error: No space left', file=sys.stderr); sys.exit(5)", Failure.SETUP, "No space left"),
        ("page.text = 'no memory for 4 GiB'; sys.exit(2)", Failure.SETUP, "no memory for 4 GiB"),
        ("put('error', 5); complete(); sys.exit(1)", Failure.IO_ERROR, os.strerror(errno.EIO)),
        ("put('error', 5); page.text = 'read at 4096: EIO'; sys.exit(1)", Failure.IO_ERROR, "read at 4096: EIO"),
        ("put('error', 5); page.text = 'rate_min: 3 KiB/s'; sys.exit(1)", Failure.RATE_MIN, "rate_min: 3 KiB/s"),
        ("put('total_errors', 2); complete(); sys.exit(0)", Failure.IO_ERROR, ""),
    ],
)
def test_the_reason_of_a_failure_is_told(tmp_path: Path, role: str, failure: Failure, text: str) -> None:
    result, entry, _ = run_role(tmp_path, role)
    assert result.failure == failure
    assert text in result.message
    assert "\n" not in result.message
    assert entry.failures[failure] == 1
    assert sum(entry.failures.values()) == 1


def test_a_late_child_is_asked_to_stop_and_the_run_is_a_timeout(tmp_path: Path) -> None:
    result, entry, _ = run_role(tmp_path, OBEDIENT)
    assert result.failure == Failure.TIMEOUT
    assert result.message.endswith(": stopped")
    assert result.exit_status == 0
    assert 0.5 <= result.duration_s < 5
    assert entry.failures[Failure.TIMEOUT] == 1


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    result, entry, supervisor = run_role(tmp_path, DEAF)
    assert result.failure == Failure.TIMEOUT
    assert result.message.endswith(": killed")
    assert result.signal == signal.SIGKILL
    assert entry.totals.counter(Counter.IOS, 0) == 3
    assert not supervisor.ledger.disks["data0"].is_stuck


def test_laying_out_a_probe_file_has_time_of_its_own(tmp_path: Path) -> None:
    # 0.1 s of run and 0.4 s of grace are over long before the first I/O.
    role = "time.sleep(1.0); put('first_io_ns', time.monotonic_ns()); time.sleep(0.1); complete()"
    supervisor = supervisor_for(launcher(tmp_path, role))
    disk = DiskSettings(name="data0", file="/nowhere/probe", size=40_000_000)  # 2 s of layout
    assert in_time(supervisor.run(disk, entry_for(disk))).failure is None


def test_the_time_for_layout_ends_with_the_first_io(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, "put('first_io_ns', time.monotonic_ns()); sleep_for_ever()"))
    disk = DiskSettings(name="data0", file="/nowhere/probe", size=200_000_000)  # 10 s of layout
    result = in_time(supervisor.run(disk, entry_for(disk)))
    assert result.failure == Failure.TIMEOUT
    assert result.duration_s < 5


def test_a_job_without_a_bound_has_no_deadline(tmp_path: Path) -> None:
    role = "time.sleep(1.0); complete()"
    result, _, _ = run_role(tmp_path, role, options=JobOptions(rw="read", size=1 << 20))
    assert result.is_success


class Unkillable(Worker):
    """A child in uninterruptible sleep, as far as the agent can tell."""

    def kill(self) -> None:
        pass

    def let_go(self) -> None:
        super().kill()


def unkillable(
    tmp_path: Path, workers: list[Unkillable] | None = None, cgroups: Cgroups | None = None
) -> tuple[Supervisor, list[Unkillable]]:
    workers = [] if workers is None else workers

    def spawn(order: dict[str, object], page: StatsPage, launch: Path) -> Worker:
        worker = Unkillable.spawn(order, page, launch)
        assert isinstance(worker, Unkillable)
        workers.append(worker)
        return worker

    supervisor = supervisor_for(launcher(tmp_path, DEAF), max_workers=1, spawn=spawn, cgroups=cgroups, patience=STARTED)
    return supervisor, workers


def test_a_child_that_cannot_be_killed_is_given_up_and_its_disk_left_alone(tmp_path: Path) -> None:
    supervisor, workers = unkillable(tmp_path)
    entry, other = entry_for(), entry_for(probe="integrity")
    elsewhere = DiskSettings(name="data1", file="/nowhere/else")

    async def scenario() -> None:
        result = await supervisor.run(DISK, entry)
        try:
            assert result.failure == Failure.TIMEOUT
            assert "does not end on SIGKILL" in result.message
            assert (result.exit_status, result.signal) == (None, None)
            assert entry.totals.counter(Counter.IOS, 0) == 3
            assert entry.stuck is not None
            assert entry.live is None
            assert supervisor.ledger.disks["data0"].is_stuck
            assert (supervisor.ledger.workers_running, supervisor.ledger.workers_abandoned) == (0, 1)
            assert supervisor.blocker(DISK, entry) == Skip.STUCK
            with pytest.raises(Busy):
                await supervisor.run(DISK, other)
            assert len(workers) == 1
            # It holds its disk, not a worker's place.
            assert supervisor.blocker(elsewhere, other) is None
        finally:
            workers[0].let_go()
        await until(lambda: not supervisor.ledger.workers_abandoned)

    in_time(scenario())


def quarantined_at(supervisor: Supervisor) -> DiskEntry:
    disk = supervisor.ledger.disks["data0"]
    supervisor.look()
    return disk


def end_back_off(supervisor: Supervisor) -> None:
    [case] = supervisor.ledger.quarantines.open_cases()
    case.end_s = 0.0


def test_a_run_killed_with_an_io_in_flight_puts_its_disk_into_quarantine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result, entry, supervisor = run_role(tmp_path, HUNG, STARTED)
    assert result.failure == Failure.TIMEOUT
    assert "its oldest I/O was in flight for 3" in result.message
    disk = supervisor.ledger.disks["data0"]
    assert (disk.is_stuck, disk.is_quarantined, disk.quarantines, disk.held_by) == (True, True, 1, 0)
    assert 55 < disk.quarantine_end_unix - time.time() < 70
    assert entry.oldest_inflight_s() > 30, "the page of the killed run goes on ageing"
    assert supervisor.blocker(DISK, entry) == Skip.QUARANTINED
    assert supervisor.blocker(DISK, entry_for(probe="other")) == Skip.QUARANTINED
    assert supervisor.blocker(DiskSettings(name="data1", file="/nowhere/else"), entry) is None
    [line] = [record for record in caplog.records if hasattr(record, "MESSAGE_ID")]
    assert "disk data0: an I/O of latency had not come back after 3" in line.getMessage()
    assert (line.__dict__["IOVIGIL_DISK"], line.__dict__["IOVIGIL_PROBE"]) == ("data0", "latency")


def test_a_run_hangs_as_well_that_was_long_in_starting(tmp_path: Path) -> None:
    """On a busy host a child takes seconds to start: its I/O is as much younger when its time is over."""
    role = """
        ignore_sigterm()
        time.sleep(1.5)
        put("first_io_ns", time.monotonic_ns())
        begin_io()
        sleep_for_ever()
    """
    _, entry, supervisor = run_role(tmp_path, role, Patience(run_s=2.0, stop_s=0.3, kill_s=0.3, hang_s=2.0))
    assert supervisor.blocker(DISK, entry) == Skip.QUARANTINED


def test_a_run_killed_with_a_young_io_or_none_is_slow_and_does_not_hang(tmp_path: Path) -> None:
    for role in (DEAF, DEAF.replace("sleep_for_ever", "begin_io(age_s=1); sleep_for_ever")):
        result, entry, supervisor = run_role(tmp_path, role, STARTED)
        assert result.message.split(";")[0].endswith(": killed")
        assert supervisor.blocker(DISK, entry) is None
        assert not quarantined_at(supervisor).is_stuck


def test_a_disk_on_which_ios_wait_long_and_come_back_does_not_hang(tmp_path: Path) -> None:
    role = """
        ignore_sigterm()
        for ios in range(1, 100):
            do_io(ios)
            begin_io(age_s=30)
            time.sleep(0.1)
        sleep_for_ever()
    """
    supervisor = supervisor_for(launcher(tmp_path, role), patience=STARTED)
    entry = entry_for()

    async def scenario() -> None:
        run = supervisor.start(DISK, entry)
        while not run.done():
            supervisor.look()
            await asyncio.sleep(0.1)
        assert run.result().message.split(";")[0].endswith(": killed")
        assert not supervisor.ledger.quarantines

    in_time(scenario())


def test_a_child_that_hangs_in_open_puts_its_disk_into_quarantine(tmp_path: Path) -> None:
    role = "page.state = RunState.NOT_CREATED; ignore_sigterm(); sleep_for_ever()"
    result, entry, supervisor = run_role(tmp_path, role, STARTED)
    assert result.failure == Failure.TIMEOUT
    assert supervisor.blocker(DISK, entry) == Skip.QUARANTINED


def test_a_trial_lifts_the_quarantine_when_it_ends_by_itself_and_doubles_it_when_it_hangs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    role = tmp_path / "role"
    launch = launcher(tmp_path, f"exec(open({str(role)!r}).read())")
    supervisor, entry = supervisor_for(launch, patience=STARTED), entry_for()
    supervisor.ledger.probes["data0", "latency"] = entry

    def run(text: str) -> RunResult:
        role.write_text(textwrap.dedent(text))
        return in_time(supervisor.run(DISK, entry))

    run(HUNG)
    first_s = quarantined_at(supervisor).quarantine_end_unix - time.time()
    assert not supervisor.is_trial_due(DISK, entry)
    end_back_off(supervisor)
    assert supervisor.is_trial_due(DISK, entry)
    assert not supervisor.is_trial_due(DISK, entry_for(probe="other")), "the probe that hung is the one to tell"
    assert supervisor.blocker(DISK, entry) is None
    run(HUNG)
    disk = quarantined_at(supervisor)
    assert disk.quarantine_end_unix - time.time() == pytest.approx(2 * first_s, rel=0.1)
    assert disk.quarantines == 1
    for nothing_told in ("sys.exit(3)", "raise RuntimeError"):
        end_back_off(supervisor)
        run(nothing_told)
        assert quarantined_at(supervisor).is_quarantined
        assert supervisor.blocker(DISK, entry) == Skip.QUARANTINED
    end_back_off(supervisor)
    run("do_io(1); put('total_errors', 1); put('error', 5); complete(); sys.exit(1)")
    disk = quarantined_at(supervisor)
    assert (disk.is_stuck, disk.is_quarantined, disk.quarantines, disk.quarantine_end_unix) == (False, False, 1, 0.0)
    assert entry.oldest_inflight_s() == 0
    assert supervisor.blocker(DISK, entry) is None
    lines = [record.getMessage() for record in caplog.records if hasattr(record, "MESSAGE_ID")]
    assert len(lines) == 2
    assert "disk data0 answers again" in lines[1]


def test_a_disk_that_is_given_up_is_tried_as_soon_as_its_child_has_gone(tmp_path: Path) -> None:
    supervisor, workers = unkillable(tmp_path)
    entry = entry_for()
    supervisor.ledger.probes["data0", "latency"] = entry

    async def scenario() -> None:
        await supervisor.run(DISK, entry)
        disk = supervisor.ledger.disks["data0"]
        assert (disk.is_stuck, disk.is_quarantined, disk.held_by) == (True, True, workers[0].pid)
        assert disk.quarantine_end_unix == 0, "nobody knows when"
        released, held = supervisor.release("data*")
        assert released == []
        assert f"child {workers[0].pid} of probe latency" in held[0]
        with pytest.raises(Busy, match=f"child {workers[0].pid} "):
            supervisor.start(DISK, entry)
        assert not supervisor.is_trial_due(DISK, entry)
        workers[0].let_go()
        await until(lambda: not supervisor.ledger.workers_abandoned)
        assert disk.is_quarantined, "not good before a run has ended"
        assert supervisor.is_trial_due(DISK, entry)

    in_time(scenario())


def test_an_abandoned_child_does_not_keep_another_disk_in_its_place_waiting(tmp_path: Path) -> None:
    supervisor, workers = unkillable(tmp_path)
    entry = entry_for()
    disk = supervisor.ledger.disks["data0"]
    disk.is_present = True
    disk.identity = {"device": "sda", "diskseq": "4", "serial": "A"}

    async def scenario() -> None:
        await supervisor.run(DISK, entry)
        try:
            assert supervisor.blocker(DISK, entry) == Skip.STUCK
            disk.identity = {"device": "sda", "diskseq": "9", "serial": "B"}
            supervisor.look()
            assert supervisor.blocker(DISK, entry) is None
            assert (disk.is_stuck, disk.is_quarantined) == (False, False)
            assert supervisor.ledger.workers_abandoned == 1
        finally:
            workers[0].let_go()
        await until(lambda: not supervisor.ledger.workers_abandoned)

    in_time(scenario())


def test_a_device_that_is_removed_hangs_no_more(tmp_path: Path) -> None:
    _, entry, supervisor = run_role(tmp_path, HUNG, STARTED)
    disk = supervisor.ledger.disks["data0"]
    for target, is_over in (("file", False), ("device", True)):
        disk.target, disk.is_present = target, False
        supervisor.look()
        assert disk.is_stuck is disk.is_quarantined is not is_over
    assert entry.oldest_inflight_s() == 0


def test_a_long_trial_need_not_end_for_the_disk_to_be_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iovigil.agent.run.STUCK_S", 0.5)
    role = tmp_path / "role"
    role.write_text(textwrap.dedent(HUNG))
    supervisor = supervisor_for(launcher(tmp_path, f"exec(open({str(role)!r}).read())"), patience=STARTED)
    entry = entry_for()

    async def scenario() -> None:
        await supervisor.run(DISK, entry)
        end_back_off(supervisor)
        role.write_text("put('first_io_ns', time.monotonic_ns()); do_io(1)\n" + textwrap.dedent(OBEDIENT))
        monkeypatch.setattr(entry, "options", JobOptions(rw="read", size=1 << 20))
        run = supervisor.start(DISK, entry)
        await until(lambda: entry.live is not None and entry.live.first_io_ns)
        supervisor.look()
        assert supervisor.ledger.quarantines, "not at the first I/O"
        await asyncio.sleep(0.6)
        supervisor.look()
        assert not supervisor.ledger.quarantines
        supervisor.request_stop({("data0", "latency")})
        await run

    in_time(scenario())


def test_a_reload_keeps_a_quarantine_and_forgets_that_of_a_disk_that_is_not_watched(tmp_path: Path) -> None:
    _, entry, supervisor = run_role(tmp_path, HUNG, STARTED)
    old = supervisor.ledger
    same = Ledger(disks={"renamed": DiskEntry(name="renamed", path=DISK.path)}, quarantines=old.quarantines)
    supervisor.adopt(same)
    assert (same.disks["renamed"].is_quarantined, same.disks["renamed"].quarantines) == (True, 1)
    other = Ledger(disks={"data0": DiskEntry(name="data0", path="/nowhere/else")}, quarantines=old.quarantines)
    supervisor.adopt(other)
    assert (other.disks["data0"].is_quarantined, other.disks["data0"].quarantines) == (False, 0)
    supervisor.adopt(old)
    assert supervisor.blocker(DISK, entry) is None


def test_a_run_that_hangs_takes_no_place_and_its_disk_is_stuck_while_it_goes_on(tmp_path: Path) -> None:
    role = """
        begin_io(age_s=59)
        time.sleep(2.5)
        end_io()
        do_io(1)
        complete()
    """
    supervisor = supervisor_for(launcher(tmp_path, role), max_workers=1, patience=Patience(run_s=10))
    entry, other = entry_for(), entry_for(probe="other")
    elsewhere = DiskSettings(name="data1", file="/nowhere/else")
    disk = supervisor.ledger.disks["data0"]

    async def scenario() -> None:
        run = supervisor.start(DISK, entry)
        assert supervisor.blocker(elsewhere, other) == Skip.CONCURRENCY
        await until(lambda: entry.oldest_inflight_s() > 59)
        supervisor.look()
        assert supervisor.blocker(elsewhere, other) is None
        assert not disk.is_stuck
        await until(lambda: entry.oldest_inflight_s() > 60)
        supervisor.look()
        assert (disk.is_stuck, disk.is_quarantined, entry.live is not None) == (True, False, True)
        assert supervisor.blocker(DISK, other) == Skip.CONCURRENCY
        assert (await run).is_success
        supervisor.look()
        assert not disk.is_stuck

    in_time(scenario())


def test_an_agent_that_stops_remembers_which_disk_hangs(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, HUNG), patience=Patience(run_s=60, stop_s=0.2))
    entry = entry_for()

    async def scenario() -> None:
        run = supervisor.start(DISK, entry)
        await until(lambda: entry.oldest_inflight_s() > 29)
        await supervisor.stop()
        assert supervisor.ledger.quarantines
        await run

    in_time(scenario())


class ReachingCgroups(Cgroups):
    """The kill of a group that reaches what SIGKILL to the session did not."""

    def __init__(self, workers: list[Unkillable]) -> None:
        super().__init__()
        self._workers = workers

    async def kill(self, disk: str, probe: str) -> bool:
        assert (disk, probe) == ("data0", "latency")
        self._workers[-1].let_go()
        return True


def test_before_a_child_is_given_up_its_control_group_is_killed(tmp_path: Path) -> None:
    workers: list[Unkillable] = []
    supervisor, _ = unkillable(tmp_path, workers, ReachingCgroups(workers))

    async def scenario() -> None:
        result = await supervisor.run(DISK, entry_for())
        assert result.failure == Failure.TIMEOUT
        assert result.message.endswith("killed with its control group")
        assert supervisor.ledger.workers_abandoned == 0

    in_time(scenario())


def test_a_disk_is_free_again_when_its_abandoned_child_has_gone(tmp_path: Path) -> None:
    supervisor, workers = unkillable(tmp_path)
    entry = entry_for()

    async def scenario() -> None:
        await supervisor.run(DISK, entry)
        ledger = Ledger(disks={"data0": DiskEntry(name="data0", path=DISK.path)})
        supervisor.adopt(ledger)
        try:
            assert ledger.disks["data0"].is_stuck, "a reload must not free a stuck disk"
        finally:
            workers[0].let_go()
        await until(lambda: not ledger.workers_abandoned)
        assert [disk.is_stuck for disk in ledger.disks.values()] == [False]
        assert entry.stuck is None
        assert supervisor.blocker(DISK, entry) is None

    in_time(scenario())


def test_a_reload_moves_the_mark_of_a_stuck_disk_with_the_disk_not_with_its_name(tmp_path: Path) -> None:
    supervisor, workers = unkillable(tmp_path)

    async def scenario() -> None:
        await supervisor.run(DISK, entry_for())
        renamed = DiskEntry(name="was-data0", path=DISK.path)
        other = DiskEntry(name="data0", path="/nowhere/else", is_stuck=True)
        supervisor.adopt(Ledger(disks={disk.name: disk for disk in (renamed, other)}))
        try:
            assert (renamed.is_stuck, other.is_stuck) == (True, False)
        finally:
            workers[0].let_go()
        await until(lambda: not renamed.is_stuck)

    in_time(scenario())


def test_two_ways_to_one_device_are_one_disk(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, OBEDIENT), patience=Patience(run_s=10), max_workers=2)
    link = DiskSettings(name="by-id", file="/nowhere/by-id")
    for name, path in ((DISK.name, DISK.path), (link.name, link.path)):
        supervisor.ledger.disks[name] = DiskEntry(name=name, path=path, identity={"device": "sda"})
    entry = entry_for()

    async def look() -> None:
        run = supervisor.start(DISK, entry)
        await until(lambda: entry.live)
        assert supervisor.blocker(link, entry_for()) == Skip.CONCURRENCY
        supervisor.ledger.disks[link.name].identity = {"device": "sdb"}
        assert supervisor.blocker(link, entry_for()) is None
        supervisor.request_stop({(entry.disk, entry.probe)})
        await run

    in_time(look())


ASLEEP = """
    assert order["let_sleep"] == "sda"
    sys.stderr.write("error: sda is in standby\\n")
    sys.exit(6)
"""


def test_a_run_on_a_disk_that_sleeps_is_skipped_and_no_run(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, ASLEEP))
    supervisor.ledger.disks[DISK.name].identity = {"device": "sda"}
    entry = entry_for()
    result = in_time(supervisor.run(DISK, entry))
    assert (result.failure, result.message) == (None, "left asleep: sda is in standby")
    assert (entry.runs, entry.skips[Skip.STANDBY], entry.last_success_unix) == (0, 1, 0.0)
    assert supervisor.blocker(DISK, entry) is None


FALL_BACK = """
    if order["options"]["ioengine"] == "io_uring":
        page.text = "io_uring_setup: Operation not permitted"
        sys.exit(4)
    do_io(5)
    complete()
"""


def test_the_next_engine_is_used_where_the_host_refuses_one(tmp_path: Path) -> None:
    spawned: list[str] = []

    def spawn(order: dict[str, Any], page: StatsPage, launch: Path) -> Worker:
        spawned.append(order["options"]["ioengine"])
        return Worker.spawn(order, page, launch)

    supervisor = supervisor_for(launcher(tmp_path, FALL_BACK), spawn=spawn)
    entry = entry_for()

    async def twice() -> tuple[RunResult, RunResult]:
        return await supervisor.run(DISK, entry), await supervisor.run(DISK, entry)

    first, second = in_time(twice())
    assert first.is_success
    assert second.is_success
    assert (first.engine, second.engine, entry.engine) == ("psync", "psync", "psync")
    assert spawned == ["io_uring", "psync", "psync"], "the second run starts on the engine that works"
    assert entry.fallbacks == 2
    assert (entry.runs, entry.totals.counter(Counter.IOS, 0)) == (2, 10)


def test_without_fallback_an_engine_that_is_not_there_is_the_failure(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, FALL_BACK))
    result = in_time(supervisor.run(DISK, entry_for(), fallback=False))
    assert result.failure == Failure.SETUP
    assert result.message == "io_uring_setup: Operation not permitted"


def test_a_disk_has_one_child_at_a_time_and_the_agent_no_more_than_its_workers(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, OBEDIENT), max_workers=1, patience=Patience(run_s=10))
    entry, other = entry_for(), entry_for(probe="integrity")
    elsewhere = DiskSettings(name="data1", file="/nowhere/else")
    renamed = DiskSettings(name="was-data0", file=DISK.file)

    async def scenario() -> None:
        task = supervisor.start(DISK, entry)
        assert supervisor.blocker(DISK, entry) == Skip.OVERLAP
        assert supervisor.blocker(DISK, other) == Skip.CONCURRENCY
        assert supervisor.blocker(elsewhere, other) == Skip.CONCURRENCY
        supervisor.max_workers = 2
        assert supervisor.blocker(elsewhere, other) is None
        assert supervisor.blocker(renamed, other) == Skip.CONCURRENCY
        supervisor.request_stop({("data0", "latency")})
        await task

    in_time(scenario())


def test_a_child_that_cannot_be_started_is_a_failure_of_setup(tmp_path: Path) -> None:
    def spawn(_order: dict[str, object], _page: StatsPage, _launch: Path) -> Worker:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    supervisor = supervisor_for(launcher(tmp_path, WELL_BEHAVED), spawn=spawn)
    result = in_time(supervisor.run(DISK, entry_for()))
    assert result.failure == Failure.SETUP
    assert "could not be started: Resource temporarily unavailable" in result.message


def test_a_child_that_floods_its_stderr_is_neither_blocked_nor_kept_whole(tmp_path: Path) -> None:
    role = """
        os.write(2, b"x" * 300_000 + b"\\n")
        for n in range(1000):
            print(f"warning: {n} " + "y" * 200, file=sys.stderr)
        complete()
    """
    messages: list[str] = []
    supervisor = supervisor_for(launcher(tmp_path, role), patience=Patience(run_s=10))
    result = in_time(supervisor.run(DISK, entry_for(), on_messages=messages.extend))
    assert result.is_success
    assert len(messages) == 20
    assert messages[-1].startswith("warning: 999 ")
    assert all(len(message) <= 4096 for message in messages)


def test_a_grandchild_that_holds_stderr_open_delays_nothing(tmp_path: Path) -> None:
    role = """
        if os.fork() == 0:
            die_with_parent()
            time.sleep(3)
            os._exit(0)
        complete()
    """
    started_s = time.monotonic()
    result, _, _ = run_role(tmp_path, role)
    assert result.is_success
    assert time.monotonic() - started_s < 2.5


def test_stop_ends_all_children_in_time_even_deaf_ones(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, DEAF), patience=Patience(run_s=60))
    entries = [entry_for(DiskSettings(name=f"d{n}", file=f"/nowhere/{n}")) for n in range(3)]

    async def scenario() -> float:
        tasks = [supervisor.start(DiskSettings(name=e.disk, file=f"/nowhere/{e.disk}"), e) for e in entries]
        await until(lambda: all(e.live and e.live.counter(Counter.IOS, 0) for e in entries))
        started_s = time.monotonic()
        await supervisor.stop()
        took_s = time.monotonic() - started_s
        assert all(task.done() for task in tasks)
        return took_s

    assert in_time(scenario()) < 4
    assert [e.failures[Failure.TIMEOUT] for e in entries] == [1, 1, 1]


def test_a_cancelled_run_leaves_no_child(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, DEAF), patience=Patience(run_s=60))
    entry = entry_for()

    async def scenario() -> None:
        task = supervisor.start(DISK, entry)
        await until(lambda: entry.live and entry.live.counter(Counter.IOS, 0))
        task.cancel()
        await until(task.done)
        await until(lambda: not supervisor.ledger.workers_abandoned)
        assert supervisor.blocker(DISK, entry) is None

    in_time(scenario())


def test_a_killed_agent_leaves_no_child(tmp_path: Path) -> None:
    """With the child's part in it, PR_SET_PDEATHSIG: the parent must have spawned it from its main thread."""
    pid_file = tmp_path / "pid"
    role = (
        f"die_with_parent(); open({str(pid_file)!r}, 'w').write(str(os.getpid())); ignore_sigterm(); sleep_for_ever()"
    )
    agent = tmp_path / "agent.py"
    agent.write_text(
        textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_supervisor import DISK, Patience, entry_for, supervisor_for
        supervisor = supervisor_for(Path({str(launcher(tmp_path, role))!r}), patience=Patience(run_s=60))
        asyncio.run(supervisor.run(DISK, entry_for()))
        """)
    )
    with started([sys.executable, str(agent)], log=tmp_path / "log") as process:
        pid = int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), "the child has started"))
        assert is_alive(pid)
        process.kill()
        wait_until(lambda: not is_alive(pid), "the child is gone with its agent")


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_zombie_and_no_descriptor_is_left(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, WELL_BEHAVED))
    entry = entry_for()

    async def scenario() -> None:
        await supervisor.run(DISK, entry)
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(5):
            await supervisor.run(DISK, entry)
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208

    others = zombies()  # left by tests before this one
    in_time(scenario())
    assert zombies() <= others


def zombies() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}

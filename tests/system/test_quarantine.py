"""A disk that hangs under a real agent: left alone, tried again, released by hand, remembered by the next agent."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_process import RunningAgent, is_alive, running_agent
from loop import command
from processes import wait_until
from scraping import IOVIGIL
from throttle import Throttle, can_throttle, throttled

pytestmark = [
    pytest.mark.requires_root,
    pytest.mark.requires_loop,
    pytest.mark.slow,
    pytest.mark.skipif(not can_throttle(), reason="needs the blkio controller of version 1 at its root"),
]

FLAGGED_S = 90.0
KILLED_S = 20.0
"""10 s after the end of a run, and the time that its child is given."""

CONFIG = """\
  web: {{enable_control: true}}
  max_workers: 1
disks:
  - {{name: hung, device: {device}}}
  - {{name: good, file: {directory}/good, size: 4MiB}}
probes:
  quick:
    every: 1s
    disks: [good]
    job: {{rw: randread, bs: 4k, runtime: 200ms, rate_iops: 50, direct: 1, ioengine: psync}}
  latency:
    every: {every}
    disks: [hung]
    job: {{rw: randread, bs: 4k, runtime: {runtime}, rate_iops: 200, iodepth: 4, direct: 1, ioengine: {engine}}}
"""


@pytest.fixture
def device(loop_device: Callable[..., Path]) -> Path:
    return loop_device()


@pytest.fixture
def throttle(device: Path) -> Iterator[Throttle]:
    with throttled(device) as throttle:
        yield throttle


def config(directory: Path, device: Path, engine: str, every: str = "2s", runtime: str = "500ms") -> str:
    return CONFIG.format(directory=directory, device=device, engine=engine, every=every, runtime=runtime)


def order(agent: RunningAgent, what: str, **named: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"{agent.url}/api/v1/{what}",
        data=json.dumps(named).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def run_now(agent: RunningAgent) -> None:
    """Once there is a worker for it."""
    wait_until(lambda: order(agent, "run", disk="hung", probe="latency")[0] == 202, "a run by hand")


def by_hand(agent: RunningAgent, *words: str) -> str:
    """What the command says; an empty text where the agent would not."""
    done = subprocess.run(
        [IOVIGIL, *words, "--url", agent.url], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    return done.stdout if done.returncode == 0 else ""


def told(agent: RunningAgent) -> dict[str, Any]:
    with urllib.request.urlopen(f"{agent.url}/api/v1/disks", timeout=10) as answer:
        disks = json.load(answer)["disks"]
    return dict(next(disk for disk in disks if disk["name"] == "hung"))


def hang(agent: RunningAgent, throttle: Throttle, deadline_s: float = KILLED_S) -> None:
    """Have the disk hang, and wait until the agent has given the run up."""
    agent.wait_for("last_run_success", disk="hung", probe="latency")
    throttle.shut()
    begun_s = time.monotonic()
    agent.wait_for("disk_quarantined", disk="hung", deadline_s=deadline_s)
    print(f"in quarantine after {time.monotonic() - begun_s:.1f} s")


def assert_recovered(agent: RunningAgent) -> None:
    wait_until(lambda: agent.value("disk_quarantined", disk="hung") == 0, "the end of the quarantine", 20)
    assert agent.value("disk_stuck", disk="hung") == 0
    assert agent.value("disk_quarantine_end_timestamp_seconds", disk="hung") == 0
    assert agent.value("oldest_inflight_io_seconds", disk="hung") < 5
    assert agent.value("workers", state="abandoned") == 0
    assert agent.value("last_run_success", disk="hung") == 1
    agent.wait_for_line("disk hung answers again")


def assert_the_other_disk_was_not_disturbed(agent: RunningAgent) -> None:
    assert agent.value("run_failures_total", disk="good") == 0
    # One worker: what hangs takes it for as long as it takes to see that.
    assert agent.value("runs_skipped_total", disk="good") <= 15
    runs = agent.value("runs_total", disk="good")
    agent.wait_for("runs_total", runs + 3, disk="good", deadline_s=6)


@pytest.mark.requires_io_uring
def test_a_disk_that_hangs_is_left_alone_though_its_child_could_be_killed(
    tmp_path: Path, device: Path, throttle: Throttle
) -> None:
    with running_agent(tmp_path, config(tmp_path, device, "io_uring")) as agent:
        hang(agent, throttle)
        assert agent.value("disk_stuck", disk="hung") == 1
        assert agent.value("disk_quarantines_total", disk="hung") == 1
        assert agent.value("workers", state="abandoned") == 0, "the child has gone: the I/O has not"
        assert 40 < agent.value("disk_quarantine_end_timestamp_seconds", disk="hung") - time.time() < 70
        age_s = agent.value("oldest_inflight_io_seconds", disk="hung")
        assert age_s > 10
        runs = agent.value("runs_total", disk="hung")
        agent.wait_for("runs_skipped_total", 3, disk="hung", reason="quarantined")
        assert agent.value("runs_total", disk="hung") == runs
        assert agent.value("oldest_inflight_io_seconds", disk="hung") >= age_s + 4, "it goes on ageing"
        assert_the_other_disk_was_not_disturbed(agent)
        disk = told(agent)
        assert (disk["is_stuck"], disk["is_quarantined"], disk["held_by"], disk["state"]) == (True, True, None, "stuck")
        assert "had not come back; tried again at" in disk["probes"][0]["reason"]

        end_unix = agent.value("disk_quarantine_end_timestamp_seconds", disk="hung")
        agent.wait_for("runs_total", runs + 1, disk="hung", deadline_s=end_unix - time.time() + KILLED_S)
        assert time.time() > end_unix, "the trial comes after the back-off"
        assert agent.value("disk_quarantine_end_timestamp_seconds", disk="hung") - time.time() > 100, "twice as long"
        assert agent.value("disk_quarantines_total", disk="hung") == 1
        assert agent.value("oldest_inflight_io_seconds", disk="hung") > 75, "it is still the same I/O"

        throttle.open()
        assert order(agent, "resume", disk="hung")[0] == 200
        assert_recovered(agent)


@pytest.mark.requires_io_uring
def test_a_disk_that_hung_for_a_moment_is_back_after_a_minute_whatever_the_interval(
    tmp_path: Path, device: Path, throttle: Throttle
) -> None:
    with running_agent(tmp_path, config(tmp_path, device, "io_uring", every="1h")) as agent:
        run_now(agent)
        agent.wait_for("last_run_success", disk="hung", probe="latency")
        throttle.shut()
        run_now(agent)
        agent.wait_for("disk_quarantined", disk="hung", deadline_s=KILLED_S)
        throttle.open()
        wait_until(lambda: agent.value("disk_quarantined", disk="hung") == 0, "the trial", 75)
        assert_recovered(agent)
        assert agent.value("runs_total", disk="hung") == 3


@pytest.mark.requires_io_uring
def test_run_now_is_a_trial_at_once_and_waits_for_its_end(tmp_path: Path, device: Path, throttle: Throttle) -> None:
    with running_agent(tmp_path, config(tmp_path, device, "io_uring")) as agent:
        hang(agent, throttle)
        throttle.open()
        wait_until(
            lambda: (said := by_hand(agent, "run-now", "hung", "latency", "--wait")) and "ok in" in said, "a run"
        )
        assert_recovered(agent)


@pytest.mark.requires_io_uring
def test_resume_has_it_tried_at_once_and_says_so(tmp_path: Path, device: Path, throttle: Throttle) -> None:
    with running_agent(tmp_path, config(tmp_path, device, "io_uring")) as agent:
        hang(agent, throttle)
        throttle.open()
        assert by_hand(agent, "resume", "hung") == "tried at once: hung, which is in quarantine until it answers\n"
        assert_recovered(agent)


def test_a_child_that_does_not_end_holds_its_disk_against_all_orders_and_the_next_agent(
    tmp_path: Path, device: Path, throttle: Throttle
) -> None:
    text = config(tmp_path, device, "psync")
    with running_agent(tmp_path, text) as agent:
        hang(agent, throttle)
        agent.wait_for("workers", state="abandoned")
        pid = told(agent)["held_by"]
        assert is_alive(pid)
        for what, names in (("run", {"disk": "hung", "probe": "latency"}), ("resume", {"disk": "hung"})):
            status, problem = order(agent, what, **names)
            assert (status, problem["reason"]) == (409, "stuck")
            assert f"child {pid} of probe latency still waits in the kernel for disk hung" in problem["detail"]
        agent.wait_for("runs_skipped_total", disk="hung", reason="stuck")
        assert_the_other_disk_was_not_disturbed(agent)
        os.kill(agent.pid, signal.SIGKILL)
        agent.process.wait(10)
    assert is_alive(pid)

    with running_agent(tmp_path, text) as agent:
        line = agent.wait_for_line("does not end")
        assert f"child {pid} of probe latency" in line
        assert agent.value("disk_stuck", disk="hung") == 1
        assert agent.value("disk_quarantines_total", disk="hung") == 1, "the same one goes on"
        assert agent.value("workers", state="abandoned") == 1
        age_s = agent.value("oldest_inflight_io_seconds", disk="hung")
        assert age_s > 15
        runs = agent.value("runs_total", disk="hung")
        agent.wait_for("runs_total", agent.value("runs_total", disk="good") + 3, disk="good")
        assert agent.value("runs_total", disk="hung") == runs, "no second child"
        throttle.open()
        wait_until(lambda: not is_alive(pid), "its end")
        assert_recovered(agent)


@pytest.mark.requires_io_uring
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_next_agent_does_not_begin_with_another_child_there(
    tmp_path: Path, device: Path, throttle: Throttle, number: signal.Signals
) -> None:
    text = config(tmp_path, device, "io_uring")
    with running_agent(tmp_path, text) as agent:
        hang(agent, throttle)
        runs = agent.value("runs_total", disk="hung")
        end_unix = agent.value("disk_quarantine_end_timestamp_seconds", disk="hung")
        agent.process.send_signal(number)
        agent.process.wait(10)
    with running_agent(tmp_path, text) as agent:
        agent.wait_for("runs_total", agent.value("runs_total", disk="good") + 2, disk="good")
        assert agent.value("disk_quarantined", disk="hung") == 1
        assert agent.value("disk_stuck", disk="hung") == 1
        assert agent.value("disk_quarantines_total", disk="hung") == 1
        assert agent.value("runs_total", disk="hung") == runs
        assert agent.value("oldest_inflight_io_seconds", disk="hung") > 12
        assert abs(agent.value("disk_quarantine_end_timestamp_seconds", disk="hung") - end_unix) < 2
        throttle.open()
        assert order(agent, "resume", disk="hung")[0] == 200
        assert_recovered(agent)


@pytest.mark.requires_io_uring
def test_a_long_run_that_hangs_is_seen_while_it_goes_on(tmp_path: Path, device: Path, throttle: Throttle) -> None:
    with running_agent(tmp_path, config(tmp_path, device, "io_uring", every="1h", runtime="10m")) as agent:
        run_now(agent)
        agent.wait_for("ios_total", 20, disk="hung")
        throttle.shut()
        begun_s = time.monotonic()
        agent.wait_for("disk_stuck", disk="hung", deadline_s=FLAGGED_S)
        assert 55 < time.monotonic() - begun_s < FLAGGED_S
        assert agent.value("disk_quarantined", disk="hung") == 0
        assert agent.value("run_in_progress", disk="hung") == 1
        assert_the_other_disk_was_not_disturbed(agent)
        throttle.open()
        wait_until(lambda: agent.value("disk_stuck", disk="hung") == 0, "the disk answers", 10)
        assert agent.value("run_in_progress", disk="hung") == 1


@pytest.mark.requires_mkfs
@pytest.mark.parametrize("engine", ["psync", pytest.param("io_uring", marks=pytest.mark.requires_io_uring)])
def test_a_frozen_file_system_is_left_alone_and_tried_when_it_thaws(
    tmp_path: Path, ext4_mount: Callable[..., Path], engine: str
) -> None:
    point = ext4_mount()
    text = config(tmp_path, point / "device", engine).replace(
        f"device: {point}/device", f"file: {point}/probe, size: 4MiB"
    )
    text = text.replace("rw: randread, bs: 4k, runtime: 500ms", "rw: randwrite, bs: 4k, runtime: 500ms")
    with running_agent(tmp_path, text) as agent:
        agent.wait_for("last_run_success", disk="hung", probe="latency")
        command("fsfreeze", "--freeze", point)
        try:
            agent.wait_for("disk_quarantined", disk="hung", deadline_s=KILLED_S)
            assert agent.value("disk_stuck", disk="hung") == 1
            assert agent.value("workers", state="abandoned") == 1
            assert agent.value("disk_quarantine_end_timestamp_seconds", disk="hung") == 0
            assert is_alive(told(agent)["held_by"])
            assert_the_other_disk_was_not_disturbed(agent)
        finally:
            command("fsfreeze", "--unfreeze", point)
        assert_recovered(agent)

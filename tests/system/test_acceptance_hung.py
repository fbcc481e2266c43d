"""A disk that answers nothing any more: it holds up its own child, and neither the agent nor any other disk."""

import statistics
import time
from pathlib import Path

import pytest
from agent_process import RunningAgent, is_alive, running_agent
from fault_disk import FaultDisk
from processes import wait_until

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop]

STOP_LIMIT_S = 5
SCRAPES = 20

# psync: a child that waits in pread for a block device does not end on SIGKILL.
CONFIG = """\
disks:
  - {{name: hung, device: {device}}}
  - {{name: good, file: {directory}/good, size: 4MiB}}
probes:
  latency:
    every: 1s
    job: {{rw: randread, bs: 4k, runtime: 500ms, rate_iops: 200, direct: 1, ioengine: psync}}
"""


def assert_scrapes_are_quick(agent: RunningAgent, when: str) -> None:
    times_s = []
    for _ in range(SCRAPES):
        start_s = time.monotonic()
        agent.scrape()
        times_s.append(time.monotonic() - start_s)
        time.sleep(0.02)
    median_s, worst_s = statistics.median(times_s), max(times_s)
    print(f"scrape while the disk {when}: median {1e3 * median_s:.1f} ms, worst {1e3 * worst_s:.1f} ms")
    assert median_s < 0.1
    assert worst_s < 0.3


@pytest.mark.slow
def test_a_hung_disk_is_given_up_and_taken_back_and_nothing_else_waits(tmp_path: Path, fault_disk: FaultDisk) -> None:
    device = fault_disk.as_loop_device()
    with running_agent(tmp_path, CONFIG.format(device=device, directory=tmp_path)) as agent:
        agent.wait_for("last_run_success", disk="hung")
        agent.wait_for("last_run_success", disk="good")
        fault_disk.hang(operation="read")
        fault_disk.wait_for_hung()
        child = agent.child_on(device)

        assert_scrapes_are_quick(agent, "hangs")
        age_s = agent.value("oldest_inflight_io_seconds", disk="hung")
        runs = agent.value("runs_total", disk="good")
        agent.wait_for("runs_total", runs + 3, disk="good", deadline_s=6)
        assert agent.value("oldest_inflight_io_seconds", disk="hung") >= age_s + 1
        assert agent.value("run_in_progress", disk="hung") == 1

        agent.wait_for("disk_stuck", disk="hung", deadline_s=30)
        assert is_alive(child)
        assert agent.value("workers", state="abandoned") == 1
        assert agent.value("run_failures_total", disk="hung", reason="timeout") == 1
        line = agent.wait_for_line("latency on hung failed (timeout)")
        assert f"child {child} does not end on SIGKILL: the disk is left alone until it does" in line
        assert agent.value("oldest_inflight_io_seconds", disk="hung") > 10, "its I/O goes on ageing"
        agent.wait_for("runs_skipped_total", disk="hung", reason="stuck")
        assert_scrapes_are_quick(agent, "is stuck")
        agent.wait_for_success(disk="good", deadline_s=4)

        fault_disk.release()
        wait_until(lambda: agent.value("disk_stuck") == 0, "the disk is free again")
        assert not is_alive(child)
        assert agent.value("workers", state="abandoned") == 0
        agent.wait_for_success(disk="hung")
        assert agent.value("oldest_inflight_io_seconds", disk="hung") < 5
        assert agent.value("run_failures_total", disk="good") == 0
        assert agent.value("runs_skipped_total", disk="good") == 0


def test_the_agent_stops_in_time_with_a_child_that_cannot_be_killed(tmp_path: Path, fault_disk: FaultDisk) -> None:
    device = fault_disk.as_loop_device()
    with running_agent(tmp_path, CONFIG.format(device=device, directory=tmp_path)) as agent:
        agent.wait_for("last_run_success", disk="hung")
        fault_disk.hang(operation="read")
        fault_disk.wait_for_hung()
        child = agent.child_on(device)
        start_s = time.monotonic()
        agent.process.terminate()
        assert agent.process.wait(STOP_LIMIT_S) == 0
        print(f"stopped in {time.monotonic() - start_s:.1f} s")
        assert is_alive(child), "it was not the child's end that was waited for"
        fault_disk.release()
        wait_until(lambda: not is_alive(child), "the child is gone with its I/O")
        agent.wait_for_line("stopped")

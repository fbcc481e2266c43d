"""A disk that has become slow stands out against its own past, and one that others keep busy does not."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import RunningAgent, running_agent
from fault_disk import FaultDisk
from processes import started, wait_until

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop, pytest.mark.requires_fio, pytest.mark.slow]

RUNS_LEARNT = 30
LEARNING_S = 180.0
DEADLINE_S = 120.0

# The disk takes some milliseconds for each read: not the CPU of a busy machine is to be measured. And a run is to have
# I/Os enough when it takes many.
USUAL_S = 0.002
SLOW_S = 0.015

CONFIG = """\
disks:
  - {{name: watched, device: {device}}}
probes:
  latency:
    every: 2s
    job: {{rw: randread, bs: 4k, runtime: 1500ms, rate_iops: 100, direct: 1, ioengine: psync}}
"""


@pytest.fixture
def device(fault_disk: FaultDisk) -> Path:
    fault_disk.delay(USUAL_S, operation="read")
    return fault_disk.as_loop_device()


@contextlib.contextmanager
def agent_that_knows(device: Path, directory: Path) -> Iterator[RunningAgent]:
    """An agent that has learnt what is usual."""
    with running_agent(directory, CONFIG.format(device=device)) as agent:
        agent.wait_for("baseline_runs", RUNS_LEARNT, deadline_s=LEARNING_S)
        agent.wait_for("slowdown_state", state="usual", deadline_s=DEADLINE_S)
        yield agent


def test_a_slow_disk_is_seen_and_known_again_after_a_restart(
    tmp_path: Path, fault_disk: FaultDisk, device: Path
) -> None:
    with agent_that_knows(device, tmp_path) as agent:
        assert agent.value("baseline_latency_seconds", q="0.5") == pytest.approx(USUAL_S, rel=1.0)
        assert agent.value("slowdown_ratio") < 1.5
        fault_disk.delay(SLOW_S, operation="read")
        agent.wait_for("slowdown_ratio", 2.5, deadline_s=DEADLINE_S)
        agent.wait_for("slowdown_state", state="slow", deadline_s=DEADLINE_S)
        agent.wait_for("slowdown_score", 0.0002, deadline_s=DEADLINE_S)
        assert agent.value("last_run_foreign_busy_ratio") < 0.1
        runs = agent.value("baseline_runs")
    with running_agent(tmp_path, CONFIG.format(device=device)) as agent:
        # Before its first run has ended.
        assert agent.value("baseline_runs") >= runs
        assert agent.value("slowdown_score") >= 0.0002
        agent.wait_for_success()
        assert agent.value("slowdown_ratio") > 2.0
        fault_disk.clear()
        fault_disk.delay(USUAL_S, operation="read")
        agent.wait_for("slowdown_state", state="usual", deadline_s=DEADLINE_S)


def test_a_busy_disk_is_told_to_be_busy_and_not_slow(tmp_path: Path, device: Path) -> None:
    with agent_that_knows(device, tmp_path) as agent, foreign_fio(device, tmp_path):
        agent.wait_for("last_run_foreign_busy_ratio", 0.6, deadline_s=DEADLINE_S)
        agent.wait_for("slowdown_state", state="busy", deadline_s=DEADLINE_S)
        for _ in range(10):
            agent.wait_for_success()
            assert agent.value("slowdown_state", state="slow") == 0
        assert agent.value("slowdown_ratio") < 1.5
        assert agent.value("slowdown_score") == 0.0


@contextlib.contextmanager
def foreign_fio(device: Path, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    job = [
        "--rw=randread",
        "--bs=64k",
        "--iodepth=8",
        "--ioengine=libaio",
        "--direct=1",
        "--time_based",
        "--runtime=300",
    ]
    log = directory / "fio.log"
    with started(["fio", "--name=foreign", f"--filename={device}", "--readonly", *job], log=log) as process:
        wait_until(lambda: process.poll() is None, "fio runs", 5)
        yield process

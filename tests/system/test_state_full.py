"""A state directory that cannot be written, with memory that is full as well: said once, and nothing is lost to it."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import COUNTS, RunningAgent, Series, running_agent
from fault_disk import FaultDisk
from footprint import Slack, assert_nothing_leaked, footprint
from loop import command
from processes import free_port, wait_until
from scraping import get

from iovigil.agent import history
from iovigil.agent.history import History

MIB = 1 << 20
RETRY_S = 75.0
"""It is tried again every minute."""

CONFIG = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 1MiB}}
probes:
  latency: {{every: 1s, job: {{rw: randread, bs: 4k, runtime: 200ms, rate_iops: 200}}}}
"""

pytestmark = pytest.mark.requires_root


@contextlib.contextmanager
def in_memory(point: Path, size: int) -> Iterator[Path]:
    point.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", point)
    try:
        yield point
    finally:
        command("umount", "--lazy", point)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path / "state", 8 * MIB) as point:
        yield point


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with in_memory(tmp_path / "memory", 4 * MIB) as point:
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(point))
        yield point


def fill(place: Path) -> None:
    with contextlib.suppress(OSError), (place / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))


def counted(agent: RunningAgent) -> dict[Series, float]:
    return {series: value for series, value in agent.samples().items() if series[0].endswith(COUNTS)}


def assert_none_fell(shown: dict[Series, float], agent: RunningAgent) -> None:
    now = agent.samples()
    assert not {series: value for series, value in shown.items() if now.get(series, -1) < value}


def a_run_fails(agent: RunningAgent) -> None:
    failed = agent.value("run_failures_total", reason="crash")
    child = agent.child_on(agent.config.parent / "data0")
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    agent.wait_for("run_failures_total", failed + 1, reason="crash")


@pytest.mark.slow
def test_what_was_counted_while_there_was_no_room_is_kept_when_there_is(
    tmp_path: Path, state: Path, memory: Path
) -> None:
    port, config = free_port(), CONFIG.format(directory=tmp_path)
    with running_agent(tmp_path, config, port=port) as agent:
        agent.wait_for("runs_total", 2)
        before = footprint(agent.pid)
        fill(state)
        fill(memory)
        a_run_fails(agent)
        agent.wait_for_line("make room in the state directory")
        agent.wait_for_line("counters cannot be kept in")
        a_run_fails(agent)
        agent.wait_for("runs_total", agent.value("runs_total") + 3)
        (state / "filling").unlink()
        (memory / "filling").unlink()
        deadline = time.monotonic() + RETRY_S
        wait_until(lambda: agent.samples() and agent.lines("is written again"), "the history is written", RETRY_S)
        left_s = max(deadline - time.monotonic(), 5.0)
        wait_until(lambda: agent.samples() and agent.lines("are kept in"), "the counters are kept", left_s)
        for complaint in ("make room in the state directory", "counters cannot be kept in"):
            assert len(agent.lines(complaint)) == 1
        agent.wait_for("runs_total", agent.value("runs_total") + 2)
        assert_nothing_leaked(before, agent.pid)
        shown = counted(agent)
        agent.process.kill()
        agent.process.wait(20)
    with running_agent(tmp_path, config, port=port) as agent:
        assert_none_fell(shown, agent)
    assert len(History(history.database(state)).latest(is_failed=True)) == 2


def test_a_state_directory_that_becomes_read_only_stops_no_probe(tmp_path: Path, state: Path) -> None:
    port, config = free_port(), CONFIG.format(directory=tmp_path)
    with running_agent(tmp_path, config, port=port) as agent:
        agent.wait_for("runs_total", 2)
        # The agent holds its lock there: what a failing disk's filesystem does, mount(8) refuses to do by hand.
        remounted = subprocess.run(["mount", "-o", "remount,ro", state], capture_output=True, timeout=20, check=False)
        if remounted.returncode:
            command("mount", "-o", "remount,size=4k", state)
            fill(state)
        a_run_fails(agent)
        agent.wait_for_line("is tried again")
        agent.wait_for("runs_total", agent.value("runs_total") + 2)
        shown = counted(agent)
        agent.process.kill()
        agent.process.wait(20)
    command("mount", "-o", f"remount,rw,size={8 * MIB}", state)
    with running_agent(tmp_path, config, port=port) as agent:
        assert_none_fell(shown, agent)


def test_a_state_directory_that_is_removed_stops_no_probe_and_is_not_made_again_elsewhere(tmp_path: Path) -> None:
    port, config, state = free_port(), CONFIG.format(directory=tmp_path), tmp_path / "state"
    with running_agent(tmp_path, config, port=port) as agent:
        agent.wait_for("runs_total", 2)
        shutil.rmtree(state)
        a_run_fails(agent)
        agent.wait_for_line("is tried again")
        agent.wait_for("runs_total", agent.value("runs_total") + 2)
        assert not state.exists()
        state.mkdir()
        shown = counted(agent)
        agent.process.terminate()
        assert agent.process.wait(20) == 0
    assert len(History(history.database(state)).latest(is_failed=True)) == 1
    with running_agent(tmp_path, config, port=port) as agent:
        assert_none_fell(shown, agent)


@pytest.mark.requires_fuse
@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
@pytest.mark.slow
def test_a_state_directory_that_hangs_costs_a_few_threads_and_nothing_else(
    tmp_path: Path, faulty_ext4: Path, fault_disk: FaultDisk
) -> None:
    (tmp_path / "state").symlink_to(faulty_ext4)
    port, config = free_port(), CONFIG.format(directory=tmp_path)
    with running_agent(tmp_path, config, port=port) as agent:
        agent.wait_for("runs_total", 2)
        before = footprint(agent.pid)
        fault_disk.hang()
        try:
            a_run_fails(agent)
            agent.wait_for_line("does not answer within", 30)
            for _ in range(20):
                started_s = time.perf_counter()
                agent.scrape()
                assert time.perf_counter() - started_s < 1
                with contextlib.suppress(OSError):
                    get(f"{agent.url}/api/v1/runs")
            agent.wait_for("runs_total", agent.value("runs_total") + 2)
            # One writes, and four read for the API: all others are told that it does not answer.
            assert_nothing_leaked(before, agent.pid, Slack(threads=6, descriptors=16))
        finally:
            fault_disk.release()
        agent.wait_for("runs_total", agent.value("runs_total") + 2)
        assert_nothing_leaked(before, agent.pid)
        shown = counted(agent)
        agent.process.terminate()
        assert agent.process.wait(20) == 0
    assert len(History(history.database(faulty_ext4)).latest(is_failed=True)) == 1
    with running_agent(tmp_path, config, port=port) as agent:
        assert_none_fell(shown, agent)


def test_a_history_that_is_a_pipe_stops_neither_probes_nor_scrapes(tmp_path: Path) -> None:
    port, config = free_port(), CONFIG.format(directory=tmp_path)
    (tmp_path / "state").mkdir()
    os.mkfifo(tmp_path / "state" / "history.db")
    with running_agent(tmp_path, config, port=port) as agent:
        agent.wait_for("runs_total", 3)
        a_run_fails(agent)
        agent.wait_for_line("history.db")
        agent.wait_for("runs_total", agent.value("runs_total") + 2)
        before = footprint(agent.pid)
        agent.wait_for("runs_total", agent.value("runs_total") + 3)
        assert_nothing_leaked(before, agent.pid)
        agent.process.terminate()
        assert agent.process.wait(20) == 0

"""SIGKILL to a child at work and to the agent: nothing is lost, nobody is left, the next run is a good one."""

import os
import signal
import time
from pathlib import Path

from agent_process import MIB, children_of, is_alive, owner_of, running_agent, target_of_children
from processes import free_port, wait_until

KIB = 1 << 10

READS = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 4MiB}}
probes:
  latency:
    every: 2s
    job: {{rw: randread, bs: 4k, runtime: 1500ms, rate_iops: 200, direct: 1}}
"""
# Half of the runtime is for writing, and the rate stretches that half.
VERIFIES = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 4MiB}}
probes:
  integrity:
    every: 3s
    job: {{rw: randwrite, bs: 64k, iodepth: 8, size: 4MiB, verify: crc32c, runtime: 2s, rate_iops: 50}}
"""
BOTH = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 4MiB}}
  - {{name: data1, file: {elsewhere}/data1, size: 4MiB}}
probes:
  latency:
    every: 3s
    disks: [data0]
    job: {{rw: randread, bs: 4k, runtime: 2900ms, rate_iops: 200, direct: 1}}
  integrity:
    every: 3s
    disks: [data1]
    job: {{rw: randwrite, bs: 64k, iodepth: 8, size: 4MiB, verify: crc32c, runtime: 2s, rate_iops: 50}}
"""


def test_a_child_killed_in_mid_read_is_a_crash_and_the_next_run_is_not(tmp_path: Path) -> None:
    with running_agent(tmp_path, READS.format(directory=tmp_path)) as agent:
        child = agent.child_on(tmp_path / "data0")
        before = agent.wait_for("io_bytes_total", 16 * KIB, operation="read")
        os.kill(child, signal.SIGKILL)
        agent.wait_for("run_failures_total", reason="crash")
        assert "latency on data0 failed (crash): the child was killed by SIGKILL" in agent.wait_for_line("(crash)")
        assert agent.value("last_run_success") == 0
        assert agent.value("run_in_progress") == 0
        kept = agent.value("io_bytes_total", operation="read")
        assert kept >= before
        assert not is_alive(child)

        agent.wait_for_success(disk="data0")
        assert agent.value("runs_total") == 2
        assert agent.value("run_failures_total") == 1
        assert agent.value("io_bytes_total", operation="read") > kept
    assert owner_of(tmp_path / "data0") == ("data0", 4 * MIB)


def test_a_child_killed_in_mid_write_leaves_our_file_and_the_next_run_verifies(tmp_path: Path) -> None:
    with running_agent(tmp_path, VERIFIES.format(directory=tmp_path)) as agent:
        child = agent.child_on(tmp_path / "data0")
        written = agent.wait_for("io_bytes_total", 256 * KIB, operation="write")
        assert agent.value("verified_bytes_total") == 0, "it still writes"
        os.kill(child, signal.SIGKILL)
        agent.wait_for("run_failures_total", reason="crash")
        assert "integrity on data0 failed (crash): the child was killed by SIGKILL" in agent.wait_for_line("(crash)")
        assert agent.value("io_bytes_total", operation="write") >= written
        assert owner_of(tmp_path / "data0") == ("data0", 4 * MIB)
        assert not is_alive(child)
        assert children_of(agent.pid) == []

        agent.wait_for_success(disk="data0")
        assert agent.value("verified_bytes_total") >= 1 * MIB
        assert agent.value("verify_mismatches_total") == 0
        assert agent.value("run_failures_total") == 1
    assert owner_of(tmp_path / "data0") == ("data0", 4 * MIB)


def test_a_killed_agent_takes_its_children_along_and_another_starts_at_once(tmp_path: Path, elsewhere: Path) -> None:
    port, config = free_port(), BOTH.format(directory=tmp_path, elsewhere=elsewhere)
    with running_agent(tmp_path, config, port=port) as agent:
        wait_until(lambda: len(target_of_children(agent.pid)) == 2, "both disks have a run in progress")
        agent.wait_for("ios_total", 10, disk="data1", operation="write")
        children = children_of(agent.pid)
        killed_s = time.monotonic()
        agent.process.kill()
        wait_until(lambda: not any(map(is_alive, children)), "the children are gone", deadline_s=2)
        print(f"children gone {1e3 * (time.monotonic() - killed_s):.0f} ms after their agent")

    with running_agent(tmp_path, config, port=port) as agent:
        agent.wait_for("last_run_success", disk="data0")
        agent.wait_for("last_run_success", disk="data1")
        assert agent.value("run_failures_total") == 0
        assert agent.value("verified_bytes_total", disk="data1") > 0
    assert owner_of(elsewhere / "data1") == ("data1", 4 * MIB)
    assert [path.name for path in tmp_path.glob("*.partial")] == []

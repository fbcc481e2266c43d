"""A child that hangs, the shipped unit, and the agent that is started beside it: found, from within the sandbox."""

import textwrap
from pathlib import Path

import pytest
from installed_agent import UNIT, InstalledAgent, installed, why_not_here
from processes import wait_until
from throttle import can_throttle, throttled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.requires_root,
    pytest.mark.requires_nspawn,
    pytest.mark.requires_loop,
    pytest.mark.requires_mkfs,
    pytest.mark.skipif(not can_throttle(), reason="needs the blkio controller of version 1 at its root"),
]

KILLED_S = 30.0


def test_the_next_agent_finds_the_child_that_the_one_before_has_left(tmp_path: Path) -> None:
    if reason := why_not_here():
        pytest.skip(reason)
    with installed(tmp_path) as agent, throttled(Path(agent.device)) as throttle:
        agent.reset()
        agent.configure(
            textwrap.dedent(f"""\
            disks:
              - {{name: raw, device: {agent.device}}}
            probes:
              latency:
                every: 1s
                job: {{rw: randread, runtime: 300ms, rate_iops: 200, direct: 1, ioengine: psync}}
            """)
        )
        agent.start()
        agent.wait_for("iovigil_runs_total", disk="raw")
        throttle.shut()

        def is_given_up() -> bool:
            return value(agent, "iovigil_workers", state="abandoned") == 1

        wait_until(is_given_up, "that the child is given up", KILLED_S)
        first = agent.main_pid
        [left] = agent.children()
        # Systemd waits for the child, too, before it starts another agent beside it.
        agent.container.run("systemctl", "restart", UNIT, deadline_s=60)
        assert agent.main_pid != first
        assert left in agent.exist({left})
        assert value(agent, "iovigil_workers", state="abandoned") == 1
        assert value(agent, "iovigil_disk_stuck", disk="raw") == 1
        assert value(agent, "iovigil_disk_quarantines_total", disk="raw") == 1
        runs = value(agent, "iovigil_runs_total", disk="raw")
        agent.wait_for("iovigil_runs_skipped_total", 3, disk="raw", reason="stuck")
        assert value(agent, "iovigil_runs_total", disk="raw") == runs
        assert agent.children() == {left}
        agent.wait_for_message(f"child {left} of probe latency still waits in the kernel for disk raw")
        throttle.open()
        wait_until(lambda: value(agent, "iovigil_disk_stuck", disk="raw") == 0, "that the disk is good", KILLED_S)
        assert value(agent, "iovigil_last_run_success", disk="raw") == 1


def value(agent: InstalledAgent, name: str, **labels: str) -> float:
    return agent.scrape().value(name, **labels)

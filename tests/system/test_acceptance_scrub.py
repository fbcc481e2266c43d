"""A scrub by a whole agent: it keeps its period, finds what is wrong, and goes on where it was after any end."""

import os
import signal
from pathlib import Path

from agent_process import MIB, running_agent
from processes import wait_until

from iovigil.engines.scrub_state import ScrubState

BLOCK = 16 << 10
CONFIG = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 4MiB}}
probes:
  scrub:
    kind: scrub
    every: 1s
    period: 6s
    rewrite: 50%
    job: {{bs: 16k, iodepth: 4, runtime: 900ms, rate: 16m}}
"""


def state_of(directory: Path) -> dict[str, int]:
    [path] = directory.rglob("scrub/scrub@data0")
    fd = os.open(path, os.O_RDWR)
    try:
        return ScrubState(fd).read()
    finally:
        os.close(fd)


def test_a_scrub_keeps_its_period_and_goes_on_after_its_agent_was_killed(tmp_path: Path) -> None:
    with running_agent(tmp_path, CONFIG.format(directory=tmp_path)) as agent:
        agent.wait_for("scrub_cycles_total", 2, deadline_s=40)
        assert agent.value("scrub_region_bytes") == 4 * MIB
        assert agent.value("run_failures_total") == 0
        assert agent.value("verify_mismatches_total") == 0
        # The first cycle, and then 4 MiB in five seconds: not the 16 MiB that the rate would allow in one.
        assert agent.value("scrub_last_cycle_end_timestamp_seconds") > agent.value("scrub_period_seconds") == 6
        os.kill(agent.pid, signal.SIGKILL)
        agent.process.wait(10)
        before = state_of(tmp_path)
    with running_agent(tmp_path, CONFIG.format(directory=tmp_path)) as agent:
        agent.wait_for("scrub_cycles_total", before["cycles_completed"] + 1, deadline_s=40)
        assert state_of(tmp_path)["region_id"] == before["region_id"]
        assert agent.value("verify_mismatches_total") == 0
        assert not agent.lines("written anew")


def test_rot_is_reported_once_by_kind_and_is_a_failure_of_verify(tmp_path: Path) -> None:
    with running_agent(tmp_path, CONFIG.format(directory=tmp_path)) as agent:
        agent.wait_for("scrub_cycles_total", 1, deadline_s=40)
        fd = os.open(tmp_path / "data0", os.O_RDWR)
        byte = os.pread(fd, 1, 100 * BLOCK + 5000)
        os.pwrite(fd, bytes([byte[0] ^ 0x40]), 100 * BLOCK + 5000)
        os.fsync(fd)
        os.close(fd)
        agent.wait_for("verify_mismatches_total", 1, kind="checksum", deadline_s=40)
        agent.wait_for("run_failures_total", 1, reason="verify")
        line = agent.wait_for_line("wrong checksum on disk data0")
        assert f"offset {100 * BLOCK}" in line
        assert "1 wrong bit" in line
        [received] = tmp_path.rglob(f"dumps/data0.{100 * BLOCK}.*.received")
        found, wanted = received.read_bytes(), received.with_suffix(".expected").read_bytes()
        assert [at for at in range(BLOCK) if found[at] != wanted[at]] == [5000]
        cycles = agent.value("scrub_cycles_total")
        agent.wait_for("scrub_cycles_total", cycles + 2, deadline_s=40)
        assert agent.value("verify_mismatches_total") == 1


def test_a_probe_file_that_was_removed_is_made_and_scrubbed_anew(tmp_path: Path) -> None:
    with running_agent(tmp_path, CONFIG.format(directory=tmp_path)) as agent:
        agent.wait_for("scrub_cycles_total", 1, deadline_s=40)
        life = state_of(tmp_path)["region_id"]
        (tmp_path / "data0").unlink()
        agent.wait_for_line("has been made anew", 40)
        wait_until(lambda: state_of(tmp_path)["cycles_completed"] >= 2, "it goes on", 40)
        assert state_of(tmp_path)["region_id"] != life
        assert agent.value("verify_mismatches_total") == 0

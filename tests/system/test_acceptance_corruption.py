"""Data corruption under a running agent: said once and at once, and kept over a restart."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_process import MIB, RunningAgent, running_agent
from fault_disk import FaultDisk, place_on_disk
from loop import command
from scraping import IOVIGIL

from iovigil.agent import history

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_mkfs, pytest.mark.requires_loop]

BLOCK = 64 << 10
BEGINS = "data corruption: block with a wrong checksum on disk faulty"
ENDS = "data corruption on disk faulty: the burst has ended"

CONFIG = """\
disks:
  - {{name: faulty, file: {file}, size: 2MiB}}
probes:
  probe:
    every: {every}
    job: {{rw: write, bs: 64k, size: 2MiB, verify: crc32c, direct: 1, {more}}}
"""
SHORT = {"every": "1s", "more": "runtime: 500ms, time_based: 0"}
LONG = {"every": "1m", "more": "runtime: 20s, rate_iops: 40, verify_backlog: 8"}


def told(state: Path) -> list[dict[str, Any]]:
    """What `iovigil mismatches --json` says."""
    done = subprocess.run(
        [IOVIGIL, "mismatches", "--json", "--state-directory", state],
        capture_output=True, check=True, timeout=30,
    )  # fmt: skip
    return list(json.loads(done.stdout))


def corrupt(agent: RunningAgent, fault_disk: FaultDisk, file: Path) -> int:
    """Flip a bit of the file, as it is read; the offset of its block."""
    block = 5 * BLOCK
    fault_disk.flip(place_on_disk(file) + block + 1234, bit=3)
    agent.wait_for("verify_mismatches_total", kind="checksum")
    return block


def test_a_burst_is_one_line_and_outlives_the_agent(fault_disk: FaultDisk, faulty_ext4: Path, tmp_path: Path) -> None:
    file = faulty_ext4 / "probe"
    config = CONFIG.format(file=file, **SHORT)
    with running_agent(tmp_path, config) as agent:
        agent.wait_for_success(disk="faulty")
        assert agent.value("verify_last_mismatch_timestamp_seconds") == 0
        before_unix = time.time()
        block = corrupt(agent, fault_disk, file)
        agent.wait_for("run_failures_total", 3, reason="verify")
        [said] = agent.lines(BEGINS)
        assert f"at offset {block}, length {BLOCK}: " in said
        assert f"first wrong byte {block + 1234} (byte 1234 of the block)" in said
        assert agent.lines(ENDS) == []
        fault_disk.clear()
        agent.wait_for_success(disk="faulty")
        found = int(agent.value("verify_mismatches_total"))
        last_unix = agent.value("verify_last_mismatch_timestamp_seconds")
        assert before_unix < last_unix < time.time()
    [ended] = agent.lines(ENDS)
    assert f"{found} blocks: {found} checksum; bytes {block} to {block + BLOCK - 1}" in ended
    assert "EILSEQ" not in agent.log.read_text()

    kept = told(tmp_path / "state")
    assert len(kept) == found
    assert {(each["disk"], each["probe"], each["kind"], each["offset"]) for each in kept} == {
        ("faulty", "probe", "checksum", block)
    }
    assert kept[-1]["found_unix"] == pytest.approx(last_unix, abs=0.01)
    [received] = kept[0]["dumps"]
    assert received in said
    wrong, right = Path(received).read_bytes(), Path(received).with_suffix(".expected").read_bytes()
    assert [at for at in range(BLOCK) if wrong[at] != right[at]] == [1234]

    with running_agent(tmp_path, config) as agent:
        agent.wait_for_success(disk="faulty")
        assert agent.value("verify_mismatches_total") == found, "counters go on, and nothing is found again"
        assert agent.value("verify_last_mismatch_timestamp_seconds") == pytest.approx(last_unix, abs=0.01)
        assert agent.lines("corruption") == []


def test_a_long_run_is_told_of_while_it_runs(fault_disk: FaultDisk, faulty_ext4: Path, tmp_path: Path) -> None:
    file = faulty_ext4 / "probe"
    with running_agent(tmp_path, CONFIG.format(file=file, **LONG)) as agent:
        agent.wait_for("verified_bytes_total", 2 * BLOCK, deadline_s=90)
        corrupt(agent, fault_disk, file)
        agent.wait_for_line(BEGINS)
        assert agent.value("verify_last_mismatch_timestamp_seconds") > 0
        assert agent.lines("(verify)") == [], "the run has not ended yet"
        deadline_s = time.monotonic() + 10
        while not told(tmp_path / "state"):
            assert time.monotonic() < deadline_s
    assert len(agent.lines(BEGINS)) == 1
    assert len(agent.lines(ENDS)) == 1


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A state directory of 1 MiB, most of it taken."""
    state = tmp_path / "state"
    state.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=1m", "none", state)
    try:
        (state / "ballast").write_bytes(bytes(MIB - 16384))
        yield state
    finally:
        command("umount", "--lazy", state)


def test_a_full_state_directory_is_said_once_and_costs_nothing_else(
    fault_disk: FaultDisk, faulty_ext4: Path, tmp_path: Path, tiny: Path
) -> None:
    file = faulty_ext4 / "probe"
    with running_agent(tmp_path, CONFIG.format(file=file, **SHORT)) as agent:
        agent.wait_for_success(disk="faulty")
        corrupt(agent, fault_disk, file)
        assert "make room in the state directory" in agent.wait_for_line("is full")
        agent.wait_for("run_failures_total", agent.value("run_failures_total") + 3, reason="verify")
        assert len(agent.lines("is full")) == 1
        assert agent.value("verify_last_mismatch_timestamp_seconds") > 0
        fault_disk.clear()
        agent.wait_for_success(disk="faulty")
        (tiny / "ballast").unlink()
    assert told(tiny), "an agent that ends tries once more"


def test_a_damaged_history_is_said_and_a_new_one_begins(
    fault_disk: FaultDisk, faulty_ext4: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    history.database(state).write_bytes(b"no database at all " * 1000)
    file = faulty_ext4 / "probe"
    with running_agent(tmp_path, CONFIG.format(file=file, **SHORT)) as agent:
        agent.wait_for_line("it was renamed history.db.damaged, and a new one begins")
        agent.wait_for_success(disk="faulty")
        corrupt(agent, fault_disk, file)
        agent.wait_for_line(BEGINS)
    assert told(state)
    assert (state / "history.db.damaged").read_bytes().startswith(b"no database")

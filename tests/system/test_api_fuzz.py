"""Thousands of requests, right and wrong, made from the agent's own OpenAPI document: it does as the document says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from agent_process import running_agent
from footprint import assert_nothing_leaked, footprint
from processes import free_port

FUZZ_S = int(os.environ.get("IOVIGIL_FUZZ_S", "60"))
WARM_UP_S = 5

# Names that a generator comes upon by itself.
CONFIG = """\
disks:
  - {{name: "0", file: {directory}/zero, size: 1MiB}}
  - {{name: "00", file: {directory}/none/there, size: 1MiB}}
probes:
  "0": {{every: 5s, job: {{rw: randread, bs: 4k, rate_iops: 100, runtime: 200ms}}}}
"""

# What no schema can say is told in the answer: that a time has passed, that a cursor is of another list.
SCHEMATHESIS = """\
[generation]
database = "none"
[[operations]]
include-name = ["POST /api/v1/pause", "GET /api/v1/runs", "GET /api/v1/mismatches"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "304", "400", "404"]
"""


def attack(directory: Path, port: int, seconds: int) -> int:
    """Have the agent asked for so long; how many requests that were. Raises AssertionError with what went wrong."""
    (directory / "schemathesis.toml").write_text(SCHEMATHESIS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{port}/api/v1/openapi.json",
            *("--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", "1000000", "--max-time", str(seconds), "--continue-on-failure", "--seed", "1"),
            "--no-color",
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    counted = re.search(r"(\d+) generated", done.stdout)
    assert counted, done.stdout
    return int(counted[1])


@pytest.mark.slow
def test_thousands_of_requests_are_answered_as_the_document_says(tmp_path: Path) -> None:
    port = free_port()
    text = CONFIG.format(directory=tmp_path)
    with running_agent(tmp_path, text, port=port, keys="web: {enable_control: true}") as agent:
        agent.wait_for("runs_total", disk="0")
        attack(tmp_path, port, WARM_UP_S)
        before = footprint(agent.pid)
        asked = attack(tmp_path, port, FUZZ_S)
        after = assert_nothing_leaked(before, agent.pid)
        print(f"\n{asked} requests\n{before}\n{after}")
        assert not agent.lines("ERROR")
        assert agent.log.stat().st_size < 4 << 20, "nobody can fill the log"
        assert asked > 20 * FUZZ_S, "too few to show anything"

"""What is given to the agent as its configuration, and is none: it says so, and goes on by the one that it has."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import running_agent
from footprint import Slack, assert_nothing_leaked, footprint
from processes import free_port, tail, wait_until
from scraping import IOVIGIL

COMMAND_S = 60.0
MOST_MEMORY_KIB = 256 << 10

CONFIG = """\
disks: [{{name: data0, file: {directory}/data0, size: 1MiB}}]
probes: {{latency: {{every: 1s, job: {{rw: randread, bs: 4k, rate_iops: 200, runtime: 200ms}}}}}}
"""


def many_keys(path: Path) -> None:
    path.write_text("disks: *x\nprobes: {" + ", ".join(f"k{number}: 1" for number in range(15_000)) + "}\n")


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 << 20)


NONE_OF_THEM: dict[str, Callable[[Path], object]] = {
    "a FIFO": lambda path: os.mkfifo(path),
    "a directory": lambda path: path.mkdir(),
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a device of a terminal": lambda path: path.symlink_to("/dev/ptmx"),
    "a link to itself": lambda path: path.symlink_to(path),
    "100 MB": large,
    "keys by the thousand": many_keys,
    "nesting": lambda path: path.write_text("[" * 200_000),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 100),
    "nothing": lambda path: path.touch(),
}


@pytest.mark.parametrize("make", NONE_OF_THEM.values(), ids=NONE_OF_THEM.keys())
def test_what_is_no_configuration_is_refused_in_words(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "agent.yml")
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "print(done.stdout + done.stderr, end='')\n"
    )
    done = subprocess.run(
        ["python3", "-c", code, IOVIGIL, "check-config", tmp_path / "agent.yml"],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
        cwd=tmp_path,
    )
    first, *lines = done.stdout.splitlines()
    status, memory_kib = map(int, first.split())
    assert status == 1
    assert memory_kib < MOST_MEMORY_KIB
    assert lines
    assert all(line.startswith(f"{tmp_path}/agent.yml:") for line in lines), lines[:5]
    assert "Traceback" not in done.stdout
    assert sum(map(len, lines)) < 32 << 10


@pytest.mark.slow
def test_a_running_agent_goes_on_by_the_configuration_that_it_has(tmp_path: Path) -> None:
    port = free_port()
    with running_agent(tmp_path, CONFIG.format(directory=tmp_path), port=port) as agent:
        agent.wait_for("runs_total", 2)
        before, right = footprint(agent.pid), agent.config.read_text()
        for number, make in enumerate(NONE_OF_THEM.values(), 1):
            agent.config.unlink()
            make(agent.config)
            os.kill(agent.pid, signal.SIGHUP)
            said = f"refusal {number}; the log ends in\n{tail(agent.log)}"
            wait_until(lambda: len(agent.lines("the old one stays in force")) == number, said, 40)  # noqa: B023
            assert agent.value("config_last_reload_successful") == 0
            if agent.config.is_dir() and not agent.config.is_symlink():
                agent.config.rmdir()
                agent.config.touch()
        agent.wait_for("runs_total", agent.value("runs_total") + 2)
        agent.config.unlink()
        agent.config.write_text(right)
        os.kill(agent.pid, signal.SIGHUP)
        agent.wait_for_line("configuration reloaded")
        assert agent.value("config_last_reload_successful") == 1
        assert agent.value("run_failures_total") == 0
        assert agent.log.stat().st_size < 256 << 10
        assert_nothing_leaked(before, agent.pid, Slack(memory_bytes=48 << 20))

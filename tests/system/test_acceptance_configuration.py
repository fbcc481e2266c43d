"""A configuration on its way into an agent: checked, shown, refused, reloaded, and used as far as the host allows."""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import DEADLINE_S, MIB, RunningAgent, children_of, is_alive, running_agent, write_config
from processes import answers, free_port, started
from scraping import IOVIGIL

WITHOUT_IO_URING = Path(__file__).with_name("without_io_uring.py")

LONG_RUN = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 4MiB}}
probes:
  latency:
    every: 8s
    disks: [data0]
    job: {{rw: randread, bs: 4k, runtime: 7s, rate_iops: 200, direct: 1}}
"""
ONE_MORE_DISK = (
    LONG_RUN.replace("probes:", "  - {{name: data1, file: {elsewhere}/data1, size: 1MiB}}\nprobes:")
    + """\
  quick:
    every: 1s
    disks: [data1]
    job: {{rw: randread, bs: 4k, runtime: 200ms, rate_iops: 100}}
"""
)
WRONG = LONG_RUN.replace("bs: 4k", "bs: 4k, iodeph: 8")
WRONG_TEXT = ":10: probes.latency.job.iodeph: "

TWO_DISKS = """\
disks:
  - {{name: nvme0, device: {device}}}
  - {{name: data0, file: {mountpoint}/probe, size: 8MiB}}
  - {{name: gone, device: /dev/disk/by-id/no-such-disk}}
probes:
  latency:
    every: 30s
    job: {{rw: randread, bs: 4k, iodepth: 1, runtime: 5s, rate_iops: 100, direct: 1}}
  integrity:
    every: 10m
    disks: [data*]
    job: {{rw: randwrite, bs: 64k, iodepth: 8, size: 8MiB, verify: crc32c, runtime: 30s}}
"""


def iovigil(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([IOVIGIL, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def post_reload(agent: RunningAgent) -> tuple[int, str]:
    request = urllib.request.Request(f"{agent.url}/-/reload", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_run_in_progress_outlives_good_and_bad_reloads(tmp_path: Path, elsewhere: Path) -> None:
    port = free_port()

    def write(text: str) -> None:
        write_config(tmp_path / "agent.yml", tmp_path, port, text.format(directory=tmp_path, elsewhere=elsewhere))

    with running_agent(tmp_path, LONG_RUN.format(directory=tmp_path), port=port) as agent:
        child = agent.child_on(tmp_path / "data0")

        write(WRONG)
        agent.process.send_signal(signal.SIGHUP)
        line = agent.wait_for_line(WRONG_TEXT)
        assert str(agent.config) in line
        agent.wait_for_line("configuration refused, the old one stays in force")
        assert agent.values("config_last_reload_successful") == [0]
        status, problems = post_reload(agent)
        assert (status, problems.startswith(f"{agent.config}{WRONG_TEXT}")) == (400, True)

        write(ONE_MORE_DISK)
        assert post_reload(agent)[0] == 200
        assert agent.values("config_last_reload_successful") == [1]
        agent.wait_for("last_run_success", disk="data1")

        write(LONG_RUN)
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for_line("disk data1 removed")
        assert agent.values("runs_total", disk="data1") == []
        assert agent.values("config_last_reload_successful") == [1]

        assert is_alive(child)
        assert children_of(agent.pid) == [child], "one and the same run all the time"
        assert agent.value("runs_total", disk="data0") == 0
        agent.wait_for("runs_total", disk="data0")
        assert agent.value("last_run_success", disk="data0") == 1
        assert agent.value("ios_total", disk="data0") == pytest.approx(1400, rel=0.1), "its whole runtime"


def test_a_wrong_configuration_starts_nothing(tmp_path: Path) -> None:
    config, port = tmp_path / "agent.yml", free_port()
    write_config(config, tmp_path, port, WRONG.format(directory=tmp_path))
    refused = iovigil("agent", "--config", config)
    checked = iovigil("check-config", config)
    assert (refused.returncode, checked.returncode) == (1, 1)
    assert refused.stderr.startswith(f"{config}{WRONG_TEXT}")
    assert refused.stderr == checked.stderr
    assert "Traceback" not in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.yml"], "no state directory, no probe file"
    assert not answers(port)


@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
def test_a_configuration_is_shown_before_it_is_used(
    tmp_path: Path, loop_device: Callable[..., Path], ext4_mount: Callable[..., Path]
) -> None:
    device, mountpoint, config = loop_device(32 * MIB), ext4_mount(64 * MIB), tmp_path / "agent.yml"
    write_config(config, tmp_path, free_port(), TWO_DISKS.format(device=device, mountpoint=mountpoint))
    checked = iovigil("check-config", config)
    assert (checked.returncode, checked.stderr) == (0, "")
    print(checked.stdout)
    assert checked.stdout.startswith(f"{config} is right: 3 disks, 2 probes\n")
    assert [line for line in checked.stdout.splitlines() if line.startswith("nvme0 ") and device.name in line]
    assert "rw=randread" in checked.stdout
    assert "warning: disk gone is absent: /dev/disk/by-id/no-such-disk" in " ".join(checked.stdout.split())

    shown = iovigil("disks", config)
    assert (shown.returncode, shown.stderr) == (0, "")
    print(shown.stdout)
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert lines["nvme0"].endswith("read only: no region is declared on it")
    assert lines["data0"].endswith("probe file to be created: 8.0 MiB")
    assert lines["gone"].split()[1:3] == ["-", "-"], "neither a device nor a size"
    assert lines["gone"].endswith("absent: /dev/disk/by-id/no-such-disk is no block device of this machine")
    assert sorted(path.name for path in mountpoint.iterdir()) == ["lost+found"], "looking creates nothing"


@pytest.mark.requires_io_uring
def test_without_io_uring_the_agent_falls_back_to_psync_and_says_so(tmp_path: Path) -> None:
    through: list[str | Path] = [sys.executable, WITHOUT_IO_URING]
    quick = LONG_RUN.replace("8s", "1s").replace("7s", "300ms")
    with running_agent(tmp_path, quick.format(directory=tmp_path), through=through) as agent:
        assert agent.values("probe_info", disk="data0", engine="io_uring") == [1]
        agent.wait_for("runs_total", 3)
        assert agent.values("last_run_success") == [1]
        assert agent.values("probe_info", disk="data0", engine="psync") == [1]
        assert agent.values("probe_info", engine="io_uring") == []
        found = agent.samples()
        runs, fallbacks, failures = (
            sum(value for (name, _), value in found.items() if name == f"iovigil_{wanted}")
            for wanted in ("runs_total", "engine_fallbacks_total", "run_failures_total")
        )
        assert (fallbacks, failures) == (runs, 0)
        [line] = agent.lines("ioengine io_uring is not available on this host")
        assert "Operation not permitted" in line
        assert "using psync until the next reload" in line


def test_counters_move_while_a_run_of_the_built_in_configuration_is_in_progress(tmp_path: Path) -> None:
    """What `make run` starts, and what a user then sees with curl."""
    port, log = free_port(), tmp_path / "agent.log"
    state = str(tmp_path / "state")
    arguments = ["--embedded", "--state-directory", state, "--listen", f"127.0.0.1:{port}"]
    with started([IOVIGIL, "agent", *arguments], log=log, port=port) as process:
        agent = RunningAgent(process, port, tmp_path / "none", log)
        agent.wait_for_line(f"iovigil is running: http://127.0.0.1:{port}/metrics")
        child = agent.child_on(f"{state}/scratch")
        first = agent.wait_for("io_bytes_total")
        runs = agent.value("runs_total")
        time.sleep(1)  # as somebody with curl would
        second = agent.value("io_bytes_total")
        print(f"io_bytes_total {first:.0f}, then {second:.0f} a second later")
        assert second > first
        assert agent.child_on(f"{state}/scratch") == child
        assert agent.value("runs_total") == runs, "both scrapes are of one run"
    assert "Traceback" not in log.read_text()

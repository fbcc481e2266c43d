"""A real agent writes, a real node_exporter reads, promtool judges; and a directory on a filesystem that hangs."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loop import command
from processes import free_port, started, wait_until
from prometheus_client.parser import text_string_to_metric_families
from scraping import IOVIGIL, get

AGENT_CONFIG = """\
agent:
  listen: 127.0.0.1:{port}
  state_directory: {directory}/state
  textfile: {{directory: {textfiles}, every: 1s}}
disks:
  - {{name: scratch, file: {directory}/scratch, size: 1MiB}}
probes:
  latency: {{every: 2s, job: {{rw: randread, runtime: 1s, ioengine: psync, rate_iops: 50}}}}
  integrity: {{every: 10s, job: {{rw: randwrite, bs: 64k, size: 1MiB, verify: crc32c, time_based: 0, runtime: 2s}}}}
"""

RAN = ("iovigil_last_run_success", frozenset({("disk", "scratch"), ("probe", "integrity")}))


class Agent:
    def __init__(self, directory: Path, textfiles: Path) -> None:
        self.port, self.log = free_port(), directory / "agent.log"
        self.config = directory / "agent.yml"
        self.config.write_text(AGENT_CONFIG.format(port=self.port, directory=directory, textfiles=textfiles))
        self.command: list[str | Path] = [IOVIGIL, "agent", "--config", self.config]

    def metrics(self) -> bytes:
        return get(f"http://127.0.0.1:{self.port}/metrics")


@pytest.fixture
def textfiles(tmp_path: Path) -> Path:
    directory = tmp_path / "textfiles"
    directory.mkdir()
    return directory


@pytest.fixture
def node_exporter(tmp_path: Path, textfiles: Path) -> Iterator[str]:
    """Where a node_exporter that has no other collector is found."""
    port = free_port()
    command = [
        "prometheus-node-exporter",
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={textfiles}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with started(command, log=tmp_path / "node.log", port=port):
        yield f"http://127.0.0.1:{port}/metrics"


def lines_of(exposition: bytes) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in exposition.decode().splitlines() if line.startswith("iovigil_")]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.requires_node_exporter
@pytest.mark.requires_promtool
def test_node_exporter_shows_what_the_agent_shows(tmp_path: Path, textfiles: Path, node_exporter: str) -> None:
    agent, file = Agent(tmp_path, textfiles), textfiles / "iovigil.prom"
    with started(agent.command, log=agent.log, port=agent.port) as process:
        wait_until(lambda: RAN in series_of(agent.metrics()), "the end of a run", 30)
        wait_until(lambda: RAN in series_of(get(node_exporter)), "the same here")
        shown = get(node_exporter)
        assert b"node_textfile_scrape_error 0" in shown
        assert f'node_textfile_mtime_seconds{{file="{file}"}}'.encode() in shown
        scraped, through = series_of(agent.metrics()), series_of(shown)
        assert through.keys() == scraped.keys()
        still = [each for each in scraped if each[0] in ("iovigil_disk_info", "iovigil_interval_seconds")]
        assert still
        assert [through[each] for each in still] == [scraped[each] for each in still]
        for text in (shown, file.read_bytes()):
            checked = subprocess.run(
                ["promtool", "check", "metrics"], input=only_ours(text), capture_output=True, timeout=30, check=False
            )
            assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    assert list(textfiles.iterdir()) == []
    assert lines_of(get(node_exporter)) == {}


def series_of(exposition: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples of ours, in whatever order their labels stand; Go spells a bound of 10.0 as 10."""
    return {
        (
            sample.name,
            frozenset((name, str(float(value)) if name == "le" else value) for name, value in sample.labels.items()),
        ): sample.value
        for family in text_string_to_metric_families(exposition.decode())
        for sample in family.samples
        if sample.name.startswith("iovigil_")
    }


def only_ours(text: bytes) -> bytes:
    """Without what node_exporter says of itself, of which promtool has its own opinion."""
    return b"".join(line + b"\n" for line in text.splitlines() if b"iovigil_" in line.split(b"{")[0])


@pytest.mark.requires_node_exporter
def test_node_exporter_takes_as_many_lines_as_sixty_disks_have(textfiles: Path, node_exporter: str) -> None:
    from ledgers import WRITE_AND_VERIFY, ledger_of, probe

    from iovigil.agent import metrics

    entries = [probe(f"disk{disk}", f"probe{number}", WRITE_AND_VERIFY) for disk in range(60) for number in range(4)]
    body, _ = metrics.render(ledger_of(*entries), "text/plain")
    assert len(lines_of(body)) > 20_000
    (textfiles / "iovigil.prom").write_bytes(body)
    shown = get(node_exporter)
    assert b"node_textfile_scrape_error 0" in shown
    assert len(lines_of(shown)) == len(lines_of(body))


def test_a_killed_agent_leaves_a_file_that_says_how_old_it_is_and_the_next_replaces_it(
    tmp_path: Path, textfiles: Path
) -> None:
    agent, file = Agent(tmp_path, textfiles), textfiles / "iovigil.prom"
    written = "iovigil_textfile_last_write_success_timestamp_seconds"
    with started(agent.command, log=agent.log, port=agent.port) as process:
        wait_until(file.exists, "a file")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    left = lines_of(file.read_bytes())[written]
    assert 0 <= time.time() - left < 60
    with started(agent.command, log=agent.log, port=agent.port):
        wait_until(lambda: lines_of(file.read_bytes())[written] > left, "a newer file")


@pytest.mark.slow
@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
def test_a_directory_on_a_filesystem_that_hangs_costs_the_agent_nothing(
    tmp_path: Path, ext4_mount: Callable[[], Path]
) -> None:
    mount = ext4_mount()
    agent, successful = Agent(tmp_path, mount), "iovigil_textfile_last_write_successful"
    with started(agent.command, log=agent.log, port=agent.port) as process:
        wait_until((mount / "iovigil.prom").exists, "a file")
        command("fsfreeze", "--freeze", mount)
        try:
            wait_until(lambda: lines_of(agent.metrics())[successful] == 0, "the failure is shown", 20)
            began_s = time.monotonic()
            agent.metrics()
            assert time.monotonic() - began_s < 0.5
            wait_until(lambda: failures(agent) >= 3, "it is tried again")
            assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) < 8
        finally:
            command("fsfreeze", "--unfreeze", mount)
        wait_until(lambda: lines_of(agent.metrics())[successful] == 1, "it works again", 20)
    log = agent.log.read_text()
    assert log.count("does not answer within 10 s") == 1
    assert log.count("works again") == 1


@pytest.mark.slow
@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
def test_an_agent_ends_in_time_while_the_directory_hangs(tmp_path: Path, ext4_mount: Callable[[], Path]) -> None:
    mount = ext4_mount()
    agent = Agent(tmp_path, mount)
    with started(agent.command, log=agent.log, port=agent.port) as process:
        wait_until((mount / "iovigil.prom").exists, "a file")
        command("fsfreeze", "--freeze", mount)
        try:
            time.sleep(1.5)  # the next write has begun
            began_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: "the last file is left there" in agent.log.read_text(), "it says so", 6)
            assert time.monotonic() - began_s < 6
        finally:
            command("fsfreeze", "--unfreeze", mount)
        process.wait(10)


@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
def test_a_full_and_a_read_only_filesystem_are_told_and_tried_again(
    tmp_path: Path, ext4_mount: Callable[[], Path]
) -> None:
    mount = ext4_mount()
    agent, successful = Agent(tmp_path, mount), "iovigil_textfile_last_write_successful"
    with started(agent.command, log=agent.log, port=agent.port):
        wait_until((mount / "iovigil.prom").exists, "a file")
        command("dd", "if=/dev/zero", f"of={mount}/hog", "bs=1M", "count=50", "status=none")
        with contextlib.suppress(subprocess.CalledProcessError):
            command("dd", "if=/dev/zero", f"of={mount}/rest", "bs=4k", "status=none")
        wait_until(lambda: "No space left on device" in agent.log.read_text(), "it says so")
        assert lines_of(agent.metrics())[successful] == 0
        assert (mount / "iovigil.prom").read_bytes().endswith(b"\n")
        (mount / "hog").unlink()
        wait_until(lambda: lines_of(agent.metrics())[successful] == 1, "it works again")
        command("mount", "-o", "remount,ro", mount)
        wait_until(lambda: "Read-only file system" in agent.log.read_text(), "it says so")
        command("mount", "-o", "remount,rw", mount)
        wait_until(lambda: lines_of(agent.metrics())[successful] == 1, "it works again")


def failures(agent: Agent) -> float:
    return lines_of(agent.metrics())["iovigil_textfile_write_failures_total"]

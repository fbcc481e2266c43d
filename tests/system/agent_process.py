"""An agent as its user starts it, on a configuration of the test's own; its metrics, its children and its log."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from processes import START_DEADLINE_S, free_port, started, tail, wait_until
from prometheus_client.parser import text_string_to_metric_families
from scraping import AGENT_CONFIG, IOVIGIL, get

from iovigil.agent.disks import footer

DEADLINE_S = 20.0
MIB = 1 << 20

Series = tuple[str, frozenset[tuple[str, str]]]
"""The name of a sample and its labels."""

COUNTS = ("_total", "_count", "_bucket", "_sum")


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another filesystem than tmp_path's: two disks that do not wait for each other."""
    with tempfile.TemporaryDirectory(prefix="iovigil-test-", dir="/dev/shm") as directory:
        yield Path(directory)


class RunningAgent:
    """What a test asks of an agent. Every scrape also checks that no counter fell since the one before."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, config: Path, log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.config = config
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self._last: dict[Series, float] = {}

    def scrape(self) -> str:
        return get(f"{self.url}/metrics").decode()

    def samples(self) -> dict[Series, float]:
        found = samples(self.scrape())
        for series, value in found.items():
            if series[0].endswith(COUNTS):
                assert value >= self._last.get(series, 0.0), f"{series} fell from {self._last[series]} to {value}"
        self._last = found
        return found

    def values(self, name: str, **labels: str) -> list[float]:
        """The samples of iovigil_`name` that have these labels, whatever others they have."""
        return [
            value
            for (sample_name, found), value in self.samples().items()
            if sample_name == f"iovigil_{name}" and labels.items() <= dict(found).items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of these samples: 0 of none."""
        return sum(self.values(name, **labels))

    def wait_for(self, name: str, least: float = 1.0, deadline_s: float = DEADLINE_S, **labels: str) -> float:
        """Return when the sum of these samples is that high. Raises NotReady, with the end of the log."""
        self.wait_until(lambda: self.value(name, **labels) >= least, f"{name}{labels} >= {least:g}", deadline_s)
        return self.value(name, **labels)

    def wait_for_success(self, deadline_s: float = DEADLINE_S, **labels: str) -> None:
        """Return when a run that ended from now on was a good one. Raises NotReady."""
        seen = max(self.values("last_success_timestamp_seconds", **labels), default=0.0)
        self.wait_until(
            lambda: max(self.values("last_success_timestamp_seconds", **labels), default=0.0) > seen,
            f"a successful run of {labels}",
            deadline_s,
        )

    def child_on(self, target: Path | str, deadline_s: float = DEADLINE_S) -> int:
        """The process that does I/O on this file or device, once there is one. Raises NotReady."""
        found: dict[str, int] = {}

        def is_there() -> bool:
            found.update(target_of_children(self.pid))
            return str(target) in found

        self.wait_until(is_there, f"a child on {target}", deadline_s)
        return found[str(target)]

    def lines(self, text: str) -> list[str]:
        """The lines of the log so far that contain this."""
        return [line for line in self.log.read_text().splitlines() if text in line]

    def wait_for_line(self, text: str, deadline_s: float = DEADLINE_S) -> str:
        """The first such line. Raises NotReady."""
        self.wait_until(lambda: self.lines(text), f"{text!r} in the log", deadline_s)
        return self.lines(text)[0]

    def wait_until(self, condition: Callable[[], object], what: str, deadline_s: float) -> None:
        wait_until(condition, f"{what}; the log ends in\n{tail(self.log)}\n", deadline_s)


@contextlib.contextmanager
def running_agent(
    directory: Path,
    disks_and_probes: str,
    *,
    port: int | None = None,
    keys: str = "",
    through: Sequence[str | Path] = (),
    start_s: float = START_DEADLINE_S,
) -> Iterator[RunningAgent]:
    """`iovigil agent` under the directory, which leaves no child behind.

    `keys` is a line with more of `agent`, and `through` a command that starts it.
    """
    port = port or free_port()
    config, log = directory / "agent.yml", directory / "agent.log"
    write_config(config, directory, port, f"  {keys}\n{disks_and_probes}" if keys else disks_and_probes)
    with started([*through, IOVIGIL, "agent", "--config", config], log=log, port=port, deadline_s=start_s) as process:
        agent = RunningAgent(process, port, config, log)
        yield agent
        children = children_of(process.pid)
    wait_until(lambda: not any(map(is_alive, children)), "the agent's children have gone with it")
    assert "Traceback" not in log.read_text()


def write_config(config: Path, directory: Path, port: int, disks_and_probes: str) -> None:
    config.write_text(AGENT_CONFIG.format(port=port, directory=directory) + disks_and_probes)


def samples(text: str) -> dict[Series, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counters(text: str) -> dict[Series, float]:
    return {series: value for series, value in samples(text).items() if series[0].endswith(COUNTS)}


def children_of(pid: int) -> list[int]:
    """All of them, zombies included; none of a process that is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def target_of_children(pid: int) -> dict[str, int]:
    """Which child does I/O on what; one that is still being launched is left out."""
    found = {}
    for child in children_of(pid):
        with contextlib.suppress(OSError):
            # Nothing at all in the moment of execve, and once it has ended.
            command = Path(f"/proc/{child}/cmdline").read_text().rstrip("\0").split("\0")
            if any(argument.endswith("/child.py") for argument in command):
                found[str(Path(f"/proc/{child}/fd/{command[-1]}").readlink())] = child
    return found


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def owner_of(probe_file: Path) -> tuple[str, int]:
    """The disk and the size that a probe file says it is of. Raises NotAFooter when it is ours no more."""
    disk, size = footer.parse(probe_file.read_bytes()[-footer.BLOCK :])
    assert probe_file.stat().st_size == footer.offset(size) + footer.BLOCK
    return disk, size

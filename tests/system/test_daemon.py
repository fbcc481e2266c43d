"""The agent's life on a real event loop and as a real process, with children in played roles."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_children import DEAF, OBEDIENT, WELL_BEHAVED, launcher
from processes import free_port, started, wait_until

from iovigil.agent import config
from iovigil.agent.config import Config
from iovigil.agent.daemon import CannotServe, Daemon
from iovigil.agent.ledger import ProbeEntry, Skip
from iovigil.agent.leftover import LeftOver
from iovigil.agent.notify import Notifier
from iovigil.agent.quarantine import Medium
from iovigil.agent.succession import Succession
from iovigil.engines.stats import Counter

DEADLINE_S = 20.0


@dataclass
class Found:
    """A disk that is always there."""

    is_present: bool = True
    reason: str = ""
    identity: dict[str, str] = field(default_factory=dict)


def text_of(directory: Path, *, disks: str = "ab", runtime: str = "300ms", every: str = "1s", more: str = "") -> str:
    listed = "\n".join(f"  - {{name: {disk}, file: {directory}/{disk}, size: 1MiB}}" for disk in disks)
    return textwrap.dedent("""\
        agent: {{listen: "127.0.0.1:0", state_directory: {directory}}}
        disks:
        {listed}
        probes:
          latency:
            every: {every}
            job: {{rw: randread, runtime: {runtime}}}
        {more}
        """).format(directory=directory, listed=listed, every=every, runtime=runtime, more=more)


class Agent:
    """A daemon in this process, on a configuration that the test rewrites."""

    def __init__(self, directory: Path, role: str) -> None:
        self.directory = directory
        self.file = directory / "agent.yml"
        self.write()
        self.sent: list[str] = []
        self.daemon = Daemon(
            self.load,
            self.load(),
            notifier=Notifier(self.sent.append, {"WATCHDOG_USEC": "300000"}),
            resolve=lambda _: Found(),
            launcher=launcher(directory, role),
            host="a-host",
        )

    def write(self, **changes: str) -> None:
        self.file.write_text(text_of(self.directory, **changes))

    def load(self) -> Config:
        return config.load(str(self.file))

    def entry(self, disk: str = "a") -> ProbeEntry:
        return self.daemon.ledger.probes[disk, "latency"]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        life = asyncio.create_task(self.daemon.run())
        try:
            await until(lambda: self.daemon.is_ready or life.done())
            yield self.daemon.server.address
        finally:
            self.daemon.stop()
            await life


def in_time(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await work

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_probes_run_again_and_again_on_every_disk(tmp_path: Path) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)

    async def scenario() -> None:
        async with agent.running():
            await until(lambda: agent.entry("a").runs >= 2 and agent.entry("b").runs >= 2)
        assert agent.entry("a").totals.counter(Counter.IOS, 0) == 10 * agent.entry("a").runs
        assert sum(agent.entry("a").skips.values()) == 0

    in_time(scenario())


def test_systemd_hears_of_every_step(tmp_path: Path) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)

    async def scenario() -> None:
        async with agent.running():
            assert agent.sent[0] == "READY=1"
            await until(lambda: agent.sent.count("WATCHDOG=1") >= 3)
            before = len(agent.sent)
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: "READY=1" in agent.sent[before:])
            kinds = [line.partition("=")[0] for line in agent.sent[before:]]
            assert kinds.index("RELOADING") < kinds.index("READY")
        assert agent.sent[-1] == "STOPPING=1"
        assert any(line.startswith("STATUS=disks: 2, probes on them: 2") for line in agent.sent)

    in_time(scenario())


def test_sigterm_ends_it(tmp_path: Path) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)

    async def scenario() -> None:
        life = asyncio.create_task(agent.daemon.run())
        await until(lambda: "READY=1" in agent.sent)
        os.kill(os.getpid(), signal.SIGTERM)
        await life

    in_time(scenario())


def test_an_accepted_reload_keeps_totals_and_runs_of_what_stays(tmp_path: Path) -> None:
    agent = Agent(tmp_path, OBEDIENT)
    agent.write(runtime="10s", every="12s")
    agent.daemon = Daemon(
        agent.load, agent.load(), resolve=lambda _: Found(), launcher=launcher(tmp_path, OBEDIENT), host="a-host"
    )

    async def scenario() -> None:
        async with agent.running():
            entry_a, entry_b = agent.entry("a"), agent.entry("b")
            for entry in (entry_a, entry_b):
                entry.runs = 40
            disks = [each.disk for each in agent.load().assignments()]
            for disk, entry in zip(disks, (entry_a, entry_b), strict=True):
                agent.daemon.supervisor.start(disk, entry)
            await until(lambda: all(e.live and e.live.counter(Counter.IOS, 0) for e in (entry_a, entry_b)))
            page = entry_a.live
            agent.write(disks="ac", runtime="10s", every="14s")
            assert await agent.daemon.reload() == []
            assert list(agent.daemon.ledger.probes) == [("a", "latency"), ("c", "latency")]
            assert agent.entry("a") is entry_a
            assert (entry_a.runs, entry_a.interval_s) == (40, 14.0)
            await until(lambda: entry_b.live is None)
            assert entry_a.live is page, "the run of an unchanged probe goes on"
            assert agent.daemon.ledger.workers_running == 1
            agent.write(disks="ac", runtime="9s", every="14s")
            assert await agent.daemon.reload() == []
            await until(lambda: entry_a.live is None)
            assert entry_a.runs == 41
            assert entry_a.failures == dict.fromkeys(entry_a.failures, 0)
            assert entry_a.totals.counter(Counter.IOS, 0) == 1

    in_time(scenario())


def test_a_refused_reload_changes_nothing_but_the_gauge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)

    async def scenario() -> None:
        async with agent.running() as address:
            ledger = agent.daemon.ledger
            agent.write(more="  nonsense: 1")
            problems = await agent.daemon.reload()
            assert problems
            assert all(problem.startswith(f"{agent.file}:") for problem in problems)
            assert problems[0] in caplog.text
            assert agent.daemon.ledger is ledger
            assert not ledger.last_reload_successful
            runs = agent.entry().runs
            await until(lambda: agent.entry().runs > runs)
            status, body = await asyncio.to_thread(post, f"http://{address}/-/reload")
            assert (status, body.splitlines()) == (400, problems)
            agent.write()
            assert await agent.daemon.reload() == []
            assert agent.daemon.ledger.last_reload_successful

    in_time(scenario())


def test_a_reload_that_hangs_is_given_up_and_the_probes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iovigil.agent.daemon.LOAD_S", 1.2)
    agent = Agent(tmp_path, WELL_BEHAVED)
    release = threading.Event()
    first = agent.load()

    def load() -> Config:
        release.wait(30)
        return first

    agent.daemon = Daemon(load, first, resolve=lambda _: Found(), launcher=launcher(tmp_path, WELL_BEHAVED))

    async def scenario() -> None:
        async with agent.running():
            reload = asyncio.create_task(agent.daemon.reload())
            await asyncio.sleep(0)
            assert await agent.daemon.reload() == ["a reload is already under way"]
            runs = agent.entry().runs
            await until(lambda: agent.entry().runs > runs)
            assert await reload == [f"{agent.file}: not read within 1.2 s"]
            assert not agent.daemon.ledger.last_reload_successful
            release.set()
            assert await agent.daemon.reload() == []

    in_time(scenario())


def test_a_reload_that_fails_for_a_reason_of_our_own_is_seen_by_the_gauge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)

    def fail() -> Config:
        raise KeyError("a bug")

    async def scenario() -> None:
        async with agent.running():
            monkeypatch.setattr(agent.daemon, "_load", fail)
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: not agent.daemon.ledger.last_reload_successful)
            runs = agent.entry().runs
            await until(lambda: agent.entry().runs > runs)

    in_time(scenario())


def post(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_taken_address_is_told_in_words(tmp_path: Path) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        agent.file.write_text(agent.file.read_text().replace("127.0.0.1:0", address))
        agent.daemon = Daemon(agent.load, agent.load(), resolve=lambda _: Found())
        with pytest.raises(CannotServe, match=f"cannot listen on {address}: Address already in use"):
            asyncio.run(agent.daemon.run())


def test_a_disk_that_is_not_there_is_skipped(tmp_path: Path) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)
    agent.daemon = Daemon(
        agent.load, agent.load(), resolve=lambda disk: Found(is_present=disk.name == "b"),
        launcher=launcher(tmp_path, WELL_BEHAVED),
    )  # fmt: skip

    async def scenario() -> None:
        async with agent.running():
            await until(lambda: agent.entry("b").runs and agent.entry("a").skips[Skip.ABSENT])
        assert agent.entry("a").runs == 0
        assert not agent.daemon.ledger.disks["a"].is_present

    in_time(scenario())


AGENT = """\
import asyncio, os, sys, threading
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_daemon import Found
from iovigil.agent import config, journal
from iovigil.agent.cli.agent import announce, arm_last_resort
from iovigil.agent.daemon import Daemon
load = lambda: config.load({file!r})
journal.start()
daemon = Daemon(load, load(), resolve=lambda _: Found(), launcher=Path({launch!r}))
asyncio.run(daemon.run(announce, arm_last_resort))
"""


def test_a_reload_that_ends_in_an_error_of_ours_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        agent = Agent(tmp_path, WELL_BEHAVED)
        async with agent.running():

            def fail(*_: object) -> list[str]:
                raise AssertionError("the books are wrong")

            monkeypatch.setattr(agent.daemon, "_adopt", fail)
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: not agent.daemon.ledger.last_reload_successful)

    in_time(scenario())
    assert "a reload ended in an internal error: please report" in caplog.text


def test_what_is_known_of_disks_is_shown_though_no_children_could_be_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, WELL_BEHAVED)
    daemon = agent.daemon
    place = daemon.ledger.disks["a"].place
    daemon.ledger.quarantines.hang(place, Medium(path=place), "latency", hung_s=12.0, now_s=0.0, now_unix=1e9)

    def hang(_self: object, _ledger: object) -> list[LeftOver]:
        raise TimeoutError

    monkeypatch.setattr(Succession, "children_left", hang)
    in_time(daemon._leave_alone())
    assert daemon.ledger.disks["a"].quarantines == 1


@pytest.fixture
def agent_process(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts an agent on children of this role, in a process of its own; returns once it serves."""
    with contextlib.ExitStack() as stack:

        def start(role: str) -> subprocess.Popen[bytes]:
            port = free_port()
            file = tmp_path / "agent.yml"
            text = text_of(tmp_path, runtime="30s", every="36s")
            file.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
            script = tmp_path / "agent.py"
            launch = launcher(tmp_path, role)
            script.write_text(AGENT.format(tests=str(Path(__file__).parent), file=str(file), launch=str(launch)))
            # The grid would let the first run wait for up to 36 s.
            script.write_text(script.read_text().replace("asyncio.run(", START_AT_ONCE + "asyncio.run("))
            return stack.enter_context(started([sys.executable, str(script)], log=tmp_path / "agent.log", port=port))

        yield start


START_AT_ONCE = """
ready = daemon.server.start
async def start_and_run(*arguments):
    await ready(*arguments)
    for each in load().assignments():
        daemon.supervisor.start(each.disk, daemon.ledger.probes[each.disk.name, each.probe.name])
daemon.server.start = start_and_run
"""


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


StartAgent = Callable[[str], "subprocess.Popen[bytes]"]


def test_the_agent_ends_within_five_seconds_with_deaf_children(agent_process: StartAgent, tmp_path: Path) -> None:
    process = agent_process(f"open({str(tmp_path)!r} + f'/up{{os.getpid()}}', 'w')\n" + textwrap.dedent(DEAF))
    wait_until(lambda: len(list(tmp_path.glob("up*"))) == 2, "both children are deaf")
    children = children_of(process.pid)
    assert len(children) == 2
    started_s = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0
    assert time.monotonic() - started_s < 5
    wait_until(lambda: all(is_gone(child) for child in children), "no child is left")


def test_a_killed_agent_leaves_no_orphan(agent_process: StartAgent, tmp_path: Path) -> None:
    role = f"die_with_parent()\nopen({str(tmp_path)!r} + f'/up{{os.getpid()}}', 'w')\nsleep_for_ever()\n"
    process = agent_process(role)
    wait_until(lambda: len(list(tmp_path.glob("up*"))) == 2, "both children run")
    children = children_of(process.pid)
    process.kill()
    process.wait(10)
    wait_until(lambda: all(is_gone(child) for child in children), "no child is left")


def test_the_command_serves_its_embedded_configuration_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable, "-c", "import sys; from iovigil.agent.cli import main; sys.exit(main())", "agent",
        "--embedded", "--state-directory", str(tmp_path / "state"), "--listen", f"127.0.0.1:{port}",
    ]  # fmt: skip
    log = tmp_path / "log"
    with started(command, log=log, port=port) as process:
        wait_until(lambda: f"iovigil is running: http://127.0.0.1:{port}/metrics\n" in log.read_text(), "the URL")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            assert answer.status == 200
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert second.returncode == 1
        assert f"another agent (pid {process.pid}) uses it" in second.stderr
        assert "Traceback" not in second.stderr
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize(("text", "expected"), [("disks: [", "agent.yml:1"), (None, "cannot be read")])
def test_a_configuration_that_cannot_be_used_is_told_plainly(tmp_path: Path, text: str | None, expected: str) -> None:
    file = tmp_path / "agent.yml"
    if text is not None:
        file.write_text(text)
    code = "import sys; from iovigil.agent.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "agent", "--config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr

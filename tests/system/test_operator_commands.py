"""`iovigil status`, `pause`, `resume` and `run-now`, by the control socket and over the network, of a real agent."""

import os
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from agent_process import RunningAgent, running_agent
from processes import wait_until
from scraping import IOVIGIL
from web_agent import make_ca, make_certificate, web_agent

NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
RARE = """
disks:
  - {{name: good, file: {directory}/good, size: 1MiB}}
  - {{name: nowhere, file: {directory}/none/probe, size: 1MiB}}
probes:
  latency: {{every: 1d, job: {{rw: randread, bs: 4k, number_ios: 4, runtime: 5s, ioengine: psync}}}}
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: that of a socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="iovigil-") as directory:
        yield Path(directory) / "control"


@pytest.fixture
def agent(tmp_path: Path, place: Path) -> Iterator[RunningAgent]:
    (tmp_path / "none").mkdir()
    (tmp_path / "none").rmdir()
    rare = f"  control_socket: {place}\n{RARE.format(directory=tmp_path)}"
    with running_agent(tmp_path, rare) as running:
        running.wait_for_line("serving")
        yield running


def iovigil(*arguments: str | Path, **fields: object) -> subprocess.CompletedProcess[str]:
    command = [IOVIGIL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False, **fields)  # type: ignore[call-overload, no-any-return]


def told(agent: RunningAgent, *arguments: str) -> str:
    done = iovigil(*arguments, "--config", agent.config)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    return done.stdout


def refused(*arguments: str | Path, status: int = 1, **fields: object) -> str:
    done = iovigil(*arguments, **fields)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_an_operator_pauses_and_resumes(agent: RunningAgent) -> None:
    assert told(agent, "pause", "good", "--reason", "new cable") == "paused: every probe on good: new cable\n"
    agent.wait_for("probe_paused", disk="good")
    shown = told(agent, "status")
    assert "paused: every probe on good: new cable" in shown
    assert "new cable" in next(line for line in shown.splitlines() if line.startswith("good "))
    busy = refused("run-now", "good", "latency", "--config", agent.config)
    assert busy.startswith("iovigil: latency cannot start on good now (paused)")
    assert told(agent, "pause", "--for", "2h").count("every probe on every disk until ") == 1
    assert "still paused: every probe on every disk until " in told(agent, "resume", "good")
    assert told(agent, "resume").startswith("resumed: every probe on every disk until ")
    wait_until(lambda: agent.value("probe_paused") == 0, "nothing is paused any more")


def test_an_operator_has_a_probe_run_and_waits_for_its_end(agent: RunningAgent) -> None:
    started, ended = told(agent, "run-now", "good", "latency", "--wait").splitlines()
    assert started == "started: latency on good"
    assert ended.startswith("ok in ")
    assert "read p99 " in ended
    assert agent.value("runs_total", disk="good") == 1
    assert told(agent, "run-now", "good", "latency") == "started: latency on good\n"


def test_what_is_not_there_is_told_with_what_is(agent: RunningAgent) -> None:
    where = ("--config", agent.config)
    assert refused("run-now", "god", "latency", *where) == (
        "iovigil: there is no disk of that name; found god; there are good, nowhere"
    )
    assert "found latncy; there are latency" in refused("run-now", "good", "latncy", *where)
    assert refused("pause", "god*", *where) == (
        "iovigil: no probe * runs on a disk god*: disks are good, nowhere; probes are latency"
    )
    assert "is not a time such as 22:00" in refused("pause", "--until", "tomorrow", *where, status=2)
    assert "has passed" in refused("pause", "--until", "2020-01-01", *where, status=2)


def test_the_socket_is_for_root_and_the_agents_user_alone(agent: RunningAgent, place: Path) -> None:
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    place.parent.chmod(0o755)
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    denied = refused("status", "--socket", place, **NOBODY)
    assert denied == f"iovigil: {place}: only root and the agent's own user may ask there: use sudo"
    place.chmod(0o666)  # somebody was careless: the kernel still says who asks
    assert "iovigil 0." not in refused("status", "--socket", place, **NOBODY)
    assert "up " in told(agent, "status")


def test_the_network_needs_control_enabled_and_says_which_key(agent: RunningAgent) -> None:
    assert "good" in iovigil("status", "--url", agent.url).stdout
    reason = refused("pause", "good", "--url", agent.url)
    assert "agent.web.enable_control" in reason
    assert "control socket" in reason


def test_who_is_not_there_is_told(tmp_path: Path, place: Path, agent: RunningAgent) -> None:
    assert "no agent runs with this control socket" in refused("status", "--socket", tmp_path / "none.sock")
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(place.with_name("gone")))
        gone.listen()
    assert "nobody answers there: is the agent running?" in refused("status", "--socket", place.with_name("gone"))
    assert "is not a URL such as" in refused("status", "--url", "localhost:9942")
    assert "Connect" in refused("status", "--url", "http://127.0.0.1:1") or "nobody answers" in refused(
        "status", "--url", "http://127.0.0.1:1"
    )
    assert "a password in a URL is seen by everybody" in refused("status", "--url", "http://a:b@127.0.0.1:1")
    assert "--user is for --url" in refused("status", "--config", agent.config, "--user", "x")


def test_the_socket_goes_with_the_agent_and_one_of_a_killed_agent_is_taken_over(
    tmp_path: Path, agent: RunningAgent, place: Path
) -> None:
    os.kill(agent.pid, signal.SIGKILL)
    agent.process.wait(10)
    assert place.exists()
    rare = f"  control_socket: {place}\n{RARE.format(directory=tmp_path)}"
    with running_agent(tmp_path, rare) as second:
        second.wait_for_line("serving")
        assert "up " in told(second, "status")
    assert not place.exists()


def test_a_second_agent_leaves_the_socket_to_the_first(tmp_path: Path, agent: RunningAgent, place: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with running_agent(other, f"  control_socket: {place}\n{RARE.format(directory=other)}") as second:
        second.wait_for_line(f"no control socket at {place}: another agent answers there: give each its own")
    assert "up " in told(agent, "status")


def test_a_reload_moves_the_socket(agent: RunningAgent, place: Path) -> None:
    new = place.with_name("moved")
    agent.config.write_text(agent.config.read_text().replace(str(place), str(new)))
    os.kill(agent.pid, signal.SIGHUP)
    agent.wait_for_line("configuration reloaded")
    assert "up " in told(agent, "status")
    assert not place.exists()
    agent.config.write_text(agent.config.read_text().replace(str(new), "none"))
    assert "agent.control_socket is none" in refused("status", "--config", agent.config)


def test_a_socket_that_could_not_be_had_is_tried_again_by_a_reload(tmp_path: Path, place: Path) -> None:
    later = place.with_name("later") / "control"
    with running_agent(tmp_path, f"  control_socket: {later}\n{RARE.format(directory=tmp_path)}") as agent:
        agent.wait_for_line("no control socket: there is no directory")
        agent.wait_for_line("serving")
        later.parent.mkdir()
        os.kill(agent.pid, signal.SIGHUP)
        agent.wait_for_line("configuration reloaded")
        assert "up " in told(agent, "status")


@pytest.mark.requires_openssl
def test_tls_and_passwords_are_as_with_curl(tmp_path: Path) -> None:
    make_ca(tmp_path)
    make_certificate(tmp_path, "server", "DNS:localhost,IP:127.0.0.1")
    (tmp_path / "password").write_text("secret\nnot this\n")
    (tmp_path / "wrong").write_text("guess\n")
    users = f"basic_auth_users: {{me: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}"
    text = f"tls_server_config: {{cert_file: server.pem, key_file: server.key}}\n{users}\n"
    with web_agent(tmp_path, text, web="enable_control: true") as agent:
        url = ("--url", f"https://localhost:{agent.port}")
        ca, user = ("--cacert", tmp_path / "ca.pem"), ("--user", "me", "--password-file", tmp_path / "password")
        done = iovigil("pause", "scratch", *url, *ca, *user)
        assert (done.returncode, done.stdout) == (0, "paused: every probe on scratch\n")
        assert iovigil("resume", *url, "--insecure", *user).returncode == 0
        assert "its certificate is not trusted" in refused("status", *url, *user)
        assert "a user and a password are needed; see --user" in refused("status", *url, *ca)
        assert "--user" in refused("status", *url, *ca, "--user", "me", "--password-file", tmp_path / "wrong")
        assert "use --password-file" in refused("status", *url, *ca, "--user", "me", stdin=subprocess.DEVNULL)
        assert f"{tmp_path}/none" in refused("status", *url, "--cacert", tmp_path / "none")

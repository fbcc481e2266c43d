"""Where the agent listens: several addresses, and sockets that systemd opened."""

import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from processes import free_port, started, wait_until
from scraping import IOVIGIL, get
from web_agent import AGENT_CONFIG, web_agent

# It passes on no environment of its own.
ACTIVATE = (
    ("systemd-socket-activate", "-E", "PYTHONPATH") if "PYTHONPATH" in os.environ else ("systemd-socket-activate",)
)


def test_every_address_is_served(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    text = AGENT_CONFIG.format(port=0, directory=tmp_path, web="{}")
    (tmp_path / "agent.yml").write_text(text.replace("127.0.0.1:0", f"[127.0.0.1:{first}, localhost:{second}]"))
    with started([IOVIGIL, "agent", "--config", tmp_path / "agent.yml"], log=tmp_path / "log", port=second):
        for port in (first, second):
            assert get(f"http://127.0.0.1:{port}/-/healthy") == b"healthy\n"


def test_the_command_line_has_several_addresses_and_the_web_configuration(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    (tmp_path / "agent.yml").write_text(AGENT_CONFIG.format(port=1, directory=tmp_path, web="{}"))
    (tmp_path / "web.yml").write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    command: list[str | Path] = [
        *(IOVIGIL, "agent", "--config", tmp_path / "agent.yml", "--web.config.file", tmp_path / "web.yml"),
        *("--listen", f"127.0.0.1:{first}", "--listen", f"127.0.0.1:{second}"),
    ]
    with started(command, log=tmp_path / "log", port=second):
        for port in (first, second):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/healthy", timeout=5) as answer:
                assert answer.headers["X-Frame-Options"] == "deny"


@pytest.mark.requires_socket_activate
def test_sockets_of_systemd_take_the_place_of_the_addresses(tmp_path: Path) -> None:
    """systemd-socket-activate starts the agent with the first connection: none is refused meanwhile."""
    port, unix = free_port(), tmp_path / "http.socket"
    (tmp_path / "agent.yml").write_text(AGENT_CONFIG.format(port=free_port(), directory=tmp_path, web="{}"))
    command: list[str | Path] = [
        *(*ACTIVATE, "-l", f"127.0.0.1:{port}", "-l", unix, "--fdname=tcp:unix"),
        *(IOVIGIL, "agent", "--config", tmp_path / "agent.yml"),
    ]
    log = tmp_path / "log"
    with started(command, log=log) as process:
        wait_until(unix.exists, "systemd-socket-activate listens")
        wait_until(lambda: "Listening on" in log.read_text() and unix.is_socket(), "it says so")
        assert get(f"http://127.0.0.1:{port}/-/healthy") == b"healthy\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(unix))
            client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := client.recv(4096):
                answer += piece
        assert answer.endswith(b"healthy\n")
        text = log.read_text()
        assert "listening on systemd's sockets: agent.listen is not used" in text
        wait_until(lambda: f"serving http://127.0.0.1:{port} unix:{unix}" in log.read_text(), "it says where it serves")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.requires_socket_activate
def test_a_socket_for_datagrams_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.yml").write_text(AGENT_CONFIG.format(port=free_port(), directory=tmp_path, web="{}"))
    port = free_port()
    command: list[str | Path] = [
        *(*ACTIVATE, "-d", "-l", f"127.0.0.1:{port}"),
        *(IOVIGIL, "agent", "--config", tmp_path / "agent.yml"),
    ]
    log = tmp_path / "log"
    with started(command, log=log) as process:
        wait_until(lambda: "Listening on" in log.read_text(), "systemd-socket-activate listens")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("127.0.0.1", port))
            assert process.wait(15) == 1
    assert "is no listening stream socket: the socket unit needs ListenStream= and Accept=no" in log.read_text()


def test_sockets_that_are_meant_for_another_process_are_not_taken(tmp_path: Path) -> None:
    """A shell between systemd and the agent keeps LISTEN_PID: the descriptors may be anything."""
    with web_agent(tmp_path, None, through=("env", "LISTEN_PID=1", "LISTEN_FDS=1")) as agent:
        assert agent.curl("/-/healthy", scheme="http").status == 200
        environment = subprocess.run(["cat", f"/proc/{agent.pid}/environ"], capture_output=True, check=True).stdout
        assert b"LISTEN_PID=1" in environment

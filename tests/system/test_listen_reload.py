"""Where a running agent listens: changed at a reload, refused as a whole where it cannot be had."""

import os
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from processes import answers, free_port, wait_until
from scraping import get
from web_agent import WebAgent, web_agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[WebAgent]:
    with web_agent(tmp_path, None) as running:
        yield running


def listen(agent: WebAgent, value: str, said: str) -> None:
    """Have it listen there, and wait for what it says of that."""
    config = agent.directory / "agent.yml"
    lines = [f"  listen: {value}" if line.startswith("  listen:") else line for line in config.read_text().splitlines()]
    config.write_text("\n".join(lines) + "\n")
    before = agent.log.read_text().count(said)
    os.kill(agent.pid, signal.SIGHUP)
    wait_until(lambda: agent.log.read_text().count(said) > before, f"{said!r}; the log is\n{agent.log.read_text()}")


def is_healthy(port: int) -> bool:
    return get(f"http://127.0.0.1:{port}/-/healthy") == b"healthy\n"


def test_a_new_address_is_served_and_the_old_one_is_not(agent: WebAgent) -> None:
    port = free_port()
    listen(agent, f"127.0.0.1:{port}", f"serving http://127.0.0.1:{port}")
    assert is_healthy(port)
    assert not answers(agent.port)


def test_a_connection_to_an_address_that_is_given_up_ends(agent: WebAgent) -> None:
    kept = HTTPConnection("127.0.0.1", agent.port, timeout=10)
    kept.request("GET", "/-/healthy")
    assert kept.getresponse().read() == b"healthy\n"
    assert kept.sock is not None
    listen(agent, f"127.0.0.1:{free_port()}", "serving http://127.0.0.1")
    kept.sock.settimeout(10)
    assert kept.sock.recv(1) == b""
    kept.close()


def test_an_address_that_stays_keeps_its_connections(agent: WebAgent) -> None:
    kept, port = HTTPConnection("127.0.0.1", agent.port, timeout=10), free_port()
    kept.connect()
    sock = kept.sock
    listen(agent, f"[127.0.0.1:{agent.port}, 127.0.0.1:{port}]", "configuration reloaded")
    assert is_healthy(port)
    kept.request("GET", "/-/healthy")
    assert kept.getresponse().read() == b"healthy\n"
    assert kept.sock is sock
    kept.close()


def test_it_goes_from_one_address_to_every_one_of_the_same_port_and_back(agent: WebAgent) -> None:
    """The two cannot be bound beside each other, unless they agree to share."""
    listen(agent, f":{agent.port}", f"serving http://0.0.0.0:{agent.port}")
    assert get(f"http://127.0.0.2:{agent.port}/-/healthy") == b"healthy\n"
    listen(agent, f"127.0.0.1:{agent.port}", f"serving http://127.0.0.1:{agent.port}")
    assert is_healthy(agent.port)
    with pytest.raises(OSError, match="refused"):
        get(f"http://127.0.0.2:{agent.port}/-/healthy")


def test_an_address_that_another_has_refuses_the_whole_reload(agent: WebAgent) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        listen(agent, f"[127.0.0.1:{port}, 127.0.0.1:{taken}]", "configuration refused")
        text = agent.log.read_text()
        assert f"{agent.directory}/agent.yml: agent.listen: cannot listen on 127.0.0.1:{taken}: Address already" in text
        assert is_healthy(agent.port)
        assert not answers(port)
        assert agent.metric("iovigil_config_last_reload_successful", scheme="http") == 0
    listen(agent, f"127.0.0.1:{taken}", f"serving http://127.0.0.1:{taken}")
    assert is_healthy(taken)


def test_what_else_is_wrong_moves_nothing(agent: WebAgent) -> None:
    port = free_port()
    config = agent.directory / "agent.yml"
    config.write_text(config.read_text().replace("web: {}", f"web: {{config_file: {agent.directory}/none.yml}}"))
    listen(agent, f"127.0.0.1:{port}", "configuration refused")
    assert is_healthy(agent.port)
    assert not answers(port)

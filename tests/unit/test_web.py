"""The HTTP server over a real socket: routes, formats, health, reload, and that no client can hold it up."""

import asyncio
import contextlib
import errno
import gzip
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout
from ledgers import ledger_of, probe

from iovigil.agent.ledger import Ledger
from iovigil.agent.web import Server, connections, gate, listen
from iovigil.agent.web import server as server_module
from iovigil.agent.web_account import Refusal
from iovigil.engines.stats import StatsPage


class Agent:
    """What the server asks of the agent, for a test to set."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger or ledger_of(probe())
        self.problems: list[str] = []
        self.reloads = 0
        self.is_ready = True
        self.last_tick = time.monotonic()

    async def reload(self) -> list[str]:
        self.reloads += 1
        return self.problems

    def server(self) -> Server:
        return Server(lambda: self.ledger, self.reload, lambda: self.is_ready, lambda: self.last_tick)


class Answer:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()


Ask = Callable[..., Awaitable[Answer]]


def served(agent: Agent, client: Callable[[Ask], Awaitable[None]]) -> None:
    """Run a client against a server of this agent; `ask` gives the answer as it is on the wire."""

    async def main() -> None:
        server = agent.server()
        await server.start("127.0.0.1:0")
        try:
            async with ClientSession(auto_decompress=False, timeout=ClientTimeout(total=10)) as session:

                async def ask(path: str, method: str = "GET", **fields: Any) -> Answer:
                    async with session.request(method, f"http://{server.address}{path}", **fields) as response:
                        return Answer(response.status, response.headers, await response.read())

                await client(ask)
        finally:
            await server.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


def ask_once(agent: Agent, *request: Any, **fields: Any) -> Answer:
    answers = []

    async def client(ask: Ask) -> None:
        answers.append(await ask(*request, **fields))

    served(agent, client)
    return answers[0]


def test_metrics_are_served_as_text() -> None:
    answer = ask_once(Agent(), "/metrics", headers={"Accept-Encoding": "identity"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "Content-Encoding" not in answer.headers
    assert 'iovigil_runs_total{disk="data0",probe="latency"} 0.0' in answer.text


def test_metrics_are_served_as_openmetrics() -> None:
    answer = ask_once(Agent(), "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=")
    assert gzip.decompress(answer.body).endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("accept_encoding", "is_compressed"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("identity", False), ("gzip;q=0", False), ("br", False)],
)
def test_metrics_are_compressed_for_whom_it_pleases(accept_encoding: str, is_compressed: bool) -> None:
    answer = ask_once(Agent(), "/metrics", headers={"Accept-Encoding": accept_encoding})
    assert (answer.headers.get("Content-Encoding") == "gzip") is is_compressed
    body = gzip.decompress(answer.body) if is_compressed else answer.body
    assert b"iovigil_build_info" in body
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"


def test_a_scrape_shows_the_ledger_in_force_now() -> None:
    agent = Agent()

    async def client(ask: Ask) -> None:
        assert 'disk="data0"' in (await ask("/metrics", headers={"Accept-Encoding": "identity"})).text
        agent.ledger = ledger_of(probe("data1"))
        after = (await ask("/metrics", headers={"Accept-Encoding": "identity"})).text
        assert 'disk="data1"' in after
        assert 'disk="data0"' not in after

    served(agent, client)


def test_healthy_follows_the_scheduler_s_tick() -> None:
    agent = Agent()

    async def client(ask: Ask) -> None:
        answer = await ask("/-/healthy")
        assert (answer.status, answer.text) == (200, "healthy\n")
        agent.last_tick = time.monotonic() - 31
        answer = await ask("/-/healthy")
        assert (answer.status, answer.text) == (503, "the scheduler has not run for 31 s\n")

    served(agent, client)


def test_a_stuck_disk_makes_neither_healthy_nor_ready_fail() -> None:
    entry = probe(stuck=StatsPage.private())
    agent = Agent(ledger_of(entry, workers_abandoned=1))
    agent.ledger.disks["data0"].is_stuck = True

    async def client(ask: Ask) -> None:
        assert (await ask("/-/healthy")).status == 200
        assert (await ask("/-/ready")).status == 200

    served(agent, client)


def test_ready_waits_for_the_first_schedule() -> None:
    agent = Agent()
    agent.is_ready = False

    async def client(ask: Ask) -> None:
        answer = await ask("/-/ready")
        assert answer.status == 503
        assert "configuration" in answer.text
        assert (await ask("/-/healthy")).status == 200
        agent.is_ready = True
        answer = await ask("/-/ready")
        assert (answer.status, answer.text) == (200, "ready\n")

    served(agent, client)


def test_reload_says_what_came_of_it() -> None:
    agent = Agent()

    async def client(ask: Ask) -> None:
        answer = await ask("/-/reload", "POST")
        assert (answer.status, answer.text) == (200, "configuration reloaded\n")
        agent.problems = ["agent.yaml:3: disks: unknown key", "agent.yaml:9: probes: empty"]
        answer = await ask("/-/reload", "POST")
        assert answer.status == 400
        assert answer.text == "agent.yaml:3: disks: unknown key\nagent.yaml:9: probes: empty\n"

    served(agent, client)
    assert agent.reloads == 2


def test_reload_takes_post_alone() -> None:
    agent = Agent()
    answer = ask_once(agent, "/-/reload")
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert agent.reloads == 0


def test_a_failure_inside_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent()

    async def explode() -> list[str]:
        raise RuntimeError("secret detail")

    agent.reload = explode  # type: ignore[method-assign]
    answer = ask_once(agent, "/-/reload", "POST")
    assert answer.status == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/-/", "/../etc/passwd"])
def test_an_unknown_path_is_told_in_plain_text(path: str) -> None:
    answer = ask_once(Agent(), path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "404" in answer.text


def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ask_once(Agent(), "/-/healthy")
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


def test_a_port_in_use_is_told_with_the_way_out() -> None:
    async def main(taken: int) -> None:
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{taken}: .*agent\.listen") as caught:
            await Agent().server().start(f"127.0.0.1:{taken}")
        assert caught.value.errno == errno.EADDRINUSE

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as holder:
        asyncio.run(asyncio.wait_for(main(holder.getsockname()[1]), 10))


def test_an_address_of_another_host_is_told() -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:0: "):
            await Agent().server().start("192.0.2.1:0")

    asyncio.run(asyncio.wait_for(main(), 10))


def test_stop_does_not_wait_for_a_request_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STOP_LIMIT_S", 0.2)

    async def main() -> None:
        agent = Agent()
        is_asked = asyncio.Event()

        async def hang() -> list[str]:
            is_asked.set()
            await asyncio.sleep(3600)
            return []

        agent.reload = hang  # type: ignore[method-assign]
        server = agent.server()
        await server.start("127.0.0.1:0")
        async with ClientSession() as session:
            request = asyncio.ensure_future(session.post(f"http://{server.address}/-/reload"))
            await asyncio.wait_for(is_asked.wait(), 5)
            started = time.monotonic()
            await server.stop()
            assert time.monotonic() - started < 2
            request.cancel()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_stop_closes_idle_connections_and_the_port() -> None:
    async def main() -> None:
        server = Agent().server()
        await server.start("127.0.0.1:0")
        host, port = listen.parse(server.address)
        reader, writer = await asyncio.open_connection(host, port)
        await server.stop()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        await server.stop()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_client_that_never_reads_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "UNREAD_LIMIT_MS", 500)
    entries = [probe(f"disk{number}") for number in range(60)]

    async def main() -> None:
        server = Agent(ledger_of(*entries)).server()
        await server.start("127.0.0.1:0")
        host, port = listen.parse(server.address)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(client, (host, port))
            # Pipelined, so that more is owed than the kernel's send buffer takes.
            await loop.sock_sendall(client, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n" * 24)
            runner = server._runner
            assert runner is not None
            assert runner.server is not None
            deadline = time.monotonic() + 10
            while not runner.server.connections and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            while runner.server.connections and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert runner.server.connections == []
        finally:
            client.close()
            await server.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_idle_clients_cannot_use_up_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)

    async def main() -> None:
        agent = Agent()
        server = agent.server()
        await server.start("127.0.0.1:0")
        host, port = listen.parse(server.address)
        idle = [await asyncio.open_connection(host, port) for _ in range(3)]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 OK")
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(idle[0][0].read(), 5) == b""
        assert agent.ledger.web.refusals[Refusal.FULL] == 1
        assert agent.ledger.web.connections <= 3
        for _, each in [*idle, (reader, writer)]:
            each.close()
        await server.stop()
        assert agent.ledger.web.connections == 0

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_connection_that_is_served_gives_way_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)

    async def main() -> None:
        agent, may_end = Agent(), asyncio.Event()

        async def wait() -> list[str]:
            await may_end.wait()
            return []

        agent.reload = wait  # type: ignore[method-assign]
        server = agent.server()
        await server.start("127.0.0.1:0")
        host, port = listen.parse(server.address)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /-/reload HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(0.1)
        second, closing = await asyncio.open_connection(host, port)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(second.read(), 5) == b""
        may_end.set()
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"configuration reloaded\n")
        writer.close()
        closing.close()
        await server.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_requests_beyond_what_can_be_served_at_a_time_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_IN_FLIGHT", 1)
    agent, is_asked, may_end = Agent(), asyncio.Event(), asyncio.Event()

    async def wait() -> list[str]:
        is_asked.set()
        await may_end.wait()
        return []

    agent.reload = wait  # type: ignore[method-assign]

    async def client(ask: Ask) -> None:
        first = asyncio.ensure_future(ask("/-/reload", "POST"))
        await is_asked.wait()
        answer = await ask("/metrics")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await ask("/-/healthy")).status == 200
        may_end.set()
        assert (await first).status == 200
        assert (await ask("/metrics")).status == 200

    served(agent, client)
    assert agent.ledger.web.refusals[Refusal.BUSY] == 1


def test_an_ipv6_address_is_spelt_as_in_a_url() -> None:
    async def main() -> str:
        server = Agent().server()
        await server.start("[::1]:0")
        await server.stop()
        return server.address

    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    assert asyncio.run(asyncio.wait_for(main(), 10)).startswith("[::1]:")


@pytest.mark.parametrize(
    ("spelling", "host", "port"),
    [
        ("127.0.0.1:9942", "127.0.0.1", 9942),
        ("localhost:0", "localhost", 0),
        ("[::1]:80", "::1", 80),
        (":9942", None, 9942),
        ("[::]:9942", "::", 9942),
    ],
)
def test_listen_addresses_are_read(spelling: str, host: str | None, port: int) -> None:
    assert listen.parse(spelling) == (host, port)


@pytest.mark.parametrize("spelling", ["", "9942", "localhost", "::1:80", "host:", "host:http", "host:65536", "host:-1"])
def test_a_listen_address_that_is_none_is_refused_with_what_is_allowed(spelling: str) -> None:
    with pytest.raises(ValueError, match=r"is not (host:port|a port number)"):
        listen.parse(spelling)

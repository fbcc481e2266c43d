"""The HTTP server: metrics, health and reload beside the site, within bounds of time and size."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from iovigil.agent.config import WebSettings
from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics import Exposition
from iovigil.agent.web import listen
from iovigil.agent.web.answers import Answers
from iovigil.agent.web.api import Api
from iovigil.agent.web.config_file import WebConfigFile
from iovigil.agent.web.connections import KEEPALIVE_S, Connections
from iovigil.agent.web.control_socket import ControlSocket
from iovigil.agent.web.encodings import accepts_gzip, listed
from iovigil.agent.web.gate import MAX_BODY_BYTES, Gate, text
from iovigil.agent.web.site import Site
from iovigil.agent.web.sources import NoMismatches, NoRuns
from iovigil.agent.web_account import Refusal, WebAccount

TICK_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = 2.0
LINGER_S: Final = 1.0  # what comes after a refusal is read for so long: a client may see why only when it has sent it
MAX_LINE_BYTES: Final = 8190

log = logging.getLogger(__name__)


class Server:
    """Serves one agent. No handler opens a file or waits for a disk."""

    def __init__(
        self,
        ledger_of: Callable[[], Ledger],
        reload: Callable[[], Awaitable[list[str]]],
        is_ready: Callable[[], bool],
        last_tick: Callable[[], float],
        site: Site | None = None,
    ) -> None:
        """`reload` returns the problems it found; `last_tick` is on the clock of `time.monotonic`."""
        self._site = site or Site(Api(ledger_of, NoRuns(), NoMismatches()))
        self._ledger_of = ledger_of
        self._reload = reload
        self._is_ready = is_ready
        self._last_tick = last_tick
        self.exposition = Exposition()
        self._answers = Answers(ledger_of, self.exposition.render)
        self._file = WebConfigFile(lambda: ledger_of().web)
        self._gate = Gate(self._file, lambda: ledger_of().web)
        self._runner: web.AppRunner | None = None
        self._connections: Connections | None = None
        self._listeners: list[socket.socket] = []
        self._addresses: tuple[str, ...] = ()
        """What it listens on by itself; none where the sockets are systemd's."""
        self._control = ControlSocket("")
        self.address = ""
        """Where it listens first, as in a URL; empty before `start`."""
        self.urls: tuple[str, ...] = ()
        """Where it is found."""

    async def start(
        self,
        addresses: str | Sequence[str],
        settings: WebSettings = WebSettings(),  # noqa: B008 (frozen)
        inherited: Sequence[socket.socket] = (),
    ) -> None:
        """Listen on each `host:port`, or on the sockets that are there already.

        Raises ConfigError for the web configuration, ValueError or OSError with a text for people.
        """
        await self.adopt(settings)
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=self._protocol_log(),
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            auto_decompress=False,  # a small body stays small
        )
        await runner.setup()
        assert runner.server is not None
        listeners = list(inherited)
        self._addresses = () if inherited else (addresses,) if isinstance(addresses, str) else tuple(addresses)
        try:
            listeners += await bind_all(self._addresses)
        except (OSError, ValueError):
            await runner.cleanup()
            raise
        connections = Connections(runner.server, self._file.current, lambda: self._ledger_of().web)
        self._gate.connections = connections
        for listener in listeners:
            connections.serve(listener)
        connections.begin()
        self._runner, self._connections, self._listeners = runner, connections, listeners
        await self._spell_urls()

    async def _spell_urls(self) -> None:
        found = [listen.address_of(listener) for listener in self._listeners]
        self.address = found[0]
        scheme = "http" if (await self._file.current()).context is None else "https"
        self.urls = tuple(each if each.startswith("unix:") else f"{scheme}://{each}" for each in found)

    @contextlib.asynccontextmanager
    async def moving(self, addresses: tuple[str, ...]) -> AsyncIterator[None]:
        """Listen on these, and no more on those of before, once the block has come to its end without an error.

        Raises ValueError or OSError with a text for people where one of them cannot be had.
        """
        if not self._addresses or addresses == self._addresses or self._connections is None:
            yield
            return
        before = self._listeners
        # What does not change is not bound again: a port that was any stays the one that it became.
        kept = before if set(self._addresses) <= set(addresses) else []
        fresh = [each for each in addresses if not kept or each not in self._addresses]
        listeners = [*kept, *await bind_all(fresh, before)]
        try:
            yield
        except BaseException:
            listen.close(each for each in listeners if each not in before)
            raise
        for listener in listeners:
            if listener not in before:
                self._connections.serve(listener)
        for listener in before:
            if listener not in listeners:
                await self._connections.withdraw(listener)
                listener.close()
        self._addresses, self._listeners = addresses, listeners
        await self._spell_urls()
        log.info("serving %s", " ".join(self.urls))

    async def open_control(self, path: str) -> None:
        """Have the local operator come in there, and nowhere else; an empty path is no such way."""
        is_open = self._control.listener is not None or not path
        if self._connections is None or (path == self._control.path and is_open):
            return
        await self._close_control()
        self._control = ControlSocket(path)
        await self._control.open()
        if self._control.listener is not None:
            self._connections.serve(self._control.listener, is_operators=True)

    async def _close_control(self) -> None:
        if self._control.listener is not None and self._connections is not None:
            await self._connections.withdraw(self._control.listener)
        await self._control.close()

    def is_operators(self, request: web.Request) -> bool:
        """Whether it came in by the control socket."""
        return self._gate.is_operators(request)

    async def adopt(self, settings: WebSettings) -> None:
        """Go by these from now on. Raises ConfigError, and goes on as before."""
        await self._file.adopt(settings)
        self._gate.settings = settings

    async def stop(self) -> None:
        """Close every connection; a request that does not end is cut off."""
        if self._runner is None or self._connections is None:
            return
        runner, self._runner = self._runner, None
        await self._close_control()
        await self._connections.stop()
        listen.close(self._listeners)
        try:
            await asyncio.wait_for(shut_down(runner), STOP_LIMIT_S)
        except TimeoutError:
            log.warning("web: requests still running at stop were cut off")

    def _protocol_log(self) -> logging.Logger:
        """What aiohttp logs to: a traceback for every request that is no HTTP, with which anybody could fill the log.

        What goes wrong in our own handlers is caught, and logged, before aiohttp sees it.
        """
        protocol = logging.Logger("iovigil.agent.web.protocol", logging.ERROR)
        protocol.addHandler(Tally(lambda: self._ledger_of().web))
        return protocol

    def _application(self) -> web.Application:
        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._gate.handle(request, handler)

        app = web.Application(middlewares=[gate], client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(self._gate.add_headers)
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
                web.post("/-/reload", self._reload_now),
                *self._site.routes(),
            ]
        )
        return app

    async def _metrics(self, request: web.Request) -> web.Response:
        is_compressed = accepts_gzip(request)
        body, content_type = self._answers.of(listed(request, hdrs.ACCEPT), is_compressed=is_compressed)
        headers = {hdrs.CONTENT_TYPE: content_type, hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"}
        if is_compressed:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=body, headers=headers)

    async def _healthy(self, _request: web.Request) -> web.Response:
        """Whether the agent works; how its disks are is not asked here."""
        silent_s = time.monotonic() - self._last_tick()
        if silent_s > TICK_LIMIT_S:
            return text(f"the scheduler has not run for {silent_s:.0f} s", status=503)
        return text("healthy")

    async def _ready(self, _request: web.Request) -> web.Response:
        if not self._is_ready():
            return text("the configuration is not loaded or the first schedule not planned yet", status=503)
        return text("ready")

    async def _reload_now(self, _request: web.Request) -> web.Response:
        if not self._gate.settings.enable_lifecycle:
            return text("not enabled: set agent.web.enable_lifecycle, or send SIGHUP", status=403)
        problems = await self._reload()
        if problems:
            return text("\n".join(problems), status=400)
        return text("configuration reloaded")


async def bind_all(addresses: Iterable[str], ours: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Sockets for all of these, or for none. Raises ValueError or OSError."""
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            found = await listen.bind(address, [*ours, *listeners])
            listeners += [each for each in found if each not in listeners]
    except (OSError, ValueError):
        listen.close(each for each in listeners if each not in ours)
        raise
    return listeners


async def shut_down(runner: web.AppRunner) -> None:
    if runner.server is not None and not hasattr(runner.server, "pre_shutdown"):
        # Before 3.9 aiohttp left that to its sites, of which there are none here.
        await runner.server.shutdown(STOP_LIMIT_S)
    await runner.cleanup()


class Tally(logging.Handler):
    """Counts what it is told as malformed requests."""

    def __init__(self, account_of: Callable[[], WebAccount]) -> None:
        super().__init__()
        self._account_of = account_of

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            self._account_of().refuse(Refusal.MALFORMED)
        else:
            log.error("web: %s", record.getMessage(), exc_info=record.exc_info)

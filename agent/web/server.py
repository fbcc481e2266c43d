"""The HTTP server: metrics, health and reload beside the site, within bounds of time and size."""

import asyncio
import errno
import gzip
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from iovigil.agent import metrics
from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics.accept import preferences
from iovigil.agent.web import listen
from iovigil.agent.web.api import Api
from iovigil.agent.web.recent_runs import RecentRuns
from iovigil.agent.web.site import Site
from iovigil.agent.web.sources import NoMismatches

TICK_LIMIT_S: Final = 30.0
KEEPALIVE_S: Final = 120.0  # longer than a scrape interval; also how long a request line may take to arrive
UNREAD_LIMIT_MS: Final = 30_000
STOP_LIMIT_S: Final = 2.0
# Clients must not use up the descriptors that the children need.
MAX_CONNECTIONS: Final = 128

HINTS: Final = {
    errno.EADDRINUSE: "; another process has it: stop that one or change agent.listen",
    errno.EACCES: "; ports below 1024 need CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "; no interface of this host has that address",
}

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
        self._site = site or Site(Api(ledger_of, RecentRuns(), NoMismatches()))
        self._ledger_of = ledger_of
        self._reload = reload
        self._is_ready = is_ready
        self._last_tick = last_tick
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self.address = ""
        """Where it listens, as in a URL; empty before `start`."""

    async def start(self, address: str) -> None:
        """Listen on `host:port`. Raises ValueError or OSError with a text for people."""
        host, port = listen.parse(address)
        # No route reads a request's body: aiohttp throws away what comes, and hangs up after 10 s of it.
        app = web.Application(middlewares=[bound_and_report])
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
                web.post("/-/reload", self._reload_now),
                *self._site.routes(),
            ]
        )
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE_S)
        await runner.setup()
        accept = runner.server
        assert accept is not None

        def connection() -> asyncio.BaseProtocol:
            return accept() if len(accept.connections) < MAX_CONNECTIONS else TurnedAway()

        try:
            # Not web.TCPSite, which takes every connection.
            self._listener = await asyncio.get_running_loop().create_server(connection, host, port)
        except OSError as error:
            await runner.cleanup()
            raise OSError(error.errno, f"cannot listen on {address}: {reason_of(error)}") from error
        self._runner = runner
        self.address = listen.spell(*self._listener.sockets[0].getsockname()[:2])

    async def stop(self) -> None:
        """Close every connection; a request that does not end is cut off."""
        if self._runner is None or self._listener is None:
            return
        self._listener.close()
        try:
            await asyncio.wait_for(self._runner.cleanup(), STOP_LIMIT_S)
        except TimeoutError:
            log.warning("web: requests still running at stop were cut off")
        self._runner = None

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = metrics.render(self._ledger_of(), header(request, hdrs.ACCEPT))
        headers = {hdrs.CONTENT_TYPE: content_type, hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"}
        if accepts_gzip(header(request, hdrs.ACCEPT_ENCODING)):
            # Level 1: a tenth of the time of the default, and still a twentieth of the size.
            body = gzip.compress(body, compresslevel=1)
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
        problems = await self._reload()
        if problems:
            return text("\n".join(problems), status=400)
        return text("configuration reloaded")


class TurnedAway(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


@web.middleware
async def bound_and_report(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hang up on a client that does not read its answer; keep tracebacks for the log."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_LIMIT_MS)
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:  # the outermost loop of a request
        log.exception("web: %s %s failed", request.method, request.path)
        return text("internal error; the agent's log has the details", status=500)


def text(message: str, status: int = 200) -> web.Response:
    return web.Response(text=f"{message}\n", status=status)


def header(request: web.Request, name: str) -> str:
    """A list header, also when it came as several lines."""
    return ",".join(request.headers.getall(name, ()))


def accepts_gzip(accept_encoding: str) -> bool:
    return any(value == "gzip" and q > 0 for value, _, q in preferences(accept_encoding))


def reason_of(error: OSError) -> str:
    """Why binding failed, without asyncio's wrapping; a name that does not resolve has an errno of its own kind."""
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    return reason + HINTS.get(number, "")

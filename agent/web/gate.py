"""What every request passes before it is served: rate, load, size, client, password, origin."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from iovigil.agent.config import WebSettings
from iovigil.agent.web import cross_site, problem
from iovigil.agent.web.auth import Busy, Passwords
from iovigil.agent.web.config_file import WebConfigFile
from iovigil.agent.web.connections import Connection, Connections
from iovigil.agent.web.problem import ProblemError
from iovigil.agent.web.web_config import WebConfig
from iovigil.agent.web_account import Refusal, WebAccount

MAX_IN_FLIGHT: Final = 64
MAX_BODY_BYTES: Final = 64 * 1024
BODY_S: Final = 10.0
UNREAD_LIMIT_MS: Final = 30_000
HEALTH_PATHS: Final = ("/-/healthy", "/-/ready")

log = logging.getLogger(__name__)


class TurnedDown(Exception):
    """A request that is not served, and the answer to it."""

    def __init__(self, reason: Refusal, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.reason = reason
        self.status = status
        self.headers = headers or {}
        super().__init__(message)


class Bucket:
    """Lets requests through at a rate, with some to spare."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._filled_s = float("-inf")

    def allows(self, config: WebConfig) -> bool:
        if not config.interval_s:
            return True
        now_s = time.monotonic()
        self._tokens = min(config.burst, self._tokens + (now_s - self._filled_s) / config.interval_s)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Gate:
    """The outermost middleware."""

    def __init__(self, file: WebConfigFile, account_of: Callable[[], WebAccount]) -> None:
        self.settings = WebSettings()
        self.connections: Connections | None = None
        self._file = file
        self._account_of = account_of
        self._passwords = Passwords()
        self._bucket = Bucket()
        self._in_flight = 0

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """To be called when an answer is about to go out."""
        response.headers[hdrs.SERVER] = "iovigil"
        connection = self._connection(request)
        if connection is not None and connection.serving_under is not None:
            response.headers.update(connection.serving_under.headers)

    def is_operators(self, request: web.Request) -> bool:
        """Whether it came in where only root and the agent's own user can."""
        connection = self._connection(request)
        return connection is not None and connection.is_operator

    def _connection(self, request: web.Request) -> Connection | None:
        return self.connections.of(request.protocol) if self.connections else None

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = self._connection(request)
        if connection is not None:
            connection.begin_request(request.content)
        hang_up_on_who_does_not_read(request)
        self._in_flight += 1
        try:
            return await self._serve(request, handler, connection)
        except web.HTTPException:
            raise
        except Exception:  # the outermost loop of a request
            log.exception("web: %s %s failed", request.method, request.path)
            return refusal(request, 500, "internal error; the agent's log has the details")
        finally:
            self._in_flight -= 1
            if connection is not None:
                connection.end_request()

    async def _serve(self, request: web.Request, handler: Handler, connection: Connection | None) -> web.StreamResponse:
        config = await self._file.current()
        if connection is not None:
            connection.serving_under = config
        try:
            await self._admit(request, config, connection)
        except TurnedDown as refused:
            self._account_of().refuse(refused.reason)
            response: web.StreamResponse = refusal(request, refused.status, str(refused), refused.headers)
            if refused.reason in (Refusal.BODY, Refusal.MALFORMED, Refusal.SLOW):
                response.force_close()
        else:
            response = await handler(request)
        if connection is not None and (connection.must_end or is_outdated(connection, config)):
            response.force_close()
        return response

    async def _admit(self, request: web.Request, config: WebConfig, connection: Connection | None) -> None:
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else ""
        # Whoever watches over the agent must not take it for dead because others press it hard.
        is_operator = connection is not None and connection.is_operator
        if path not in HEALTH_PATHS and not is_operator:
            if not self._bucket.allows(config):
                raise TurnedDown(Refusal.RATE, 429, "too many requests: see rate_limit of the web configuration")
            if self._in_flight > MAX_IN_FLIGHT:
                raise TurnedDown(Refusal.BUSY, 503, "too many requests at the same time", {hdrs.RETRY_AFTER: "1"})
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise TurnedDown(Refusal.BODY, 413, f"a request's body may have {MAX_BODY_BYTES} bytes")
        if not is_operator:
            await self._demand_proof(request, path, config, connection)
        if request.body_exists:
            await self._receive(request, connection)

    async def _demand_proof(
        self, request: web.Request, path: str, config: WebConfig, connection: Connection | None
    ) -> None:
        if path not in self.settings.open_paths:
            self._demand_certificate(request, config, connection)
            await self._demand_password(request, config)
        reason = cross_site.refusal(
            request.method, request.headers, is_open=config.is_open, host_names=self.settings.host_names
        )
        if reason:
            raise TurnedDown(Refusal.CROSS_SITE, 403, reason)

    async def _receive(self, request: web.Request, connection: Connection | None) -> None:
        """Have the body read. Who waits for one takes nobody's place among those that are served."""
        self._in_flight -= 1
        if connection is not None:
            connection.begin_body()
        try:
            await read_body(request)
        finally:
            self._in_flight += 1
            if connection is not None:
                connection.end_body()

    def _demand_certificate(self, request: web.Request, config: WebConfig, connection: Connection | None) -> None:
        under = connection.config if connection is not None else None
        if under is not None and under.context is not config.context and (config.needs_client or not under.context):
            # Kept alive from before: what it was made under need not be what is asked for now.
            raise TurnedDown(Refusal.CLIENT_CERTIFICATE, 403, "the web configuration has changed: connect anew")
        if config.needs_client:
            certificate = request.transport.get_extra_info("peercert") if request.transport else None
            if not certificate:
                raise TurnedDown(Refusal.CLIENT_CERTIFICATE, 403, "a client certificate is needed")

    async def _demand_password(self, request: web.Request, config: WebConfig) -> None:
        if not config.users:
            return
        try:
            is_right = await self._passwords.are_right(config.users, request.headers.get(hdrs.AUTHORIZATION, ""))
        except Busy:
            raise TurnedDown(
                Refusal.BUSY, 503, "too many passwords are being checked", {hdrs.RETRY_AFTER: "1"}
            ) from None
        if not is_right:
            challenge: dict[str, str] = {hdrs.WWW_AUTHENTICATE: 'Basic realm="iovigil", charset="UTF-8"'}
            raise TurnedDown(Refusal.PASSWORD, 401, "a user and a password are needed", challenge)


def is_outdated(connection: Connection, config: WebConfig) -> bool:
    """Whether it was made under another certificate: the next one is under this."""
    under = connection.config
    return not connection.is_operator and under is not None and under.context is not config.context


async def read_body(request: web.Request) -> None:
    """Read what there is of a body, which then is at hand: no handler waits for one that comes in drops."""
    try:
        async with asyncio.timeout(BODY_S):
            await request.read()
    except TimeoutError:
        raise TurnedDown(Refusal.SLOW, 408, f"the body took longer than {BODY_S:g} s") from None
    except (OSError, web.RequestPayloadError, HttpProcessingError):
        raise TurnedDown(Refusal.MALFORMED, 400, "the body is malformed, or ended too early") from None
    except web.HTTPRequestEntityTooLarge:
        raise TurnedDown(Refusal.BODY, 413, f"a request's body may have {MAX_BODY_BYTES} bytes") from None


def hang_up_on_who_does_not_read(request: web.Request) -> None:
    connection = request.transport.get_extra_info("socket") if request.transport is not None else None
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_LIMIT_MS)


def refusal(request: web.Request, status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Who asks the API is told in JSON, all others in plain text."""
    if request.path.startswith("/api/"):
        return problem.answer(ProblemError(HTTPStatus(status), message, headers=headers))
    response = text(message, status)
    response.headers.update(headers or {})
    return response


def text(message: str, status: int = 200) -> web.Response:
    return web.Response(text=f"{message}\n", status=status)

"""The connections of the server: how many, how slow, and which gives way when there is no room."""

import asyncio
import contextlib
import enum
import errno
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

from aiohttp import StreamReader

from iovigil.agent.web.control_socket import is_operator
from iovigil.agent.web.tls import names_in
from iovigil.agent.web.web_config import OPEN, WebConfig
from iovigil.agent.web_account import Refusal, WebAccount

# Clients must not use up the descriptors that the children need.
MAX_CONNECTIONS: Final = 128
HANDSHAKE_S: Final = 10.0
HEAD_S: Final = 10.0  # from the first byte of a request to the end of its header
KEEPALIVE_S: Final = 120.0  # longer than a scrape interval
UNREAD_S: Final = 30.0
SWEEP_INTERVAL_S: Final = 1.0
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_DROPPED_BYTES: Final = 16 << 20  # of a body that is not wanted, while its sender has yet to read that
PAUSE_S: Final = 1.0

UNTRUSTED: Final = {"PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED"}
HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)
TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

log = logging.getLogger(__name__)


class State(enum.Enum):
    """What a connection is at."""

    OPENING = enum.auto()
    WAITING = enum.auto()
    READING = enum.auto()
    SERVING = enum.auto()
    RECEIVING = enum.auto()  # a body, for as long as the gate waits
    SENDING = enum.auto()


class Connection(asyncio.Protocol):
    """Stands between the transport and aiohttp's handler of a connection, and watches what passes."""

    def __init__(self, book: "Connections", peer: str, listener: socket.socket) -> None:
        self._book = book
        self.peer = peer
        self.listener = listener
        """Where it came in."""
        self.is_operator = False
        """Whether it came in where nobody else can: it is asked for nothing more."""
        self.must_end = False
        """Whether the next answer is its last."""
        self.state = State.OPENING
        self.since_s = time.monotonic()
        self.config: WebConfig | None = None
        """What it was made under."""
        self.serving_under: WebConfig | None = None
        """What its request in progress, or its last one, is served under."""
        self.opening: asyncio.Task[None] | None = None
        self._handler: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._has_served = False
        self._body: StreamReader | None = None
        self._dropped_bytes = 0
        self._head_bytes = 0
        self._head_end = b""

    def enter(self, state: State) -> None:
        self.state = state
        self.since_s = time.monotonic()

    def begin_request(self, body: StreamReader) -> None:
        self._has_served = True
        self._body = body
        self.enter(State.SERVING)

    def begin_body(self) -> None:
        """Who drips a body is of no use meanwhile, and may have to give way."""
        self.enter(State.RECEIVING)

    def end_body(self) -> None:
        self.enter(State.SERVING)

    def end_request(self) -> None:
        self._head_bytes = 0
        self._head_end = b""
        self.enter(State.SENDING)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def end_soon(self) -> None:
        """End it, with the answer to what has been asked."""
        self.must_end = True
        if self.state is State.SENDING and self._transport is not None:
            self._transport.close()  # what is in its buffer goes out first
        elif self.state in (State.OPENING, State.WAITING):
            self.abort()

    def is_late(self, now_s: float) -> bool:
        """Whether its time is over; takes note of an answer that has gone out."""
        if self.state is State.SENDING and self._transport is not None and not self._transport.get_write_buffer_size():
            self.enter(State.WAITING)
        limits_s = {
            State.OPENING: HANDSHAKE_S + PAUSE_S,
            State.WAITING: KEEPALIVE_S if self._has_served else HEAD_S,
            State.READING: HEAD_S,
            State.SENDING: UNREAD_S,
        }
        return self.state in limits_s and now_s - self.since_s > limits_s[self.state]

    def hang_up(self) -> None:
        """Say that it was too slow, where it waits for an answer, and end it."""
        if self.state is State.READING and self._transport is not None:
            self._transport.write(TOO_SLOW)
            self._transport.close()
            self.enter(State.SENDING)
        else:
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._book.admits(self, transport.get_extra_info("peercert")):
            transport.abort()
            return
        self._handler = self._book.handler_for(self)
        self.enter(State.WAITING)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._handler is None:
            return
        if self.state in (State.WAITING, State.SENDING):
            if self._is_in_body:
                self._drop(data)
                return
            self.enter(State.READING)
        if self.state is State.READING and self._is_head_too_large(data):
            self._book.account.refuse(Refusal.HEADER)
            assert self._transport is not None
            self._transport.write(HEAD_TOO_LARGE)
            self._transport.close()
            return
        self._handler.data_received(data)

    def _drop(self, data: bytes) -> None:
        assert self._handler is not None
        assert self._transport is not None
        self._dropped_bytes += len(data)
        if self._dropped_bytes > MAX_DROPPED_BYTES:
            self._transport.close()
        else:
            self._handler.data_received(data)

    @property
    def _is_in_body(self) -> bool:
        """Whether more is to come of a request that has its answer: aiohttp reads and drops that for a moment."""
        return self._body is not None and not self._body.is_eof()

    def _is_head_too_large(self, data: bytes) -> bool:
        # aiohttp bounds each line of a header, older ones not how many there are.
        if self._head_end == b"\r\n\r\n":
            return False
        seen = self._head_end + data
        if b"\r\n\r\n" in seen:
            self._head_end = b"\r\n\r\n"
            return False
        self._head_end = seen[-3:]
        self._head_bytes += len(data)
        return self._head_bytes > MAX_HEAD_BYTES

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._handler else None

    def pause_writing(self) -> None:
        if self._handler:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._handler:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._book.forget(self, self._handler)
        if self._handler:
            self._handler.connection_lost(exc)


class Connections:
    """Accepts connections, at most so many, and ends those that take too long."""

    def __init__(
        self,
        handler: Callable[[], asyncio.Protocol],
        config: Callable[[], Awaitable[WebConfig]],
        account_of: Callable[[], WebAccount],
    ) -> None:
        """`handler` makes aiohttp's protocol for a connection."""
        self._handler = handler
        self._config = config
        self._account_of = account_of
        self._all: dict[Connection, None] = {}
        self._by_handler: dict[object, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: dict[socket.socket, asyncio.Task[None]] = {}
        self._cannot_accept = False

    @property
    def account(self) -> WebAccount:
        return self._account_of()

    def of(self, handler: object) -> Connection | None:
        """The connection that aiohttp's protocol serves."""
        return self._by_handler.get(handler)

    def serve(self, listener: socket.socket, *, is_operators: bool = False) -> None:
        """Accept what comes in there; with `is_operators` nobody but they can open it."""
        self._accepting[listener] = self._start(self._accept(listener, is_operators), f"accept {listener.fileno()}")

    async def withdraw(self, listener: socket.socket) -> None:
        """Accept no more there, and end what came in that way: an answer under way is the last."""
        task = self._accepting.pop(listener)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for connection in [each for each in self._all if each.listener is listener]:
            connection.end_soon()

    def begin(self) -> None:
        self._start(self._sweep(), "sweep")

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Accept no more, and end what is in a handshake."""
        tasks = [*self._tasks, *(each.opening for each in self._all if each.opening)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in [each for each in self._all if each.state is State.OPENING]:
            self.forget(connection, None)  # a task that never began does not do it

    async def _accept(self, listener: socket.socket, is_operators: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, peer = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue  # the client has thought better of it
                self._tell(error)
                await asyncio.sleep(PAUSE_S)
                continue
            self._cannot_accept = False
            if is_operators and not is_operator(taken):
                reset(taken)
                continue
            if len(self._all) >= MAX_CONNECTIONS and not self._make_room():
                self.account.refuse(Refusal.FULL)
                reset(taken)
                continue
            connection = Connection(self, str(peer[0]) if isinstance(peer, tuple) else "", listener)
            connection.is_operator = is_operators
            self._all[connection] = None
            self._count()
            connection.opening = loop.create_task(self._open(connection, taken), name="open")
            # Without waiting sock_accept takes all that is there: those that are open already must have their turn.
            await asyncio.sleep(0)

    def _tell(self, error: OSError) -> None:
        if not self._cannot_accept:
            log.error("web: no connection can be accepted: %s", error.strerror)
        self._cannot_accept = True

    async def _open(self, connection: Connection, taken: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        is_handed_over = is_open = False
        try:
            connection.config = config = OPEN if connection.is_operator else await self._config()
            limit_s = HANDSHAKE_S if config.context is not None else None
            is_handed_over = True
            await loop.connect_accepted_socket(
                lambda: connection, taken, ssl=config.context, ssl_handshake_timeout=limit_s
            )
            is_open = True
        except (TimeoutError, ConnectionAbortedError):
            self.account.refuse(Refusal.SLOW)  # asyncio's word for a handshake that took too long
        except ssl.SSLError as error:
            self.account.refuse(Refusal.CLIENT_CERTIFICATE if error.reason in UNTRUSTED else Refusal.HANDSHAKE)
        except OSError:
            pass  # the client has gone
        finally:
            connection.opening = None
            if not is_handed_over:
                taken.close()  # otherwise asyncio does, which may still wait for it to become readable
            if not is_open:
                self.forget(connection, None)

    def _make_room(self) -> bool:
        """End the connection that has been of no use for longest, of the client that has most of them."""
        idle = [each for each in self._all if each.state is not State.SERVING]
        if not idle:
            return False
        by_peer = Counter(each.peer for each in self._all)
        victim = max(idle, key=lambda each: (by_peer[each.peer], -each.since_s))
        self.account.refuse(Refusal.FULL)
        victim.abort()
        self.forget(victim, None)
        return True

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now_s = time.monotonic()
            for connection in [each for each in self._all if each.is_late(now_s)]:
                if connection.state is not State.WAITING:
                    self.account.refuse(Refusal.SLOW)
                connection.hang_up()

    def admits(self, connection: Connection, certificate: dict[str, object] | None) -> bool:
        """Whether a client's certificate, where it has shown one, has a name that is allowed."""
        config = connection.config
        if config is None or not config.allowed_sans or not certificate:
            return True
        if config.allowed_sans.isdisjoint(names_in(certificate)):
            self.account.refuse(Refusal.CLIENT_CERTIFICATE)
            return False
        return True

    def handler_for(self, connection: Connection) -> asyncio.Protocol:
        handler = self._handler()
        self._by_handler[handler] = connection
        return handler

    def forget(self, connection: Connection, handler: object) -> None:
        self._all.pop(connection, None)
        self._by_handler.pop(handler, None)
        self._count()

    def _count(self) -> None:
        self.account.connections = len(self._all)


def reset(taken: socket.socket) -> None:
    """Close a connection so that the client sees it at once."""
    with contextlib.suppress(OSError):
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    taken.close()

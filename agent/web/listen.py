"""Where the server listens: addresses, read and written, and the sockets behind them, its own or systemd's."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Final

BACKLOG: Final = 128
FIRST_FD: Final = 3  # of those that systemd passes

HINTS: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: "; another process has it: stop that one or change agent.listen",
    errno.EACCES: "; ports below 1024 need CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "; no interface of this host has that address",
}


def parse(listen: str) -> tuple[str | None, int]:
    """Host and port; the host None is every address. Raises ValueError with the text to show."""
    host, separator, port = listen.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not separator or (":" in host and not is_bracketed):
        raise ValueError(f"{listen!r} is not host:port, [v6]:port or :port")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{listen!r}: {port!r} is not a port number in 0..65535")
    return (host[1:-1] if is_bracketed else host) or None, int(port)


def spell(host: str, port: int) -> str:
    """The address as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(listener: socket.socket) -> str:
    """Where a socket listens: as in a URL, or the path of a Unix socket after `unix:`."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    return spell(*name[:2])


async def bind(address: str, ours: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """The listening sockets of `host:port`, one for each address that the host has. Raises ValueError or OSError.

    Those of `ours` that listen there already are among them; the others may go on meanwhile, also where one of both
    is every address of the host.
    """
    host, port = parse(address)
    loop = asyncio.get_running_loop()
    listeners: list[socket.socket] = []
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in dict.fromkeys(found):
            if there := [each for each in ours if each.family == family and each.getsockname() == place]:
                listeners += there
                continue
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError:
                continue  # a kernel without IPv6
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            with sharing([listener, *(each for each in ours if has_port(each, family, place[1]))]):
                listener.bind(place)
                listener.listen(BACKLOG)
    except OSError as error:
        close([each for each in listeners if each not in ours])
        raise OSError(error.errno, f"cannot listen on {address}: {reason_of(error)}") from error
    if not listeners:
        raise OSError(errno.EADDRNOTAVAIL, f"cannot listen on {address}: this host has no such address family")
    return listeners


def has_port(listener: socket.socket, family: int, port: object) -> bool:
    return listener.family == family and listener.getsockname()[1] == port


@contextlib.contextmanager
def sharing(listeners: Sequence[socket.socket]) -> Iterator[None]:
    """Let these have one port between them, where there are several: for this moment, or two agents could, too."""
    several = listeners if len(listeners) > 1 else ()
    for listener in several:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        yield
    finally:
        for listener in several:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def inherited(env: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that systemd passed to this process; none where it did not. Raises OSError for one of no use.

    They are told once: a child must not take them for its own.
    """
    told = {name: env.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if told["LISTEN_PID"] != str(os.getpid()) or not told["LISTEN_FDS"].isdecimal():
        return []
    names = told["LISTEN_FDNAMES"].split(":")
    listeners: list[socket.socket] = []
    for index in range(int(told["LISTEN_FDS"])):
        fd = FIRST_FD + index
        name = names[index] if index < len(names) else ""
        try:
            listener = socket.socket(fileno=fd)
            listeners.append(listener)
            is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            close(listeners)
            raise OSError(error.errno, f"descriptor {fd} ({name}) from systemd: {error.strerror}") from None
        if listener.type != socket.SOCK_STREAM or not is_listening:
            close(listeners)
            raise OSError(
                errno.EINVAL,
                f"descriptor {fd} ({name}) from systemd is no listening stream socket: "
                "the socket unit needs ListenStream= and Accept=no",
            )
        listener.set_inheritable(False)
        listener.setblocking(False)
    return listeners


def close(listeners: Iterable[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def text_of(error: OSError | ValueError) -> str:
    """What `bind` says, for people."""
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error)


def reason_of(error: OSError) -> str:
    """Why binding failed; a name that does not resolve has an errno of its own kind."""
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    return reason + HINTS.get(number, "")

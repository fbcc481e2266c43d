"""The local operator's way in: a Unix socket that only root and the agent's own user can open."""

import errno
import logging
import os
import secrets
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from iovigil.agent import aside
from iovigil.agent.aside import Lane

DEADLINE_S: Final = 3.0
CLOSE_S: Final = 0.5
CONNECT_S: Final = 1.0
MODE: Final = 0o600
BACKLOG: Final = 16
CREDENTIALS: Final = struct.Struct("iII")  # struct ucred

log = logging.getLogger(__name__)


class InUse(OSError):
    """Another agent answers there."""


class ControlSocket:
    """The socket at one path; whatever is wrong with that, the agent does without."""

    def __init__(self, path: str) -> None:
        """An empty path is no socket at all."""
        self.path = path
        self.listener: socket.socket | None = None
        self._lane = Lane()

    async def open(self) -> None:
        """Listen, or say in the log why not. The path may be on anything, so that is done aside."""
        if not self.path:
            return
        try:
            self.listener = await self._lane.call(lambda: bind(self.path), DEADLINE_S)
        except FileNotFoundError:
            log.info(
                "no control socket: there is no directory %s; `iovigil pause` and the like then need --url",
                Path(self.path).parent,
            )
        except OSError as error:
            reason = f"no answer within {DEADLINE_S:g} s" if isinstance(error, TimeoutError) else reason_of(error)
            log.warning("no control socket at %s: %s; see agent.control_socket", self.path, reason)

    async def close(self) -> None:
        """Listen no more, and leave nothing behind."""
        if self.listener is None:
            return
        listener, self.listener = self.listener, None
        try:
            await aside.call(lambda: remove(self.path, listener), CLOSE_S)
        except OSError as error:
            log.warning("the control socket %s is left there: %s", self.path, reason_of(error))
        finally:
            listener.close()


def bind(path: str) -> socket.socket:
    """A listening socket there, in the place of one that nobody listens at. Blocks. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # It gets its name when it listens: to an agent that starts at the same time it must not look abandoned.
    new = Path(f"{path}.{secrets.token_hex(2)}")
    try:
        listener.bind(str(new))
        new.chmod(MODE)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        try:
            os.link(new, path)
        except FileExistsError:
            remove_abandoned(path)
            os.link(new, path)
    except OSError:
        listener.close()
        raise
    finally:
        new.unlink(missing_ok=True)
    return listener


def remove_abandoned(path: str) -> None:
    """Remove the socket of an agent that is gone. Raises OSError."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_S)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise InUse(errno.EADDRINUSE, "another agent answers there: give each its own")


def remove(path: str, listener: socket.socket) -> None:
    """Remove the socket's name, unless it is another's by now."""
    listener.shutdown(socket.SHUT_RDWR)
    try:
        remove_abandoned(path)
    except (InUse, FileNotFoundError):
        return


def is_operator(taken: socket.socket) -> bool:
    """Whether root or the agent's own user is at the other end, whatever the mode of the socket has become."""
    credentials = taken.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, uid, _ = CREDENTIALS.unpack(credentials)
    return uid in (0, os.geteuid())


def reason_of(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__

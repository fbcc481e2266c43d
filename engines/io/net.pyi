import socket
from typing import Final, final

from iovigil.engines.io.base import IoEngine

PATIENCE_S: Final[float]
POLL_S: Final[float]
LOOK_UP_TIMEVAL: Final[bytes]
STILL_ABSENT: Final[tuple[int, ...]]

@final
class Engine(IoEngine): ...

def accepted(hostname: str, port: int) -> socket.socket | None: ...
def connected(hostname: str, port: int) -> socket.socket | None: ...
def resolved(
    hostname: str | None, port: int, flags: int
) -> tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]: ...

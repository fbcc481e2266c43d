"""What a file holds that somebody has named: little, and soon, whatever kind of file that is."""

import os
import select
import stat
import time
from typing import Final

PIPE_S: Final = 5.0
PIECE: Final = 1 << 16
NO_FILES: Final = (
    (stat.S_ISBLK, "is a block device"),
    (stat.S_ISCHR, "is a character device"),
    (stat.S_ISSOCK, "is a socket"),
)


class Unreadable(Exception):
    """There is nothing to be had of it; the text says why."""


def content_of(path: str, most: int, what: str) -> bytes:
    """Return the bytes of a file or pipe, at most so many; raise Unreadable, also where it is no `what`."""
    try:
        # Looked at before it is opened: that may wait for ever (a FIFO), or do something (a tape, a watchdog).
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            content = read(place, most)
        finally:
            os.close(place)
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > most:
        raise Unreadable(f"is longer than {most} bytes: this is no {what}")
    return content


def read(place: int, most: int) -> bytes:
    """Return what is behind an O_PATH descriptor, and a byte more than `most` of what is longer."""
    mode = os.fstat(place).st_mode
    for is_one, kind in NO_FILES:
        if is_one(mode):
            raise Unreadable(f"{kind}, and not a file")
    fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        pieces, size, end_s = [], 0, time.monotonic() + PIPE_S
        while size <= most:
            if stat.S_ISFIFO(mode) and not select.select([fd], [], [], max(end_s - time.monotonic(), 0.0))[0]:
                raise Unreadable(f"is a pipe whose end did not come within {PIPE_S:g} s")
            piece = os.read(fd, min(PIECE, most + 1 - size))
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)

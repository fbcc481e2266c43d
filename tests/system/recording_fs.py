"""A FUSE file system with two files, `region` and `state`, that notes what is written to them and what is flushed.

Run as `recording_fs.py BACKING_DIRECTORY MOUNTPOINT LOG`. A flush is good for the writes of its file that had come back
when it began.
"""

import errno
import itertools
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any, Final, NamedTuple

NAMES: Final = ("region", "state")
HEAD: Final = struct.Struct("<QQBBQQ")
WRITE, FLUSH = 1, 2


class Event(NamedTuple):
    """A write or a flush of one of the files, from one tick to another."""

    begun: int
    ended: int
    kind: int
    name: str
    offset: int
    data: bytes


def read_events(log: Path) -> list[Event]:
    """What was noted, in the order of the ends."""
    events = []
    with log.open("rb") as file:
        while head := file.read(HEAD.size):
            begun, ended, kind, name, offset, length = HEAD.unpack(head)
            events.append(Event(begun, ended, kind, NAMES[name], offset, file.read(length)))
    return sorted(events, key=lambda event: event.ended)


def serve(backing: Path, mountpoint: str, log_path: Path) -> None:
    import mfusepy  # a test that reads the log has no use for it

    class Recorder(mfusepy.Operations):  # type: ignore[misc] # mfusepy has no types
        """The directory."""

        use_ns = True

        def __init__(self) -> None:
            self._fds = {f"/{name}": os.open(backing / name, os.O_RDWR) for name in NAMES}
            self._log = log_path.open("ab", buffering=0)
            self._lock = threading.Lock()
            self._ticks = itertools.count()

        def init_with_config(self, conn_info: Any, config_3: Any) -> None:  # noqa: ARG002
            config_3.direct_io = 1  # what is written comes here before the call returns, and nothing else does
            config_3.attr_timeout = 0
            config_3.use_ino = 1

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:  # noqa: ARG002
            if path == "/":
                return {"st_mode": 0o040755, "st_nlink": 2}
            if path not in self._fds:
                raise mfusepy.FuseOSError(errno.ENOENT)
            size = os.fstat(self._fds[path]).st_size
            return {"st_mode": 0o100660, "st_nlink": 1, "st_size": size, "st_ino": 2 + NAMES.index(path[1:])}

        def readdir(self, path: str, fh: int) -> list[str]:  # noqa: ARG002
            return [".", "..", *NAMES]

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:  # noqa: ARG002
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
            return os.pread(self._fds[path], size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:  # noqa: ARG002
            begun = next(self._ticks)
            done = os.pwrite(self._fds[path], data, offset)
            self._note(begun, WRITE, path, offset, data[:done])
            return done

        def fsync(self, path: str, datasync: int, fh: int) -> int:  # noqa: ARG002
            self._note(next(self._ticks), FLUSH, path, 0, b"")
            return 0

        def _note(self, begun: int, kind: int, path: str, offset: int, data: bytes) -> None:
            with self._lock:
                head = HEAD.pack(begun, next(self._ticks), kind, NAMES.index(path[1:]), offset, len(data))
                self._log.write(head + data)

    mfusepy.FUSE(
        Recorder(), mountpoint, foreground=True, allow_other=True, default_permissions=True, fsname="iovigil-recorder"
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))

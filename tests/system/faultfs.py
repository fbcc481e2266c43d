"""A FUSE file system with one file, `disk`, whose reads and writes fail, wait or lie as they are told to.

Run as `faultfs.py BACKING MOUNTPOINT CONTROL_FD`. The test at the other end of the control socket sends one JSON
object per line and gets one back. When it goes away, so does the file system.
"""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import mfusepy

# More than any test keeps in flight: a hung request must not keep others from being served.
REQUESTS_IN_PARALLEL = 64


@dataclass(kw_only=True)
class Rule:
    """What to do to the requests of one kind that touch a range."""

    operation: str
    """read, write, sync or any."""
    offset: int
    length: int
    action: str
    """error, delay, flip, drop, short or hang."""
    errno: int = errno.EIO
    delay_s: float = 0.0
    bit: int = 0
    most: int = 0
    """Bytes that a short transfer ends after."""
    hits: int = 0

    def matches(self, operation: str, offset: int, length: int) -> bool:
        return self.operation in (operation, "any") and (
            operation == "sync" or (offset < self.offset + self.length and self.offset < offset + length)
        )


class Faults:
    """The rules in force, and the requests held back by them."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._rules: list[Rule] = []
        self._hung = 0

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()
            self._lock.notify_all()

    def release(self) -> None:
        """Lift every hang; the other rules stay."""
        with self._lock:
            self._rules = [rule for rule in self._rules if rule.action != "hang"]
            self._lock.notify_all()

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {"hung": self._hung, "hits": sum(rule.hits for rule in self._rules)}

    def meet(self, operation: str, offset: int = 0, length: int = 0) -> list[Rule]:
        """Wait and fail as ruled; the rules about data, which are left, are returned. Raises FuseOSError."""
        with self._lock:
            met = [rule for rule in self._rules if rule.matches(operation, offset, length)]
            for rule in met:
                rule.hits += 1
            if any(rule.action == "hang" for rule in met):
                self._hung += 1
                self._lock.wait_for(lambda: not any(rule in self._rules for rule in met if rule.action == "hang"))
                self._hung -= 1
        for rule in met:
            if rule.action == "delay":
                time.sleep(rule.delay_s)
            elif rule.action == "error":
                raise mfusepy.FuseOSError(rule.errno)
        return [rule for rule in met if rule.action in ("flip", "drop", "short")]


class FaultFilesystem(mfusepy.Operations):  # type: ignore[misc] # mfusepy has no types
    """The directory with the one file in it."""

    use_ns = True

    def __init__(self, backing_path: str, faults: Faults, control: socket.socket) -> None:
        self._backing_fd = os.open(backing_path, os.O_RDWR)
        self._size = os.fstat(self._backing_fd).st_size
        self._faults = faults
        self._control = control

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        conn_info.max_background = REQUESTS_IN_PARALLEL
        config_3.direct_io = 1  # no page cache of ours between the test and the faults
        config_3.attr_timeout = 0
        self._control.sendall(b'{"ready": true}\n')

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:  # noqa: ARG002
        if path == "/":
            return {"st_mode": 0o040755, "st_nlink": 2}
        if path == "/disk":
            return {"st_mode": 0o100660, "st_nlink": 1, "st_size": self._size}
        raise mfusepy.FuseOSError(errno.ENOENT)

    def readdir(self, path: str, fh: int) -> list[str]:  # noqa: ARG002
        return [".", "..", "disk"]

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:  # noqa: ARG002
        return 0  # like a block device, it keeps its size

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
        met = self._faults.meet("read", offset, size)
        data = bytearray(os.pread(self._backing_fd, moved(met, size), offset))
        for rule in met:
            if rule.action == "flip" and offset <= rule.offset < offset + len(data):
                data[rule.offset - offset] ^= 1 << rule.bit
        return bytes(data)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:  # noqa: ARG002
        met = self._faults.meet("write", offset, len(data))
        room = max(self._size - offset, 0)
        if not room:
            raise mfusepy.FuseOSError(errno.ENOSPC)
        kept = bytearray(data[: min(moved(met, len(data)), room)])
        for rule in met:
            if rule.action == "drop":
                # The kernel may have put blocks beside the range into the same request.
                start = min(max(rule.offset - offset, 0), len(kept))
                end = min(rule.offset + rule.length - offset, len(kept))
                kept[start:end] = os.pread(self._backing_fd, end - start, offset + start)
        return os.pwrite(self._backing_fd, kept, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:  # noqa: ARG002
        self._faults.meet("sync")  # nothing here has to outlive the machine
        return 0


def moved(met: list[Rule], size: int) -> int:
    """Bytes of a request that are transferred."""
    return min([size, *(rule.most for rule in met if rule.action == "short")])


def obey(control: socket.socket, faults: Faults, mountpoint: str) -> None:
    """Carry out commands until the test is gone; then take down what it left: loop devices, mount, hung requests."""
    loop_devices: list[str] = []
    with control.makefile("r") as commands:
        for line in commands:
            command = json.loads(line)
            match command.pop("do"):
                case "add":
                    faults.add(Rule(**command))
                case "clear":
                    faults.clear()
                case "release":
                    faults.release()
                case "own":
                    loop_devices.append(command["device"])
            control.sendall(json.dumps(faults.state()).encode() + b"\n")
    faults.clear()
    for undo in (*(["losetup", "--detach", device] for device in loop_devices), ["umount", "--lazy", mountpoint]):
        subprocess.run(undo, timeout=5, check=False, capture_output=True)
    os._exit(0)


def main() -> None:
    backing_path, mountpoint, control_fd = sys.argv[1:]
    control = socket.socket(fileno=int(control_fd))
    faults = Faults()
    threading.Thread(target=obey, args=(control, faults, mountpoint), daemon=True).start()
    mfusepy.FUSE(
        FaultFilesystem(backing_path, faults, control),
        mountpoint,
        foreground=True,
        allow_other=True,
        default_permissions=True,
        max_threads=REQUESTS_IN_PARALLEL,
        fsname="iovigil-fault-disk",
    )


if __name__ == "__main__":
    main()

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
from dataclasses import dataclass, field
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
    """error, delay, short, hang; of data: flip, zero, drop, misdirect, age."""
    errno: int = errno.EIO
    delay_s: float = 0.0
    bit: int = 0
    most: int = 0
    """Bytes that a short transfer ends after."""
    to: int = 0
    """Where a misdirected range begins."""
    skip: int = 0
    """Requests that are let pass before the rule takes effect."""
    hits: int = 0
    old: bytes = b""
    """What an aged range held when the rule was made."""
    strays: dict[int, bytes] = field(default_factory=dict)
    """Misdirected writes since the last sync, by the offset that they went to."""

    def matches(self, operation: str, offset: int, length: int) -> bool:
        return self.operation in (operation, "any") and (
            operation == "sync" or (offset < self.offset + self.length and self.offset < offset + length)
        )

    def span(self, offset: int, length: int) -> slice:
        """The part of the request's data that is in the range: the kernel may have put blocks beside it in as well."""
        start = min(max(self.offset - offset, 0), length)
        return slice(start, max(min(self.offset + self.length - offset, length), start))


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
            met = [rule for rule in met if rule.hits > rule.skip]
            if any(rule.action == "hang" for rule in met):
                self._hung += 1
                self._lock.wait_for(lambda: not any(rule in self._rules for rule in met if rule.action == "hang"))
                self._hung -= 1
        for rule in met:
            if rule.action == "delay":
                time.sleep(rule.delay_s)
            elif rule.action == "error":
                raise mfusepy.FuseOSError(rule.errno)
        return [rule for rule in met if rule.action not in ("hang", "delay", "error")]

    def strays(self) -> dict[int, bytes]:
        """Take the writes that went astray since the last call."""
        with self._lock:
            taken = {at: data for rule in self._rules for at, data in rule.strays.items()}
            for rule in self._rules:
                rule.strays.clear()
            return taken


class FaultFilesystem(mfusepy.Operations):  # type: ignore[misc] # mfusepy has no types
    """The directory with the one file in it."""

    use_ns = True

    def __init__(self, backing_path: str, faults: Faults, control: socket.socket) -> None:
        self._backing_fd = os.open(backing_path, os.O_RDWR)
        # The data as they would be on a good disk.
        self._intended_fd = os.open(f"{backing_path}-intended", os.O_RDWR | os.O_CREAT, 0o600)
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
            span = rule.span(offset, len(data))
            place = offset + span.start - rule.offset
            match rule.action:
                case "flip" if span.stop > span.start:
                    data[span.start] ^= 1 << rule.bit
                case "zero":
                    data[span] = bytes(span.stop - span.start)
                case "misdirect":
                    data[span] = os.pread(self._backing_fd, span.stop - span.start, rule.to + place)
                case "age":
                    data[span] = rule.old[place : place + span.stop - span.start]
        return bytes(data)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:  # noqa: ARG002
        met = self._faults.meet("write", offset, len(data))
        room = max(self._size - offset, 0)
        if not room:
            raise mfusepy.FuseOSError(errno.ENOSPC)
        kept = bytearray(data[: min(moved(met, len(data)), room)])
        os.pwrite(self._intended_fd, kept, offset)
        strays = {}
        for rule in met:
            span = rule.span(offset, len(kept))
            match rule.action:
                case "flip" if span.stop > span.start:
                    kept[span.start] ^= 1 << rule.bit
                case "zero":
                    kept[span] = bytes(span.stop - span.start)
                case "misdirect":
                    strays[rule.to + offset + span.start - rule.offset] = bytes(kept[span])
                    rule.strays.update(strays)
            if rule.action in ("drop", "misdirect"):
                kept[span] = os.pread(self._backing_fd, span.stop - span.start, offset + span.start)
        written = os.pwrite(self._backing_fd, kept, offset)
        for at, stray in strays.items():
            os.pwrite(self._backing_fd, stray, at)
        return written

    def fsync(self, path: str, datasync: int, fh: int) -> int:  # noqa: ARG002
        met = self._faults.meet("sync")  # nothing here has to outlive the machine
        for rule in met:
            if rule.action == "age":
                os.pwrite(self._backing_fd, rule.old, rule.offset)
        # A page cache writes in an order of its own: what went astray is what arrives last.
        for at, stray in self._faults.strays().items():
            os.pwrite(self._backing_fd, stray, at)
        return 0


def moved(met: list[Rule], size: int) -> int:
    """Bytes of a request that are transferred."""
    return min([size, *(rule.most for rule in met if rule.action == "short")])


def obey(control: socket.socket, faults: Faults, backing_path: str, mountpoint: str) -> None:
    """Carry out commands until the test is gone; then take down what it left: loop devices, mount, hung requests."""
    loop_devices: list[str] = []
    with control.makefile("r") as commands:
        for line in commands:
            command = json.loads(line)
            match command.pop("do"):
                case "add":
                    rule = Rule(**command)
                    if rule.action == "age":
                        with open(backing_path, "rb") as backing:  # noqa: PTH123
                            rule.old = os.pread(backing.fileno(), rule.length, rule.offset)
                    faults.add(rule)
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
    threading.Thread(target=obey, args=(control, faults, backing_path, mountpoint), daemon=True).start()
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

"""A disk that fails on command, for tests: a file that FUSE serves, with a loop device on top where one is wanted."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loop import mounted as filesystem
from processes import NotReady, started, tail, wait_until

FAULTFS = Path(__file__).with_name("faultfs.py")
MIB = 1 << 20
COMMAND_DEADLINE_S = 5.0
FIBMAP = 1


class FaultDisk:
    """The disk, and the hand that breaks it. Offsets and lengths are bytes; length None is up to the end."""

    def __init__(
        self, mountpoint: Path, backing: Path, control: socket.socket, daemon: subprocess.Popen[bytes]
    ) -> None:
        self.path = mountpoint / "disk"
        self.daemon = daemon
        self.backing = backing
        """The data as it really is, past all faults."""
        self.intended = backing.with_name(f"{backing.name}-intended")
        """The data as they were written and would be on a good disk."""
        self.size = backing.stat().st_size
        self._control = control
        self._replies = control.makefile("r")
        self._loop_devices: list[Path] = []

    def wait_until_ready(self, log: Path) -> None:
        """Return when the file system answers. Raises NotReady with the end of its log."""
        try:
            greeting = self._replies.readline()
        except TimeoutError:
            greeting = ""
        if not greeting:
            raise NotReady(f"the fault disk was not mounted in {COMMAND_DEADLINE_S:g} s\n{tail(log)}")

    def fail_reads(self, offset: int = 0, length: int | None = None, errno: int = errno.EIO) -> None:
        self._add("read", "error", offset, length, errno=errno)

    def fail_writes(self, offset: int = 0, length: int | None = None, errno: int = errno.EIO) -> None:
        self._add("write", "error", offset, length, errno=errno)

    def fail_syncs(self, errno: int = errno.EIO) -> None:
        self._add("sync", "error", 0, None, errno=errno)

    def fill_up(self, offset: int = 0) -> None:
        """No space from this offset on."""
        self.fail_writes(offset, errno=errno.ENOSPC)

    def delay(self, delay_s: float, offset: int = 0, length: int | None = None, operation: str = "any") -> None:
        self._add(operation, "delay", offset, length, delay_s=delay_s)

    def flip(self, offset: int, bit: int = 0, operation: str = "read") -> None:
        """Turn one bit of one byte over: in everything read, what is stored stays right; or in everything written."""
        self._add(operation, "flip", offset, 1, bit=bit)

    def zero(self, offset: int, length: int, operation: str = "read") -> None:
        """Put zeroes in the place of what is read or written."""
        self._add(operation, "zero", offset, length)

    def drop_writes(self, offset: int = 0, length: int | None = None, skip: int = 0) -> None:
        """Say that it is written, and write nothing; the first so many requests are good ones."""
        self._add("write", "drop", offset, length, skip=skip)

    def tear(self, offset: int, length: int, keep: int) -> None:
        """Write no more than the first so many bytes of the range, and say that all of it is written."""
        self.drop_writes(offset + keep, length - keep)

    def misdirect(self, offset: int, length: int, to: int, operation: str = "write") -> None:
        """Read or write elsewhere, and say nothing. A stray write is there at once, and once more at the next sync."""
        self._add(operation, "misdirect", offset, length, to=to)

    def age(self, offset: int, length: int, operation: str = "read") -> None:
        """Have what is there now come back: at every read; or at the next sync for good, as a lost cache does."""
        self._add(operation, "age", offset, length)

    def shorten(self, most: int, offset: int = 0, length: int | None = None, operation: str = "any") -> None:
        """Transfer no more than so many bytes of a request, and say so."""
        self._add(operation, "short", offset, length, most=most)

    def hang(self, offset: int = 0, length: int | None = None, operation: str = "any") -> None:
        """Answer no request until `release` or `clear`."""
        self._add(operation, "hang", offset, length)

    def release(self) -> None:
        """Let hung requests go on, and hang no more; other faults stay."""
        self._command(do="release")

    def clear(self) -> None:
        """Be a good disk again."""
        self._command(do="clear")

    @property
    def hits(self) -> int:
        """Requests that met a rule still in force."""
        return int(self._command(do="state")["hits"])

    @property
    def hung(self) -> int:
        """Requests held back now."""
        return int(self._command(do="state")["hung"])

    def wait_for_hung(self, requests: int = 1, deadline_s: float = 10.0) -> None:
        """Return when so many requests are held back. Raises NotReady."""
        wait_until(lambda: self.hung >= requests, f"{requests} hung requests", deadline_s)

    def as_loop_device(self, offset: int = 0, length: int | None = None) -> Path:
        """A real block device over this disk, or a part of it, without the page cache between them; detached at the
        end of the test."""
        part = [f"--offset={offset}", f"--sizelimit={self.size - offset if length is None else length}"]
        device = Path(output_of("losetup", "--find", "--show", "--direct-io=on", *part, str(self.path)))
        self._loop_devices.append(device)
        self._command(do="own", device=str(device))  # should this process be killed, the daemon detaches it
        return device

    def detach_loop_devices(self) -> None:
        while self._loop_devices:
            run_quietly("losetup", "--detach", str(self._loop_devices.pop()))

    def close(self) -> None:
        self._replies.close()
        self._control.close()

    def _add(self, operation: str, action: str, offset: int, length: int | None, **details: Any) -> None:
        length = self.size - offset if length is None else length
        self._command(do="add", operation=operation, action=action, offset=offset, length=length, **details)

    def _command(self, **command: Any) -> dict[str, Any]:
        self._control.sendall(json.dumps(command).encode() + b"\n")
        return dict(json.loads(self._replies.readline()))


@contextlib.contextmanager
def mounted(directory: Path, size: int = 64 * MIB) -> Iterator[FaultDisk]:
    """A fault disk of this size under the directory, good until told otherwise; gone afterwards whatever happened."""
    mountpoint, backing, log = directory / "fault-mount", directory / "fault-backing", directory / "faultfs.log"
    mountpoint.mkdir()
    with backing.open("wb") as file:
        file.truncate(size)
    ours, theirs = socket.socketpair()
    ours.settimeout(COMMAND_DEADLINE_S)
    command: list[str | Path] = [sys.executable, FAULTFS, backing, mountpoint, str(theirs.fileno())]
    with started(command, log=log, pass_fds=[theirs.fileno()]) as daemon:
        theirs.close()  # so that the daemon's death is an end of file here
        disk = FaultDisk(mountpoint, backing, ours, daemon)
        try:
            disk.wait_until_ready(log)
            yield disk
        finally:
            take_down(disk, daemon)


def take_down(disk: FaultDisk, daemon: subprocess.Popen[bytes]) -> None:
    """End a fault disk, hung or not; in this order, so that nothing here waits for a request that nobody answers."""
    mountpoint = disk.path.parent
    connection = fuse_connection(mountpoint)
    with contextlib.suppress(OSError, ValueError):
        disk.clear()
    # Once the daemon is gone, the kernel answers what is still in flight with EIO. It must not see the end of the
    # socket first, and detach a device whose number is somebody else's by the time that it is detached here.
    daemon.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.wait(COMMAND_DEADLINE_S)
    if daemon.poll() is None:
        abort(connection)
    disk.close()
    disk.detach_loop_devices()
    run_quietly("umount", "--lazy", str(mountpoint))
    assert not fuse_connection(mountpoint), f"{mountpoint} is still mounted"


@pytest.fixture
def fault_disk(tmp_path: Path) -> Iterator[FaultDisk]:
    """A disk of 64 MiB that fails on command (see FaultDisk). Mark the test with requires_fuse and requires_loop."""
    with mounted(tmp_path) as disk:
        yield disk


@pytest.fixture
def faulty_ext4(fault_disk: FaultDisk, tmp_path: Path) -> Iterator[Path]:
    """The mount point of an ext4 on the fault disk. Mark the test with requires_mkfs, too."""
    device = fault_disk.as_loop_device()
    output_of("mkfs.ext4", "-q", str(device))
    with filesystem(device, tmp_path / "ext4") as point:
        yield point
        fault_disk.clear()
        run_quietly("umount", str(point))  # what is lazily unmounted may still write when its disk goes


def place_on_disk(file: Path) -> int:
    """Where the file's first byte is on the disk of its ext4; all others must follow it in a row."""
    fd = os.open(file, os.O_RDONLY)
    try:
        status = os.fstat(fd)
        blocks = [mapped(fd, block) for block in range(-(-status.st_size // status.st_blksize))]
    finally:
        os.close(fd)
    assert blocks == list(range(blocks[0], blocks[0] + len(blocks))), f"{file} is in pieces"
    return blocks[0] * status.st_blksize


def mapped(fd: int, block: int) -> int:
    """The block on disk behind a block of a file."""
    answer = fcntl.ioctl(fd, FIBMAP, block.to_bytes(4, sys.byteorder))
    return int.from_bytes(answer, sys.byteorder)


def fuse_connection(mountpoint: Path) -> str:
    """The number of the FUSE connection mounted there; empty if none is. Asks the kernel, never the file system."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        _, _, device, _, path, *_ = line.split(" ")
        if path == str(mountpoint):
            return device.partition(":")[2]
    return ""


def abort(connection: str) -> None:
    """Answer every request of a FUSE connection with an error, whatever its daemon does."""
    control = Path("/sys/fs/fuse/connections")
    if not (control / connection).is_dir():
        run_quietly("mount", "-t", "fusectl", "none", str(control))
    with contextlib.suppress(OSError):
        (control / connection / "abort").write_text("1")


def output_of(*command: str, stderr: int | None = None) -> str:
    """What a command prints. It is not waited for when it outlives SIGKILL, as `losetup` of a hung disk does."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        output, _ = process.communicate(timeout=COMMAND_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return output.strip()


def run_quietly(*command: str) -> None:
    """Run a command of the clean-up; whether it fails or hangs, the clean-up goes on."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        output_of(*command, stderr=subprocess.DEVNULL)

"""Disks by the dozen, out of sparse files and memory: loop devices, some of them with ext4, and zram."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
IMAGE_BYTES: Final = 64 * MIB
PROBE_FILE_BYTES: Final = 16 * MIB
COMMAND_DEADLINE_S: Final = 30.0
ZRAM_CONTROL: Final = Path("/sys/class/zram-control")
THROTTLES: Final = tuple(Path(f"/sys/fs/cgroup/blkio/blkio.throttle.{what}_bps_device") for what in ("read", "write"))
ENDS: Final = (signal.SIGINT, signal.SIGTERM)
NEEDED_COMMANDS: Final = ("losetup", "mkfs.ext4", "mount", "umount")


@dataclass(frozen=True)
class MadeDisk:
    """A device that this process made, and the probe file on it where there is one."""

    name: str
    device: Path
    file: Path | None = None

    @property
    def number(self) -> str:
        number = self.device.stat().st_rdev
        return f"{os.major(number)}:{os.minor(number)}"


def missing() -> list[str]:
    """What the machine lacks for this, in words."""
    lacks = [f"the command {command}" for command in NEEDED_COMMANDS if shutil.which(command) is None]
    if os.geteuid() != 0:
        lacks.append("root")
    if not Path("/dev/loop-control").exists():
        lacks.append("loop devices")
    if not (ZRAM_CONTROL / "hot_add").exists():
        lacks.append("zram")
    if not all(throttle.exists() for throttle in THROTTLES):
        lacks.append("the blkio controller of cgroup v1, by which disks are made to hang")
    return lacks


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Have signals that end this process wait: what is made in here is registered for its removal, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def many_disks(directory: Path, *, mounted: int, raw: int, zram: int) -> Iterator[list[MadeDisk]]:
    """So many loop devices with ext4 and without, and so many of zram; gone afterwards, whatever happened."""
    with contextlib.ExitStack() as made:
        disks = []
        for number in range(mounted + raw):
            with whole():
                device = made.enter_context(loop_device(directory / f"image{number:02}"))
            if number < mounted:
                with whole():
                    file = made.enter_context(ext4(device, directory / f"data{number:02}")) / "probe"
                disks.append(MadeDisk(f"data{number:02}", device, file))
            else:
                disks.append(MadeDisk(f"raw{number:02}", device))
        for number in range(zram):
            with whole():
                disks.append(MadeDisk(f"zram{number:02}", made.enter_context(zram_device())))
        yield disks


@contextlib.contextmanager
def loop_device(image: Path) -> Iterator[Path]:
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    device = Path(command("losetup", "--find", "--show", "--direct-io=on", str(image)))
    try:
        yield device
    finally:
        tried("losetup", "--detach", str(device))


@contextlib.contextmanager
def ext4(device: Path, point: Path) -> Iterator[Path]:
    point.mkdir()
    command("mkfs.ext4", "-q", "-F", "-m", "0", str(device))
    command("mount", str(device), str(point))
    try:
        yield point
    finally:
        # Lazily: what hangs on it, if anything still does, must not keep the rest from being removed.
        tried("umount", "--lazy", str(point))


@contextlib.contextmanager
def zram_device() -> Iterator[Path]:
    number = int((ZRAM_CONTROL / "hot_add").read_text())
    device = Path(f"/dev/zram{number}")
    is_node_ours = False
    try:
        settings = Path(f"/sys/block/zram{number}")
        (settings / "disksize").write_text(str(IMAGE_BYTES))
        if not device.exists():  # where neither devtmpfs nor udev makes it
            major, minor = map(int, (settings / "dev").read_text().split(":"))
            os.mknod(device, 0o60600, os.makedev(major, minor))
            is_node_ours = True
        yield device
    finally:
        with contextlib.suppress(OSError):
            (ZRAM_CONTROL / "hot_remove").write_text(str(number))
        if is_node_ours:
            device.unlink(missing_ok=True)


@contextlib.contextmanager
def hung(disks: list[MadeDisk]) -> Iterator[None]:
    """Let no more than a byte a second through to these disks, whoever asks."""
    try:
        for disk in disks:
            throttle(disk, 1)
        yield
    finally:
        for disk in disks:
            throttle(disk, 0)


def throttle(disk: MadeDisk, bytes_per_s: int) -> None:
    """0 is no limit."""
    for file in THROTTLES:
        file.write_text(f"{disk.number} {bytes_per_s}")


def command(*arguments: str) -> str:
    """What it printed. Raises CalledProcessError, TimeoutExpired."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=COMMAND_DEADLINE_S)
    return done.stdout.strip()


def tried(*arguments: str) -> None:
    """Of cleaning up: the rest of it has to follow."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(arguments, capture_output=True, check=False, timeout=COMMAND_DEADLINE_S)

"""Loop devices and ext4 filesystems on them, for tests: made for one test, gone after it, nothing else is touched."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
COMMAND_DEADLINE_S = 20.0


def command(*arguments: str | Path) -> str:
    """Run a command of the set-up; what it printed. Raises CalledProcessError, TimeoutExpired."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=COMMAND_DEADLINE_S)
    return done.stdout.strip()


@contextlib.contextmanager
def attached(image: Path, *options: str) -> Iterator[Path]:
    """A loop device over this file."""
    device = Path(command("losetup", "--find", "--show", *options, image))
    try:
        yield device
    finally:
        # A test may have detached it, and somebody else have it by now.
        if backing_file(device) == str(image):
            command("losetup", "--detach", device)


def backing_file(device: Path) -> str:
    """The file that a loop device shows; empty if none."""
    try:
        return Path(f"/sys/class/block/{device.name}/loop/backing_file").read_text().strip()
    except OSError:
        return ""


@contextlib.contextmanager
def mounted(device: Path, point: Path) -> Iterator[Path]:
    """The device, mounted on a directory made for it."""
    point.mkdir()
    command("mount", device, point)
    try:
        yield point
    finally:
        if f" {point} " in Path("/proc/self/mountinfo").read_text():
            # Lazily: a child that hangs on the filesystem must not keep the test from ending.
            command("umount", "--lazy", point)


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`loop_device(size)`: a new device of so many bytes, all zero; `sector_size=4096` makes it 4Kn."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("needs root and loop devices")
    with contextlib.ExitStack() as made:

        def make(size: int = 64 * MIB, sector_size: int = 512) -> Path:
            image = tmp_path / f"loop-{len(list(tmp_path.glob('loop-*')))}.img"
            with image.open("wb") as file:
                file.truncate(size)
            return made.enter_context(attached(image, "--sector-size", str(sector_size)))

        yield make


@pytest.fixture
def ext4_mount(tmp_path: Path, loop_device: Callable[..., Path]) -> Iterator[Callable[..., Path]]:
    """`ext4_mount(size)`: the mount point of a new ext4 on a loop device of so many bytes."""
    with contextlib.ExitStack() as made:

        def make(size: int = 64 * MIB) -> Path:
            device = loop_device(size)
            command("mkfs.ext4", "-q", "-F", "-m", "0", device)
            return made.enter_context(mounted(device, tmp_path / f"mount-{device.name}"))

        yield make

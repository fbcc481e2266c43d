"""Devices made of others, and filesystems on them, in a virtual machine without udev. What fails ends the program."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scrub_region import SECTOR, Part


def command(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}: {done.stderr}")
    return done.stdout


def make_device(name: str, table: str) -> Path:
    command("dmsetup", "--noudevsync", "create", name, "--table", table)
    command("dmsetup", "mknodes")
    return Path("/dev/mapper", name)


@contextlib.contextmanager
def switched(name: str, table: str) -> Iterator[None]:
    """Have another table from one I/O to the next, without a word to the filesystems above. No I/O in the block."""
    command("dmsetup", "load", name, "--table", table)
    command("dmsetup", "--noudevsync", "suspend", "--nolockfs", name)
    yield
    command("dmsetup", "--noudevsync", "resume", name)


def remove_device(name: str) -> None:
    command("dmsetup", "--noudevsync", "remove", "--retry", name)


def sectors(device: Path) -> int:
    return int(command("blockdev", "--getsz", device))


@contextlib.contextmanager
def part_of(disk: Path, part: Part) -> Iterator[Path]:
    """A device for a part of the disk."""
    try:
        yield make_device(part.name, f"0 {part.length // SECTOR} linear {disk} {part.start // SECTOR}")
    finally:
        remove_device(part.name)


@contextlib.contextmanager
def mounted(device: Path) -> Iterator[Path]:
    point = Path("/run") / f"mount-{device.name}"
    point.mkdir(exist_ok=True)
    command("mount", "-t", "ext4", device, point)
    try:
        yield point
    finally:
        command("umount", point)


def make_filesystem(device: Path) -> None:
    command("mkfs.ext4", "-q", "-F", "-m", "0", device)

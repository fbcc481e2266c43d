"""What udev knows of a block device: by pyudev where that is installed, else from udev's own file on tmpfs."""

import os
from pathlib import Path
from typing import NamedTuple

from iovigil.agent.disks import sysfs

try:
    import pyudev
except ImportError:  # an extra: without it udev's file says the same
    pyudev = None

CONTROL = "/run/udev/control"
DATA = "/run/udev/data"


class Record(NamedTuple):
    """Properties of a device and the links to it; both empty where there is no udev, or it is not done with it."""

    properties: dict[str, str]
    links: tuple[str, ...]


NOTHING = Record({}, ())


def has_library() -> bool:
    return pyudev is not None


def is_running(root: str = "/") -> bool:
    return os.path.exists(sysfs.under(root, CONTROL))


def record(name: str, root: str = "/") -> Record:
    """What udev says of the device of this kernel's name."""
    if root == "/" and pyudev is not None and os.path.isdir(DATA):
        try:
            return by_library(name)
        except (ImportError, OSError, pyudev.DeviceNotFoundError):  # libudev is not there, or the device is no more
            return NOTHING
    return by_file(name, root)


def by_library(name: str) -> Record:
    # A context of its own: libudev's are not to be shared by threads.
    device = pyudev.Devices.from_name(pyudev.Context(), "block", name)
    if not device.is_initialized:
        return NOTHING
    return Record(dict(device.properties), tuple(sorted(device.device_links)))


def by_file(name: str, root: str) -> Record:
    number = sysfs.read(f"{sysfs.directory(name, root)}/dev")
    try:
        text = Path(sysfs.under(root, f"{DATA}/b{number}")).read_text("utf-8", "replace")
    except OSError:
        return NOTHING
    lines = text.splitlines()
    pairs = (line[2:].partition("=") for line in lines if line.startswith("E:"))
    return Record(
        {key: value for key, _, value in pairs},
        tuple(sorted(f"/dev/{line[2:]}" for line in lines if line.startswith("S:"))),
    )

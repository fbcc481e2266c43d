"""Which disk is behind a path, as far as /proc and /sys tell: nothing is opened on it."""

import os

from iovigil.agent.disks import mounts, sysfs


def disk_behind(path: str, root: str = "/") -> str:
    """The kernel's name of the whole disk that a device is, or that a file lies on; empty if there is no one such."""
    path = os.path.abspath(path)
    name = sysfs.name_behind(path, root) if path.startswith("/dev/") else ""
    if not name:
        name = filesystem_disk(path, root)
    return sysfs.whole_disk(name, root) if name else ""


def filesystem_disk(path: str, root: str) -> str:
    try:
        mount = mounts.behind(path, mounts.table(root))
    except (OSError, ValueError):
        return ""
    if mount is None:
        return ""
    if mount.has_device:
        return sysfs.name_of(mount.major_minor, root)
    # btrfs has a number of its own making, and names its first device.
    return sysfs.name_behind(mount.source, root) if mount.source.startswith("/dev/") else ""

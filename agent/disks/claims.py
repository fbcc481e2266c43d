"""Who else uses a block device: the reasons for which a write to it would be refused."""

import errno
import os

from iovigil.agent.disks import mounts, sysfs


def inspect(path: str, root: str = "/") -> list[str]:
    """Every reason not to write to the device behind a path; none is no permission, only no sign of anyone.

    Opens the device, and may block as long as the device does.
    """
    name = sysfs.name_behind(path, root)
    if not name:
        return [f"{path} is not a block device"]
    reasons = claims(name, root)
    parts = sysfs.partitions(name, root)
    for part in parts:
        reasons += [f"{part}: {claim}" for claim in claims(part, root)]
    if parts:
        reasons.append(f"has partitions {' '.join(parts)}")
    if sysfs.read(f"{sysfs.directory(name, root)}/ro") == "1":
        reasons.append("is set read-only")
    return reasons + exclusive_open(path, root, is_explained=bool(reasons))


def claims(name: str, root: str = "/") -> list[str]:
    """Who uses exactly this device, from /proc and /sys alone."""
    found = [f"mounted on {point}" for point in mount_points(name, root)]
    found += [f"held by {holder}" for holder in sysfs.holders(name, root)]
    if name in swaps(root):
        found.append("used as swap")
    return found


def mount_points(name: str, root: str = "/") -> list[str]:
    """Where the device is mounted, by its number or, as with btrfs, by the source that was mounted."""
    try:
        table = mounts.table(root)
    except OSError:
        return []
    number = sysfs.read(f"{sysfs.directory(name, root)}/dev")
    by_source = {
        mount.point
        for mount in table
        if not mount.has_device and mount.source.startswith("/dev/") and sysfs.name_behind(mount.source, root) == name
    }
    return sorted(by_source | set(mounts.points(number, table)))


def swaps(root: str = "/") -> set[str]:
    """Kernel names of the devices in use as swap."""
    try:
        with open(sysfs.under(root, "/proc/swaps"), encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return set()
    return {sysfs.name_behind(mounts.unescaped(line.split()[0]), root) for line in lines if line.strip()} - {""}


def exclusive_open(path: str, root: str, is_explained: bool) -> list[str]:
    """What the kernel says to a claim of our own, which is given up at once."""
    try:
        os.close(os.open(sysfs.under(root, path), os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK))
    except OSError as problem:
        if problem.errno == errno.EBUSY:
            return [] if is_explained else ["in use: the kernel refuses an exclusive open"]
        return [f"cannot be opened: {problem.strerror}"]
    return []

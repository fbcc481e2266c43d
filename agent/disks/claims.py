"""Who else uses a block device: the reasons for which a write to it would be refused."""

import errno
import os
import stat

from iovigil.agent.disks import hardware, mounts, sysfs

DEEPEST_STACK = 16
SECTOR = 512


def inspect(path: str, root: str = "/") -> list[str]:
    """Every reason not to write to the device behind a path; none is no permission, only no sign of anyone.

    Opens the device, and may block as long as the device does.
    """
    name = sysfs.name_behind(path, root)
    if not name:
        return [f"{path} is not a block device"]
    reasons = signs(name, root)
    return reasons + exclusive_open(path, root, is_explained=bool(reasons))


def signs(name: str, root: str = "/") -> list[str]:
    """Every sign of another user of the device, from /proc and /sys alone: of its partitions, of the disk that it is
    part of, of what is built on any of them, of another path to the same disk."""
    usage = Usage(root)
    reasons = [usage.unknown] if usage.unknown else []
    reasons += usage.of(name)
    parts = sysfs.partitions(name, root)
    for part in parts:
        reasons += [f"{part}: {claim}" for claim in usage.of(part)]
    if parts:
        reasons.append(f"has partitions {' '.join(parts)}")
    whole = sysfs.whole_disk(name, root)
    if whole != name:
        reasons += [f"{whole}, the whole disk: {claim}" for claim in usage.of(whole)]
        reasons += [f"overlaps with partition {other}" for other in overlapping(name, whole, root)]
    if sysfs.read(f"{sysfs.directory(name, root)}/ro") == "1":
        reasons.append("is set read-only")
    if sysfs.read(f"{sysfs.directory(whole, root)}/queue/zoned") not in ("", "none"):
        reasons.append("has zones, which cannot be written at random")
    backing = sysfs.read(f"{sysfs.directory(whole, root)}/loop/backing_file")
    if backing.startswith("/dev/"):
        reasons.append(f"is a loop device over {backing}, whose users it does not show")
    for other in hardware.twins(name, root):
        reasons.append(f"is the same disk as {other}, by its wwn or serial number")
    return reasons


def claims(name: str, root: str = "/") -> list[str]:
    """Who uses exactly this device, or what is built on it, from /proc and /sys alone."""
    return Usage(root).of(name)


class Usage:
    """What this machine uses block devices for, read once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.unknown = ""
        """Why not all of it can be told."""
        try:
            self.own = mounts.table(root)
        except (OSError, ValueError) as problem:
            self.own = []
            self.unknown = f"cannot be judged, for the mounts cannot be read: {problem}"
        self.elsewhere = mounts.elsewhere(root)
        self.swaps = swaps(root)

    def of(self, name: str, depth: int = 0) -> list[str]:
        points = points_of(name, self.own, self.root)
        found = [f"mounted on {point}" for point in points]
        for process, table in self.elsewhere:
            strange = [point for point in points_of(name, table, self.root) if point not in points]
            if strange:
                found.append(f"mounted on {strange[0]} in the mount namespace of process {process}")
        for holder in [*sysfs.holders(name, self.root), *loops_on(name, self.root)]:
            above = self.of(holder, depth + 1) if depth < DEEPEST_STACK else []
            found.append(f"held by {holder}" + (f" ({', '.join(above)})" if above else ""))
        if name in self.swaps:
            found.append("used as swap")
        return found


def mount_points(name: str, root: str = "/") -> list[str]:
    """Where the device is mounted, as this process sees it."""
    try:
        return points_of(name, mounts.table(root), root)
    except OSError:
        return []


def points_of(name: str, table: list[mounts.Mount], root: str) -> list[str]:
    """Where the device is mounted, by its number or, as with btrfs, by the source that was mounted."""
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


def loops_on(name: str, root: str = "/") -> list[str]:
    """Loop devices over the device: the kernel counts them neither as holders nor as a claim of its own."""
    return sorted(
        other
        for other in sysfs.names(root)
        if other.startswith("loop")
        and sysfs.name_behind(sysfs.read(f"{sysfs.directory(other, root)}/loop/backing_file"), root) == name
    )


def overlapping(name: str, whole: str, root: str) -> list[str]:
    """Other partitions of the disk that share blocks with this one, as a wrong table may have it."""
    first, end = extent(name, root)
    extents = {other: extent(other, root) for other in sysfs.partitions(whole, root) if other != name}
    return [other for other, (start, stop) in extents.items() if start < end and first < stop]


def extent(name: str, root: str) -> tuple[int, int]:
    start = sysfs.read(f"{sysfs.directory(name, root)}/start")
    first = int(start) * SECTOR if start.isdecimal() else 0
    return first, first + sysfs.size_bytes(name, root)


def writers(number: str, root: str = "/") -> list[str]:
    """Processes that have the device open for writing, as far as they may be looked at: a virtual machine's disk, a
    database. They need not have claimed it. Only links that name something under /dev are followed: others may hang."""
    found = []
    for process in filter(str.isdecimal, sysfs.listing(sysfs.under(root, "/proc"))):
        place = sysfs.under(root, f"/proc/{process}")
        if int(process) != os.getpid() and any(
            writes_by(place, fd, number, root) for fd in sysfs.listing(f"{place}/fd")
        ):
            found.append(f"open for writing by process {process} ({sysfs.read(f'{place}/comm') or 'unknown'})")
    return found


def writes_by(place: str, fd: str, number: str, root: str) -> bool:
    """Whether a descriptor of a process can write to the device of this number."""
    try:
        link = os.readlink(f"{place}/fd/{fd}")
        if not link.startswith("/dev/"):
            return False
        status = os.stat(f"{place}/fd/{fd}") if root == "/" else None
    except OSError:
        return False
    if status is not None:
        is_same = stat.S_ISBLK(status.st_mode) and number == f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    else:
        is_same = sysfs.name_behind(link, root) == sysfs.name_of(number, root) != ""
    return is_same and can_write(sysfs.read(f"{place}/fdinfo/{fd}"))


def can_write(fdinfo: str) -> bool:
    """What /proc/PID/fdinfo says of a descriptor; one that says nothing may."""
    flags = next((line.split()[1] for line in fdinfo.splitlines() if line.startswith("flags:")), "1")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def exclusive_open(path: str, root: str, is_explained: bool) -> list[str]:
    """What the kernel says to a claim of our own, which is given up at once."""
    try:
        os.close(os.open(sysfs.under(root, path), os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK))
    except OSError as problem:
        if problem.errno == errno.EBUSY:
            return [] if is_explained else ["in use: the kernel refuses an exclusive open"]
        return [f"cannot be opened: {problem.strerror}"]
    return []

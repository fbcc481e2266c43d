"""Which disks there are: those the configuration names, and those the machine has.

Only /proc, /sys, /run and the links under /dev are read: a watched filesystem or device may hang whoever touches it.
"""

import re
from functools import lru_cache

import msgspec

from iovigil.agent.config import DiskSettings
from iovigil.agent.disks import identity, mounts, sysfs

# systemd makes a unit of every line of /etc/fstab; unlike that file they lie on a tmpfs.
MOUNT_UNITS = "/run/systemd/generator"


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What is behind a disk at this moment."""

    name: str
    is_present: bool
    reason: str = ""
    """Why it is not present."""
    device: str = ""
    """The kernel's name of the disk or partition; empty where no single one is behind a filesystem."""
    major_minor: str = ""
    size_bytes: int = 0
    identity: dict[str, str] = msgspec.field(default_factory=identity.unknown)
    """Labels of disk_info."""


def resolve(disk: DiskSettings, root: str = "/") -> Resolved:
    """Find what a configured disk is now; never raises, an absent disk says why."""
    return resolve_device(disk, root) if disk.device else resolve_file(disk, root)


def resolve_device(disk: DiskSettings, root: str) -> Resolved:
    name = sysfs.name_behind(disk.device, root)
    if not name:
        reason = "is no block device of this machine"
        if not disk.device.startswith("/dev/"):
            reason = "is not under /dev"
        return absent(disk, f"{disk.device} {reason}")
    if not sysfs.size_bytes(name, root):
        return absent(disk, f"{disk.device} ({name}) has no medium: its size is 0")
    found = present(disk.name, name, disk.device, sysfs.size_bytes(name, root), root)
    if disk.key and disk.key not in (found.identity["wwn"], found.identity["serial"]):
        return absent(disk, f"{disk.device} ({name}) is another disk now")
    return found


def resolve_file(disk: DiskSettings, root: str) -> Resolved:
    try:
        tree = mount_tree(mounts.text_of("self", root))
    except (OSError, ValueError, IndexError) as problem:
        return absent(disk, f"the mounts cannot be read: {problem}")
    mount = tree.behind(disk.file)
    if mount is None:
        return absent(disk, f"no mount is behind {disk.file}")
    origin = mounts.origin(mount, tree.mounts).point
    if disk.mount and disk.mount not in (mount.point, origin):
        return absent(disk, f"{disk.mount} is not mounted")
    if point := missing_mount(disk.file, origin, root):
        return absent(disk, f"{point} is in /etc/fstab and not mounted")
    name = sysfs.name_of(mount.major_minor, root) if mount.has_device else ""
    if mount.has_device and not name and sysfs.names(root):
        return absent(disk, f"the device of {mount.point} ({mount.major_minor}) was removed while it was mounted")
    if not name:
        labels = identity.unknown() | {"path": disk.file}
        return Resolved(
            name=disk.name,
            is_present=True,
            major_minor=mount.major_minor,
            size_bytes=disk.size,
            identity=labels,
        )
    return present(disk.name, name, "", disk.size, root)


@lru_cache(maxsize=1)
def mount_tree(text: str) -> mounts.Tree:
    """The mounts of this table, which is the same for all the disks of a look."""
    return mounts.Tree(mounts.parse(text))


def all_disks(root: str = "/") -> tuple[Resolved, ...]:
    """Every block device of the machine, each disk before its partitions; none that only could be (loop, zram, ram)."""
    found = []
    for name in sorted(sysfs.names(root), key=lambda name: (natural(sysfs.whole_disk(name, root)), natural(name))):
        size = sysfs.size_bytes(name, root)
        if name.startswith("ram") or (size == 0 and sysfs.is_virtual(name, root)):
            continue
        found.append(present(name, name, "", size, root))
    return tuple(found)


def present(name: str, device: str, configured_path: str, size_bytes: int, root: str) -> Resolved:
    return Resolved(
        name=name,
        is_present=True,
        device=device,
        major_minor=sysfs.read(f"{sysfs.directory(device, root)}/dev"),
        size_bytes=size_bytes,
        identity=identity.read(device, root, configured_path),
    )


def absent(disk: DiskSettings, reason: str) -> Resolved:
    return Resolved(name=disk.name, is_present=False, reason=reason)


def missing_mount(path: str, mounted: str, root: str) -> str:
    """The directory above a file where something should be mounted and is not; empty if all is well.

    Without this a probe file would be created on the filesystem beneath, and that one watched under the wrong name.
    """
    units = set(sysfs.listing(sysfs.under(root, MOUNT_UNITS)))
    above = mounts.ancestors(path)[:-1]
    bare = [point for point in above if len(point) > len(mounted)]
    return next((point for point in reversed(bare) if f"{escaped(point)}.mount" in units), "")


def escaped(point: str) -> str:
    """A mount point as it stands in a unit's name."""
    if point == "/":
        return "-"
    text = point.strip("/").encode(errors="surrogateescape")
    name = "".join(
        "-" if byte == ord("/") else chr(byte) if re.match(rb"[A-Za-z0-9:_.]", bytes([byte])) else f"\\x{byte:02x}"
        for byte in text
    )
    return "\\x2e" + name[1:] if name.startswith(".") else name


def natural(name: str) -> list[tuple[int, str, int]]:
    """A key that sorts sda10 behind sda9, and sdaa behind sdz."""
    parts = re.findall(r"\D+|\d+", name)
    return [(len(part), part, 0) if not part.isdecimal() else (0, "", int(part)) for part in parts]

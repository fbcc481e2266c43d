"""Which disks there are: those the configuration names, and those the machine has.

Only /proc, /sys, /run and the links under /dev are read: a watched filesystem or device may hang whoever touches it.
"""

import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from iovigil.agent.config import DiskSettings
from iovigil.agent.disks import identity, mounts, sysfs, udev

# systemd makes a unit of every line of /etc/fstab; unlike that file they lie on a tmpfs.
MOUNT_UNITS = "/run/systemd/generator"

IDENTITY_S: Final = 60.0
TABLE_S: Final = 0.1

ReadIdentity = Callable[[str, str, str], dict[str, str]]
ReadMounts = Callable[[str, str], str]


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


def resolve(
    disk: DiskSettings,
    root: str = "/",
    *,
    read_identity: ReadIdentity = identity.read,
    read_mounts: ReadMounts = mounts.text_of,
) -> Resolved:
    """Find what a configured disk is now; never raises, an absent disk says why."""
    if disk.device:
        return resolve_device(disk, root, read_identity)
    return resolve_file(disk, root, read_identity, read_mounts)


class Known(NamedTuple):
    """What hardware a device was, and what told that it was this one."""

    sign: tuple[object, ...]
    read_s: float
    labels: dict[str, str]


class Watch:
    """Looks at the same disks again and again; for one thread at a time.

    What hardware a device is takes two dozen reads. It is the same while the kernel counts it as the same disk and udev
    has written no other record of it. Some of it is a setting: so it is read anew from time to time all the same.
    """

    def __init__(self, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._known: dict[tuple[str, str], Known] = {}
        self._mounts = ""
        self._mounts_read_s = -TABLE_S

    def resolve(self, disk: DiskSettings) -> Resolved:
        """As `resolve` above."""
        return resolve(disk, self._root, read_identity=self._identity, read_mounts=self._mounts_of)

    def _identity(self, name: str, root: str, path: str) -> dict[str, str]:
        sign, now_s = sign_of(name, root), self._clock()
        known = self._known.get((name, path))
        if known is None or not sign or known.sign != sign or now_s - known.read_s >= IDENTITY_S:
            known = self._known[name, path] = Known(sign, now_s, identity.read(name, root, path))
        return dict(known.labels)

    def _mounts_of(self, process: str, root: str) -> str:
        # Once for all the disks of a look.
        now_s = self._clock()
        if now_s - self._mounts_read_s >= TABLE_S:
            self._mounts, self._mounts_read_s = mounts.text_of(process, root), now_s
        return self._mounts


def sign_of(name: str, root: str) -> tuple[object, ...]:
    """What differs where the same name means another device, or udev says something else of it; empty if unknown."""
    # Since Linux 5.15: a number that no two disks have between two boots, nor one that gets another medium.
    sequence = sysfs.read(f"{sysfs.directory(sysfs.whole_disk(name, root), root)}/diskseq")
    if not sequence:
        return ()
    number = sysfs.read(f"{sysfs.directory(name, root)}/dev")
    try:
        record = os.stat(sysfs.under(root, f"{udev.DATA}/b{number}"))
    except OSError:
        return sequence, number, sysfs.size_bytes(name, root)
    return sequence, number, sysfs.size_bytes(name, root), record.st_ino, record.st_mtime_ns


def resolve_device(disk: DiskSettings, root: str, read_identity: ReadIdentity) -> Resolved:
    name = sysfs.name_behind(disk.device, root)
    if not name:
        reason = "is no block device of this machine"
        if not disk.device.startswith("/dev/"):
            reason = "is not under /dev"
        return absent(disk, f"{disk.device} {reason}")
    if not sysfs.size_bytes(name, root):
        return absent(disk, f"{disk.device} ({name}) has no medium: its size is 0")
    found = present(disk.name, name, disk.device, sysfs.size_bytes(name, root), root, read_identity)
    if disk.key and disk.key not in (found.identity["wwn"], found.identity["serial"]):
        return absent(disk, f"{disk.device} ({name}) is another disk now")
    return found


def resolve_file(disk: DiskSettings, root: str, read_identity: ReadIdentity, read_mounts: ReadMounts) -> Resolved:
    try:
        tree = mount_tree(read_mounts("self", root))
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
    return present(disk.name, name, "", disk.size, root, read_identity)


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


def present(
    name: str,
    device: str,
    configured_path: str,
    size_bytes: int,
    root: str,
    read_identity: ReadIdentity = identity.read,
) -> Resolved:
    return Resolved(
        name=name,
        is_present=True,
        device=device,
        major_minor=sysfs.read(f"{sysfs.directory(device, root)}/dev"),
        size_bytes=size_bytes,
        identity=read_identity(device, root, configured_path),
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

"""What a selector may choose: disks of this machine and filesystems mounted on them, with what is known of each.

Only /proc, /sys, /run and the links under /dev are read.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec

from iovigil.agent.disks import identity, inventory, mounts, sysfs, udev
from iovigil.agent.disks.mounts import Mount

LINKS: Final = ("/dev/disk/by-id", "/dev/disk/by-path")
OF_DISKS: Final = ("btrfs", "bcachefs", "zfs")
"""Filesystems on disks whose device number is of their own making."""
READ_ONLY: Final = "it is mounted read-only, for this process at least (systemd: ReadWritePaths=)"
VIRTUAL: Final = ("loop", "zram", "dm", "md", "nbd", "bcache", "drbd", "rbd")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A whole disk, or a mounted filesystem with what is known of the disk below."""

    kernel: str = ""
    """The kernel's name; empty for a filesystem that no single device is behind."""
    links: tuple[str, ...] = ()
    """Every path under /dev."""
    path: str = ""
    """The one of them that stays with the disk, as far as there is one."""
    labels: dict[str, str] = {}
    """Identity, as in disk_info."""
    mount: str = ""
    filesystem: str = ""
    source: str = ""
    """What tells the filesystem from others, however often it is mounted."""
    is_virtual: bool = False
    """Whether it is taken only where it is asked for by its kind."""
    unusable: str = ""
    """Why no selector can take it."""

    @property
    def title(self) -> str:
        return self.mount or self.kernel

    @property
    def key(self) -> str:
        """What tells a device from any other; empty where only its path does, as with a filesystem."""
        return "" if self.mount else identity.key_of(self.labels)

    @property
    def name_holder(self) -> str:
        """What a name that was given to it belongs to."""
        return self.mount or self.key or self.path

    def facts(self, name: str) -> tuple[str, ...]:
        """The values that a pattern for this fact may match."""
        if name in ("by_id", "by_path"):
            place = f"/dev/disk/{name.replace('_', '-')}/"
            return tuple(link.removeprefix(place) for link in self.links if link.startswith(place))
        if name == "path":
            return self.links
        if name == "wwn":
            wwn = self.labels.get("wwn", "")
            return (wwn, wwn.removeprefix("0x")) if wwn else ()
        value = getattr(self, name) if name in ("kernel", "mount", "filesystem") else self.labels.get(name, "")
        return (value,) if value else ()


def all_candidates(root: str = "/") -> list[Candidate]:
    """Every disk, then every mounted filesystem. Raises OSError, ValueError where mounts cannot be read."""
    links = links_by_name(root)
    table = mounts.table(root)
    return [*disks(root, links), *filesystems(root, links, table)]


def disks(root: str, links: dict[str, list[str]]) -> Iterator[Candidate]:
    names = [name for name in sysfs.names(root) if sysfs.whole_disk(name, root) == name and not name.startswith("ram")]
    for name in sorted(names, key=inventory.natural):
        size = sysfs.size_bytes(name, root)
        is_virtual = identity.transport(name, root) in VIRTUAL and not is_multipath(name, root)
        if is_virtual and not size:
            continue  # a loop device that only could be
        yield device(name, root, links, is_virtual=is_virtual, unusable=why_not(name, size, root))


def device(name: str, root: str, links: dict[str, list[str]], *, is_virtual: bool, unusable: str) -> Candidate:
    node = f"/dev/{name.replace('!', '/')}"
    there = links.get(name, [])
    known = {node, *there, *udev.record(name, root).links}
    return Candidate(
        kernel=name,
        links=tuple(sorted(known)),
        path=identity.best_link(sorted(there)) or node,
        labels=identity.read(name, root),
        is_virtual=is_virtual,
        unusable=unusable,
    )


def why_not(name: str, size: int, root: str) -> str:
    if not size:
        return "it has no medium: its size is 0"
    if sysfs.read(f"{sysfs.directory(name, root)}/hidden") == "1":
        return "it is a path to another disk"
    if not os.path.lexists(sysfs.under(root, f"/dev/{name.replace('!', '/')}")):
        return "it has no node under /dev: a container sees only those that it was given"
    for holder in sysfs.holders(name, root):
        if is_multipath(holder, root):
            return f"it is a path to {holder}"
    if udev.is_running(root) and not udev.record(name, root).properties:
        return "udev is not done with it"
    return ""


def is_multipath(name: str, root: str) -> bool:
    return sysfs.read(f"{sysfs.directory(name, root)}/dm/uuid").startswith("mpath-")


def filesystems(root: str, links: dict[str, list[str]], table: list[Mount]) -> Iterator[Candidate]:
    """What is seen at each mount point, first where the whole of a filesystem is to be seen."""
    tree = mounts.Tree(table)
    visible = [mount for mount in table if tree.behind(mount.point) is mount]
    for mount in sorted(visible, key=lambda mount: (mount.subtree != "/", mount.point)):
        yield filesystem(mount, root, links)


def filesystem(mount: Mount, root: str, links: dict[str, list[str]]) -> Candidate:
    name = sysfs.name_of(mount.major_minor, root) if mount.has_device else ""
    if not name and mount.source.startswith("/dev/"):
        name = sysfs.name_behind(mount.source, root)
    is_own_number = mount.filesystem in OF_DISKS
    below = device(sysfs.whole_disk(name, root), root, links, is_virtual=False, unusable="") if name else Candidate()
    return msgspec.structs.replace(
        below,
        mount=mount.point,
        filesystem=mount.filesystem,
        # btrfs gives each subvolume a number of its own, and they share their space and disks.
        source=mount.source if is_own_number else mount.major_minor,
        is_virtual=not mount.has_device and not is_own_number,
        unusable="it is mounted read-only, for this process at least (systemd: ReadWritePaths=)"
        if mount.is_read_only
        else "",
    )


def links_by_name(root: str) -> dict[str, list[str]]:
    """The lasting links under /dev, by the kernel's name of what they lead to."""
    found = defaultdict(list)
    for directory in LINKS:
        for entry in sysfs.listing(sysfs.under(root, directory)):
            link = os.path.join(directory, entry)
            if name := sysfs.name_behind(link, root):
                found[name].append(link)
    return found

"""What is mounted where, from /proc/*/mountinfo alone: no mounted filesystem is asked, none can block."""

import os

from iovigil.agent.disks import sysfs


class Mount:
    """One line of mountinfo."""

    __slots__ = ("filesystem", "id", "is_read_only", "major_minor", "parent_id", "point", "source", "subtree")

    def __init__(self, line: str) -> None:
        fields = line.split(" ")
        separator = fields.index("-", 6)
        self.id = fields[0]
        self.parent_id = fields[1]
        self.major_minor = fields[2]
        self.subtree = unescaped(fields[3])
        self.point = unescaped(fields[4])
        self.filesystem = fields[separator + 1]
        self.source = unescaped(fields[separator + 2])
        options = (fields[5], *fields[separator + 3 : separator + 4])  # of the mount, and of the filesystem
        self.is_read_only = any("ro" in text.split(",") for text in options)

    @property
    def has_device(self) -> bool:
        """Whether one block device is behind it; btrfs, overlay, tmpfs and NFS have a number of their own making."""
        return not self.major_minor.startswith("0:")


def table(root: str = "/") -> list[Mount]:
    """Every mount of this namespace. Raises OSError."""
    return of_process("self", root)


def elsewhere(root: str = "/") -> list[tuple[str, list[Mount]]]:
    """The mounts of every other mount namespace that may be looked into, each with a process that is in it."""
    seen = {namespace("self", root)}
    found = []
    for process in sorted(filter(str.isdecimal, sysfs.listing(sysfs.under(root, "/proc"))), key=int):
        where = namespace(process, root)
        if not where or where in seen:
            continue
        try:
            mounts = of_process(process, root)
        except (OSError, ValueError):  # it has ended meanwhile: another process may be in the same namespace
            continue
        seen.add(where)
        found.append((process, mounts))
    return found


def namespace(process: str, root: str = "/") -> str:
    """What names a process's mount namespace; empty where it may not be known."""
    try:
        return os.readlink(sysfs.under(root, f"/proc/{process}/ns/mnt"))
    except OSError:
        return ""


def of_process(process: str, root: str = "/") -> list[Mount]:
    """Every mount that a process sees. Raises OSError, ValueError."""
    return parse(text_of(process, root))


def text_of(process: str, root: str = "/") -> str:
    """The table of a process's mounts. Raises OSError."""
    with open(sysfs.under(root, f"/proc/{process}/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def parse(text: str) -> list[Mount]:
    """The mounts in such a table. Raises ValueError."""
    return [Mount(line) for line in text.split("\n") if line]


class Tree:
    """Mounts, each below the one that it was mounted on."""

    def __init__(self, mounts: list[Mount]) -> None:
        self.mounts = mounts
        ids = {mount.id for mount in mounts}
        self.below = {(mount.parent_id, mount.point): mount for mount in mounts}
        self.tops = [mount for mount in mounts if mount.point == "/" and (mount.parent_id not in ids)]

    def behind(self, path: str) -> Mount | None:
        """The mount that a file of this path would be on, taken literally: links in the path are not followed.

        Goes down from the root mount by mount, as the kernel does, since a later mount may hide what lies below its
        point.
        """
        if not self.tops:
            return None
        current = self.tops[-1]
        for point in ancestors(path):
            seen = {current.id}
            while (upper := self.below.get((current.id, point))) is not None and upper.id not in seen:
                seen.add(upper.id)
                current = upper
        return current


def behind(path: str, mounts: list[Mount]) -> Mount | None:
    """The mount that a file of this path would be on."""
    return Tree(mounts).behind(path)


def origin(mount: Mount, mounts: list[Mount]) -> Mount:
    """The mount that this one only repeats: ReadWritePaths= of a unit binds a directory onto itself."""
    by_id = {each.id: each for each in mounts}
    parent = by_id.get(mount.parent_id)
    while parent is not None and parent.major_minor == mount.major_minor:
        place = os.path.join(parent.subtree, os.path.relpath(mount.point, parent.point))
        if os.path.normpath(place) != mount.subtree:
            break
        mount, parent = parent, by_id.get(parent.parent_id)
    return mount


def ancestors(path: str) -> list[str]:
    """Every directory from / down to the path itself."""
    parts = [part for part in os.path.normpath(path).split("/") if part]
    return ["/"] + ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def points(major_minor: str, mounts: list[Mount]) -> list[str]:
    """Where the device with these numbers is mounted."""
    return sorted({mount.point for mount in mounts if mount.major_minor == major_minor})


def unescaped(field: str) -> str:
    """The text of a field in which the kernel wrote blanks and backslashes as octal numbers."""
    if "\\" not in field:
        return field
    first, *rest = field.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)

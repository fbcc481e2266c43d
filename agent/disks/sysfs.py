"""Block devices as /sys/class/block and the links under /dev show them; no device is opened."""

import os
import stat

LONGEST_CHAIN = 40
ATTRIBUTE_BYTES = 4096


def under(root: str, path: str) -> str:
    """An absolute path as it lies in the tree that stands for the machine."""
    return os.path.join(root, path.lstrip("/"))


def read(path: str) -> str:
    """The text of an attribute; empty where there is none, or the driver does not say."""
    return read_bytes(path).decode(errors="replace").strip("\0 \t\n")


def read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(ATTRIBUTE_BYTES)
    except OSError:
        return b""


def follow(path: str, root: str = "/") -> str:
    """Where a chain of links under /dev ends; empty if it leaves /dev, where looking could block."""
    for _ in range(LONGEST_CHAIN):
        if not path.startswith("/dev/"):
            return ""
        try:
            link = os.readlink(under(root, path))
        except OSError:
            return path
        path = os.path.normpath(os.path.join(os.path.dirname(path), link))
    return ""


def name_behind(path: str, root: str = "/") -> str:
    """The kernel's name of the block device behind a path under /dev; empty if there is none."""
    node = follow(path, root)
    try:
        status = os.lstat(under(root, node)) if node else None
    except OSError:
        status = None
    if status is None:
        return ""
    if stat.S_ISBLK(status.st_mode):
        return name_of(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}", root)
    name = node.removeprefix("/dev/").replace("/", "!")  # as in cciss!c0d0
    return name if os.path.isdir(directory(name, root)) else ""


def name_of(major_minor: str, root: str = "/") -> str:
    """The kernel's name of the block device with these numbers; empty if there is none."""
    try:
        return os.path.basename(os.readlink(under(root, f"/sys/dev/block/{major_minor}")))
    except OSError:
        return ""


def names(root: str = "/") -> list[str]:
    try:
        return os.listdir(under(root, "/sys/class/block"))
    except OSError:
        return []


def directory(name: str, root: str = "/") -> str:
    return under(root, f"/sys/class/block/{name}")


def whole_disk(name: str, root: str = "/") -> str:
    """The disk that a partition is part of; any other device is its own."""
    path = directory(name, root)
    if not os.path.exists(f"{path}/partition"):
        return name
    return os.path.basename(os.path.dirname(os.path.realpath(path)))


def partitions(name: str, root: str = "/") -> list[str]:
    path = directory(name, root)
    return sorted(entry for entry in listing(path) if os.path.exists(f"{path}/{entry}/partition"))


def holders(name: str, root: str = "/") -> list[str]:
    """Devices that are built on this one: dm, md, bcache."""
    return sorted(listing(f"{directory(name, root)}/holders"))


def slaves(name: str, root: str = "/") -> list[str]:
    """Devices that this one is built on."""
    return sorted(listing(f"{directory(name, root)}/slaves"))


def is_virtual(name: str, root: str = "/") -> bool:
    return "/devices/virtual/" in os.path.realpath(directory(name, root))


def size_bytes(name: str, root: str = "/") -> int:
    sectors = read(f"{directory(name, root)}/size")
    return int(sectors) * 512 if sectors.isdecimal() else 0


def listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []

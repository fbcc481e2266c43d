"""A control group (version 2) of its own for a child.

The child makes the group and moves into it; at the end it moves back and removes it, where it or a job beside it
made it. A group that iovigil made carries a mark, so that what a killed child leaves can be told from what an
administrator made: the agent calls `discard`, and else the next job of that group removes it.
"""

import errno
import os

from iovigil.engines.setup_error import SetupError

MARK = "user.iovigil"
DELEGATED = ("user.delegate", "trusted.delegate")  # systemd's marks on a group that is its service's to divide
BFQ_MOST = 1000


class Membership:
    """This process in a group that it entered."""

    def __init__(self, path: str, origin: str, keep: bool) -> None:
        self.path = path
        self._origin = origin
        self._keep = keep

    def leave(self) -> str:
        """Go back and remove the group, if it is ours and empty; what kept us from it, for people."""
        if self._keep:
            return ""
        try:
            write(f"{self._origin}/cgroup.procs", "0")
        except OSError as problem:
            return f"cgroup: {self.path} stays: this process cannot leave it: {problem.strerror}"
        return remove(self.path)


def enter(name: str, weight: int, keep: bool, root: str = "/") -> Membership:
    """Move this process into a group of this name below its own, with this io.weight (0: as it is).

    Raises SetupError.
    """
    own, base = find(name, weight > 0, root)
    path = f"{base}/{name}"
    try:
        make(path)
        if weight:
            set_weight(path, weight)
        write(f"{path}/cgroup.procs", "0")
    except OSError as problem:
        remove(path)
        hint = "; systemd gives a service its own groups with Delegate=yes" if problem.errno == errno.EACCES else ""
        raise SetupError(f"cgroup: {problem.filename}: {problem.strerror}{hint}") from None
    except SetupError:
        remove(path)
        raise
    return Membership(path, own, keep)


def discard(name: str, root: str = "/") -> str:
    """Remove the group that a killed child left behind; what kept us from it, for people.

    For the agent: after it has reaped the last child of the group.
    """
    try:
        own, base = find(name, False, root)
    except SetupError:
        return ""
    # A child with a weight may have gone beside its own group instead of below it.
    return remove(f"{base}/{name}") or remove(f"{os.path.dirname(own)}/{name}")


def find(name: str, has_weight: bool, root: str) -> tuple[str, str]:
    """The directory of this process's group, and the one to make a group of this name in. Raises SetupError."""
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise SetupError(f"cgroup: {name!r} is no name of a group below our own, such as disks/slow")
    mount = mount_point(root)
    own = os.path.normpath(mount + own_group(root))
    if not has_weight:
        return own, own
    if "io" not in words(f"{mount}/cgroup.controllers"):
        raise SetupError("cgroup_weight: the io controller is not in version 2's hierarchy here; version 1 may hold it")
    # A group with processes in it cannot share out a controller, unless it is the root of all: then it is for the
    # group above, where that was given to us.
    for base in (own, os.path.dirname(own)):
        if (base == own or is_delegated(base)) and shares_io(base):
            return own, base
    raise SetupError(
        f"cgroup_weight: {own} cannot share out the io controller; "
        f"a service can with Delegate=io and DelegateSubgroup=main"
    )


def mount_point(root: str) -> str:
    """Where version 2 is mounted. Raises SetupError."""
    with open(os.path.join(root, "proc/self/mountinfo")) as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                return os.path.join(root, before.split(" ")[4].lstrip("/"))
    raise SetupError("cgroup: this host has no control groups of version 2 mounted")


def own_group(root: str) -> str:
    with open(os.path.join(root, "proc/self/cgroup")) as groups:
        for line in groups:
            if line.startswith("0::"):
                return line[3:].rstrip("\n")
    raise SetupError("cgroup: this process is in no control group of version 2")


def is_delegated(path: str) -> bool:
    for mark in DELEGATED:
        try:
            if os.getxattr(path, mark) == b"1":
                return True
        except OSError:
            continue
    return False


def shares_io(path: str) -> bool:
    """Whether groups below this one have the io controller, after we asked for it."""
    if "io" not in words(f"{path}/cgroup.subtree_control"):
        try:
            write(f"{path}/cgroup.subtree_control", "+io")
        except OSError:
            return False
    return True


def make(path: str) -> None:
    """Make a group and those above it that are missing; each of them is marked as ours."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        make(os.path.dirname(path))
        os.mkdir(path, 0o755)
    try:
        os.setxattr(path, MARK, b"run")
    except OSError:
        return  # before Linux 5.7 no group can carry a mark: then it stays


def set_weight(path: str, weight: int) -> None:
    try:
        write(f"{path}/io.weight", f"default {weight}")
    except FileNotFoundError:
        if weight > BFQ_MOST:
            raise SetupError(f"cgroup_weight: this kernel has bfq's weights, up to {BFQ_MOST}, not {weight}") from None
        write(f"{path}/io.bfq.weight", f"default {weight}")


def remove(path: str) -> str:
    """Remove a group of our making, unless it is in use; what kept us from it, for people."""
    try:
        if os.getxattr(path, MARK) != b"run":
            return ""
        os.rmdir(path)
    except OSError as problem:
        # In use by a job beside this one, which then removes it; or not ours; or gone.
        if problem.errno in (errno.EBUSY, errno.ENODATA, errno.ENOENT, errno.ENOTSUP):
            return ""
        return f"cgroup: {path} stays: {problem.strerror}"
    return remove(os.path.dirname(path))


def words(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as problem:
        problem.filename = path
        raise
    finally:
        os.close(fd)

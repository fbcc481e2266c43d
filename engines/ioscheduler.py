"""The I/O scheduler of a job's disks: switched for the job, and put back when nobody needs it any more.

Jobs that share a disk each hold a shared lock on its `queue/scheduler`. The name of the scheduler that was there
before them stands in an attribute of that file: who goes last puts it back, and after a kill the next job does.
"""

import errno
import fcntl
import os
import stat

from iovigil.engines.setup_error import SetupError

BEFORE = "trusted.iovigil.scheduler"


class Switched:
    """One disk whose scheduler this job relies on."""

    def __init__(self, disk: str, fd: int) -> None:
        self.disk = disk
        self._fd = fd

    def restore(self) -> str:
        """Put the old scheduler back if no other job needs the new one; what kept us from it, for people."""
        before = "the old one"
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = os.getxattr(self._fd, BEFORE).decode()
            select(self._fd, before)
            os.removexattr(self._fd, BEFORE)
        except OSError as problem:
            # Another job is still at work on the disk; or the disk had this scheduler before us.
            if problem.errno in (errno.EWOULDBLOCK, errno.ENODATA, errno.ENOTSUP):
                return ""
            return f"ioscheduler: {self.disk} could not be set back to {before}: {problem.strerror}"
        finally:
            os.close(self._fd)
        return ""


def switch(name: str, fds: list[int], root: str = "/") -> tuple[list[Switched], list[str]]:
    """Select this scheduler on the disks behind the descriptors; what is to be restored, and notes for people.

    Raises SetupError.
    """
    switched: list[Switched] = []
    notes: list[str] = []
    queues: dict[str, str] = {}
    for fd in fds:
        disk, queue = queue_behind(fd, root)
        if queue:
            queues[disk] = queue
        else:
            notes.append("ioscheduler: no single disk is behind the target: nothing was switched")
    try:
        for disk, queue in queues.items():
            try:
                switched.append(switch_disk(name, disk, f"{queue}/scheduler"))
            except FileNotFoundError:
                notes.append(f"ioscheduler: {disk} has no I/O scheduler: nothing was switched")
    except SetupError:
        for each in switched:
            each.restore()
        raise
    return switched, notes


def switch_disk(name: str, disk: str, path: str) -> Switched:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise SetupError(f"ioscheduler: {disk} cannot be switched: {problem.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        before = selected(fd)
        if before != name:
            # Written first: a job that is killed in between has done no harm.
            remember(fd, before)
            select(fd, name)
        if selected(fd) != name:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    except OSError as problem:
        offered = read(fd)
        Switched(disk, fd).restore()
        raise SetupError(f"ioscheduler: {disk} does not take {name} ({problem.strerror}): it has {offered}") from None
    return Switched(disk, fd)


def queue_behind(fd: int, root: str) -> tuple[str, str]:
    """The name of the whole disk behind a descriptor, and its queue directory; empty where there is no one disk."""
    status = os.fstat(fd)
    number = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    device = os.path.join(root, f"sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not os.path.exists(device):
        return "", ""
    device = os.path.realpath(device)
    if os.path.exists(f"{device}/partition"):
        device = os.path.dirname(device)
    return os.path.basename(device), f"{device}/queue"


def remember(fd: int, before: str) -> None:
    try:
        os.setxattr(fd, BEFORE, before.encode(), os.XATTR_CREATE)
    except FileExistsError:
        return  # what was there before the first of us


def select(fd: int, name: str) -> None:
    os.pwrite(fd, name.encode(), 0)


def selected(fd: int) -> str:
    """The name in brackets of `none [mq-deadline] kyber`."""
    return read(fd).partition("[")[2].partition("]")[0]


def read(fd: int) -> str:
    return os.pread(fd, 4096, 0).decode().strip()

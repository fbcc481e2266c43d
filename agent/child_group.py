"""The child's half of its control group: into it first, its limits then.

What fails here fails no run: the limits are a second fence around a job that has its own rates.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Mapping

from iovigil.agent.disks import sysfs
from iovigil.agent.disks.behind import disk_behind
from iovigil.engines import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ATTEMPTS = 3
LOOKS = 10
LOOK_S = 0.01
REMOVED = (errno.ENOENT, errno.ENODEV)


def enter(path: str, files: Mapping[str, str]) -> Iterable[str]:
    """Make the group, move this process into it and write its limits; what could not be, for people.

    In this order: to remove a group of which a file is being written waits with the lock of all groups held. One with a
    process in it is not removed.
    """
    try:
        join(path)
    except OSError as problem:
        return [f"cgroup: {path}: {problem.strerror}: this run is without limits"]
    return [text for name, value in files.items() if (text := put(path, name, value))]


def join(path: str) -> None:
    """Raises OSError. The agent may be about to remove what the run before has left."""
    for left in reversed(range(ATTEMPTS)):
        try:
            cgroup.make(path)
            cgroup.write(f"{path}/cgroup.procs", "0")
        except OSError as problem:
            if problem.errno not in REMOVED or not left:
                raise
        else:
            return


def limit_io(path: str, limits: str, targets: Iterable[str], root: str = "/") -> Iterable[str]:
    """Hold this process to so many I/Os and bytes on the disks behind its targets; what could not be, for people.

    The first limit on a disk has the kernel wait until nothing is in flight there, and everybody else's I/O waits as
    long (blk_throtl_init freezes the queue, since Linux 6.10): this is for the child alone, and not for a disk that
    stands still.
    """
    said = []
    for name in dict.fromkeys(name for target in targets if (name := disk_behind(target, root))):
        number = sysfs.read(f"{sysfs.directory(name, root)}/dev")
        if number and is_stalled(name, root):
            said.append(f"cgroup: no io.max, for {name} has I/O in flight and ends none: others would wait for it too")
        elif number and (text := put(path, "io.max", f"{number} {limits}")):
            said.append(text)
    return said


def is_stalled(disk: str, root: str = "/") -> bool:
    """Whether a disk has I/O in flight of which nothing ends, for as long as we look."""
    begun = completed(disk, root)
    for _ in range(LOOKS):
        if not in_flight(disk, root) or completed(disk, root) != begun:
            return False
        time.sleep(LOOK_S)
    return True


def in_flight(disk: str, root: str) -> bool:
    return any(number != "0" for number in sysfs.read(f"{sysfs.directory(disk, root)}/inflight").split())


def completed(disk: str, root: str) -> list[str]:
    """The numbers of reads, writes and discards that have ended: Documentation/block/stat.rst."""
    return sysfs.read(f"{sysfs.directory(disk, root)}/stat").split()[0:9:4]


def put(path: str, name: str, value: str) -> str:
    try:
        cgroup.write(f"{path}/{name}", value)
    except OSError as problem:
        return f"cgroup: {name} cannot be {value}: {problem.strerror}"
    return ""

"""Whether the scheduler of a disk goes by I/O priorities: most do not."""

from __future__ import annotations

from collections.abc import Iterable

from iovigil.agent.disks import identity, sysfs
from iovigil.engines.options import JobOptions

CLASSES = {1: "realtime", 2: "best effort", 3: "idle"}
BEST_EFFORT = 2
USUAL = (BEST_EFFORT, 4)  # of a process that nobody has made nicer


def schedulers(device: str, root: str = "/") -> tuple[str, ...]:
    """The schedulers below a device, its own first: that of dm and md is of no use, those of their disks may be."""
    found: dict[str, None] = {}
    waiting, seen = [sysfs.whole_disk(device, root)], set()
    while waiting:
        disk = waiting.pop(0)
        if disk in seen:
            continue
        seen.add(disk)
        below = sysfs.slaves(disk, root)
        if not below:
            found[identity.scheduler(disk, root) or "none"] = None
        waiting += [sysfs.whole_disk(slave, root) for slave in below]
    return tuple(found)


def verdict(scheduler: str, prioclass: int, prio: int) -> str:
    """What a scheduler makes of a priority; "" where it is that of everybody."""
    prioclass = prioclass or BEST_EFFORT
    if (prioclass, prio) == USUAL:
        return ""
    wanted = f"{CLASSES[prioclass]}{f' {prio}' if prioclass != 3 else ''}"
    if scheduler == "bfq":
        return f"bfq honours {wanted}"
    if scheduler == "mq-deadline":
        if prioclass == BEST_EFFORT:
            return f"mq-deadline knows classes, not levels: {wanted} is as everybody else"
        return f"mq-deadline honours the class of {wanted}"
    return f"{scheduler} does not go by priorities: {wanted} changes nothing"


def verdicts(device: str, jobs: Iterable[JobOptions], root: str = "/") -> list[str]:
    """What the schedulers of a device make of the priorities of these jobs, each said once."""
    wanted = dict.fromkeys((job.prioclass, job.prio) for job in jobs if job.prioclass or job.prio)
    found = (verdict(name, *each) for name in schedulers(device, root) for each in wanted)
    return list(dict.fromkeys(text for text in found if text))

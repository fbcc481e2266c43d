"""A control group for each child below the service's own: limits, and a kill that reaches all that is in it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from iovigil.agent import aside
from iovigil.agent.config import Config, LimitSettings
from iovigil.agent.load import READ, WRITE, Rates
from iovigil.engines import cgroup
from iovigil.engines.options import JobOptions
from iovigil.engines.setup_error import SetupError

log = logging.getLogger(__name__)

DEADLINE_S: Final = 2.0
CONTROLLERS: Final = ("io", "memory", "pids")
OWN_GROUP: Final = "main"
PREFIX: Final = "job-"
SEPARATOR: Final = "+"
"""No name of a disk or a probe has it: no two pairs make the same name."""

# A rate of its own should keep a job away from these: they are for one that has gone wrong.
HEADROOM: Final = 4
LEAST_IOPS: Final = 100
LEAST_BYTES_PER_S: Final = 4 << 20
SHORTEST_SPLIT: Final = 64 << 10
"""The kernel counts the parts that it splits an I/O into; few disks take less at once."""
THREADS: Final = 64
IO_WORKERS_PER_CPU: Final = 4
"""What io_uring has for I/O that would block."""


class Delegated(NamedTuple):
    """A group that is ours to divide."""

    path: str
    controllers: frozenset[str]


class Cgroups:
    """The groups of an agent's children. Until `settle` has found where to make them, and where it cannot, there are
    none: orders have no group, nothing is removed."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._base = Delegated("", frozenset())
        self._limits: Mapping[tuple[str, str], LimitSettings] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def controllers(self) -> frozenset[str]:
        """What each child can be held to."""
        return self._base.controllers

    async def settle(self) -> None:
        """Find the group to divide, leave it for one below, and remove what a killed agent has left; say what is
        lacking. Raises nothing."""
        try:
            self._base = await aside.call(lambda: settle(self._root), DEADLINE_S)
        except (SetupError, OSError, TimeoutError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem) or f"no answer within {DEADLINE_S:g} s"
            self._say("no control group for each child: %s", reason)
            return
        if missing := [name for name in CONTROLLERS if name not in self._base.controllers]:
            self._say("control groups of children lack the controllers %s", ", ".join(missing))

    def _say(self, text: str, *values: object) -> None:
        # Who has set limits should know that they are not kept; for the others it is one fence less.
        is_wanted = any(limits != LimitSettings() for limits in self._limits.values())
        log.log(logging.WARNING if is_wanted else logging.INFO, f"{text}: limits of that kind are not kept", *values)

    def adopt(self, config: Config) -> None:
        """Go by the limits of this configuration, from the next runs on."""
        self._limits = {
            (each.disk.name, each.probe.name): config.limits_of(each.probe) for each in config.assignments()
        }

    def order(self, disk: str, probe: str, options: JobOptions, memory_bytes: int) -> dict[str, Any] | None:
        """What a child is told of its group; `memory_bytes` is what its job may need. None where there are none."""
        if not self._base.path:
            return None
        limits = self._limits.get((disk, probe), LimitSettings())
        files = {
            "memory": ("memory.max", limits.memory or memory_bytes),
            "pids": ("pids.max", limits.pids or threads(options)),
        }
        return {
            "path": self._path(disk, probe),
            "files": {file: str(most) for name, (file, most) in files.items() if name in self.controllers},
            "io": io_max(options, limits) if "io" in self.controllers else "",
        }

    async def kill(self, disk: str, probe: str) -> bool:
        """Have the kernel kill all that is in the group of this run; whether it took the word."""
        if not self._base.path:
            return False
        path = self._path(disk, probe)
        with contextlib.suppress(OSError, TimeoutError):
            await aside.call(lambda: cgroup.write(f"{path}/cgroup.kill", "1"), DEADLINE_S)
            return True
        return False

    def discard(self, disk: str, probe: str) -> None:
        """Remove the group of a run whose child has gone, beside the caller."""
        if not self._base.path:
            return
        path = self._path(disk, probe)
        self._begin(lambda: remove(path))

    def _begin(self, act: Callable[[], None]) -> None:
        async def do() -> None:
            with contextlib.suppress(OSError, TimeoutError):
                await aside.call(act, DEADLINE_S)

        task = asyncio.get_running_loop().create_task(do(), name="cgroup")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _path(self, disk: str, probe: str) -> str:
        return f"{self._base.path}/{PREFIX}{disk}{SEPARATOR}{probe}"


def settle(root: str = "/") -> Delegated:
    """The group to make others in, with this process in one below it. Raises SetupError, OSError."""
    mount = cgroup.mount_point(root)
    own = os.path.normpath(mount + cgroup.own_group(root))
    base = delegated(own)
    if base == own:
        # A group with processes in it cannot hand controllers down.
        with contextlib.suppress(FileExistsError):
            Path(own, OWN_GROUP).mkdir(mode=0o755)
        cgroup.write(f"{own}/{OWN_GROUP}/cgroup.procs", "0")
    for name in CONTROLLERS:
        if name in cgroup.words(f"{base}/cgroup.controllers"):
            with contextlib.suppress(OSError):
                cgroup.write(f"{base}/cgroup.subtree_control", f"+{name}")
    for left in Path(base).glob(f"{PREFIX}*"):
        remove(str(left))
    return Delegated(base, frozenset(CONTROLLERS) & {*cgroup.words(f"{base}/cgroup.subtree_control")})


def delegated(own: str) -> str:
    """Our own group or the one above it, whichever was given to us. Raises SetupError."""
    for base in (own, str(Path(own).parent)):
        if cgroup.is_delegated(base) or is_owned(base):
            return base
    raise SetupError(f"{own} is not ours to divide; systemd gives a service its group with Delegate=yes")


def is_owned(path: str) -> bool:
    """Whether a group belongs to this user, and this user is not root: root owns them all."""
    try:
        return 0 != Path(path).stat().st_uid == os.geteuid()
    except OSError:
        return False


def remove(path: str) -> None:
    """Remove a group unless there is somebody in it. Raises OSError."""
    try:
        Path(path).rmdir()
    except OSError as problem:
        # A child that does not end on SIGKILL keeps its group, the next run of its probe takes it over.
        if problem.errno not in (errno.EBUSY, errno.ENOENT):
            raise


def threads(options: JobOptions) -> int:
    return THREADS + options.verify_async + IO_WORKERS_PER_CPU * (os.cpu_count() or 1)


def io_max(options: JobOptions, limits: LimitSettings) -> str:
    """The limits on I/O as the kernel takes them; "" where there are none. Not given, they follow from the rates."""
    rates = Rates(options, LimitSettings())
    most = {}
    for way, prefix in ((READ, "r"), (WRITE, "w")):
        parts = -(-options.lengths[way][1] // SHORTEST_SPLIT)
        # A discard counts as a write.
        is_bounded = way == READ or not options.does_trim
        most[f"{prefix}iops"] = getattr(limits, f"{prefix}iops") or (
            with_headroom(rates.iops(way) * parts, LEAST_IOPS) if is_bounded else 0
        )
        most[f"{prefix}bps"] = getattr(limits, f"{prefix}bps") or (
            with_headroom(rates.bytes_per_s(way), LEAST_BYTES_PER_S) if is_bounded else 0
        )
    return " ".join(f"{name}={value}" for name, value in most.items() if value)


def with_headroom(rate: float, least: int) -> int:
    """A bound that a job with this rate does not meet; 0 where it has none."""
    return 0 if math.isinf(rate) else max(HEADROOM * math.ceil(rate), least)

"""The faults of a disk that the agent has to tell of: how each is made, what is seen of it and how soon, and after it.

The faults are made in fault_benches.py and, those that take a kernel of their own, in faults_in_the_machine.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from fault_signs import Sign, above, below, equals, grows, succeeds

EVERY_S: Final = 5
"""The interval of the probes on disks that go wrong."""
RUNTIME_MS: Final = 500
SOON_S: Final = 20.0
"""Something that the next run finds: an interval, a run and the start of a child on a machine that is busy."""
FLAG_S: Final = 90.0
"""A disk that hangs is flagged."""
MACHINE_S: Final = 120.0
"""The same where an interval is 35 s, and a child takes seconds to start."""
BACK_S: Final = 90.0
"""A disk that was left alone is tried again: a minute, and the run."""

BACK_THERE_S: Final = 200.0
"""The same after two minutes: it may have been tried once while another engine's disk was waited for."""

Place = Literal["here", "machine"]
"""This kernel, or that of a virtual machine."""
Load = Literal["reads", "writes", "long"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fault:
    """One fault, and what is to be seen of it."""

    key: str
    name: str
    made: str
    """How, in words."""
    engines: tuple[str, ...]
    signs: tuple[Sign, ...]
    clears: tuple[Sign, ...]
    alert: str
    place: Place = "here"
    load: Load = "reads"
    needs: tuple[str, ...] = ()
    """Marks of conftest."""


class Case(NamedTuple):
    """One fault under one I/O engine: a disk of the agent's."""

    fault: Fault
    engine: str

    @property
    def disk(self) -> str:
        return f"{self.fault.key}-{self.engine}"


HANGS: Final = (
    above("oldest_inflight_io_seconds", 5, 20.0),
    equals("disk_stuck", 1, FLAG_S),
)
HANGS_THERE: Final = (above("oldest_inflight_io_seconds", 5, MACHINE_S), equals("disk_stuck", 1, FLAG_S))
FREE_THERE: Final = (equals("disk_stuck", 0, BACK_THERE_S), succeeds(BACK_THERE_S))
FREE: Final = (
    equals("disk_stuck", 0, BACK_S),
    below("oldest_inflight_io_seconds", 1, BACK_S),
    succeeds(BACK_S),
)


def slow(within_s: float = SOON_S) -> tuple[Sign, ...]:
    return (above("last_run_latency_seconds", 0.1, within_s, q="0.5"),)


def quick(within_s: float = SOON_S) -> tuple[Sign, ...]:
    return (below("last_run_latency_seconds", 0.1, within_s, q="0.5"), succeeds(within_s))


def fails(error: str, within_s: float = SOON_S) -> tuple[Sign, ...]:
    return (
        grows("io_errors_total", within_s, operation="read", error=error),
        grows("run_failures_total", within_s, reason="io_error"),
        equals("last_run_success", 0, within_s),
    )


def works(within_s: float = SOON_S) -> tuple[Sign, ...]:
    return (equals("last_run_success", 1, within_s), succeeds(within_s))


FAULTS: Final = (
    Fault(
        key="throttled",
        name="slow: few IOPS",
        made="blkio.throttle: 5 reads a second",
        engines=("psync", "io_uring"),
        signs=slow(),
        clears=quick(),
        alert="DiskLatencyRegression",
        needs=("requires_blkio",),
    ),
    Fault(
        key="delayed",
        name="slow: every I/O takes longer",
        made="FUSE answers 200 ms late",
        engines=("psync", "io_uring"),
        signs=slow(),
        clears=quick(),
        alert="DiskLatencyRegression",
    ),
    Fault(
        key="eio",
        name="reads fail with EIO",
        made="FUSE answers EIO",
        engines=("psync", "io_uring"),
        signs=fails("EIO"),
        clears=works(),
        alert="DiskIOErrors",
    ),
    Fault(
        key="dead",
        name="a dead FUSE daemon",
        made="SIGKILL to the daemon under a loop device; mounted anew, on another loop device",
        engines=("psync", "io_uring"),
        signs=fails("EIO"),
        clears=works(),
        alert="DiskIOErrors",
    ),
    Fault(
        key="trickle",
        name="1 B/s",
        made="blkio.throttle: 1 byte read a second",
        engines=("psync", "libaio", "io_uring"),
        signs=HANGS,
        clears=FREE,
        alert="DiskStuckIO",
        needs=("requires_blkio",),
    ),
    Fault(
        key="frozen",
        name="a frozen filesystem",
        made="fsfreeze of the ext4 that the probe file is on",
        engines=("psync", "libaio", "io_uring"),
        signs=HANGS,
        clears=FREE,
        alert="DiskStuckIO",
        load="writes",
        needs=("requires_mkfs",),
    ),
    Fault(
        key="stopped",
        name="a stopped FUSE daemon",
        made="SIGSTOP to the daemon under a loop device",
        engines=("psync", "libaio", "io_uring"),
        signs=HANGS,
        clears=FREE,
        alert="DiskStuckIO",
    ),
    Fault(
        key="unanswered",
        name="a request that is never answered",
        made="FUSE holds back every read",
        engines=("psync", "libaio", "io_uring"),
        signs=HANGS,
        clears=FREE,
        alert="DiskStuckIO",
    ),
    Fault(
        key="midway",
        name="a request that is never answered, in a long run",
        made="FUSE holds back every read of a run of 100 s",
        engines=("io_uring",),
        signs=(above("oldest_inflight_io_seconds", 60, FLAG_S), equals("disk_stuck", 1, FLAG_S)),
        clears=FREE[:2],
        alert="DiskStuckIO",
        load="long",
    ),
    Fault(
        key="dm-delay",
        name="slow: every I/O takes longer",
        made="dm-delay: 200 ms",
        engines=("psync", "io_uring"),
        signs=slow(MACHINE_S),
        clears=quick(MACHINE_S),
        alert="DiskLatencyRegression",
        place="machine",
    ),
    Fault(
        key="medium",
        name="a medium error",
        made="scsi_debug: sense 3/11/00",
        engines=("psync", "io_uring"),
        signs=fails("ENODATA", MACHINE_S),
        clears=works(MACHINE_S),
        alert="DiskIOErrors",
        place="machine",
    ),
    Fault(
        key="timeout",
        name="a command timeout",
        made="scsi_debug answers no read; the kernel waits for 1 s",
        engines=("psync", "io_uring"),
        signs=fails("EIO", MACHINE_S),
        clears=works(MACHINE_S),
        alert="DiskIOErrors",
        place="machine",
    ),
    Fault(
        key="silent",
        name="a command timeout that is long in coming",
        made="scsi_debug answers no read; the kernel waits for 30 s, as it does by itself",
        engines=("psync", "io_uring"),
        signs=HANGS_THERE,
        clears=FREE_THERE,
        alert="DiskStuckIO",
        place="machine",
    ),
    Fault(
        key="deleted",
        name="a device that is deleted",
        made="SCSI delete; the host is scanned for it",
        engines=("io_uring",),
        signs=(equals("disk_present", 0, MACHINE_S), grows("runs_skipped_total", MACHINE_S, reason="absent")),
        clears=(equals("disk_present", 1, MACHINE_S), *works(MACHINE_S)),
        alert="DiskMissing",
        place="machine",
    ),
    Fault(
        key="pulled",
        name="a device that is deleted in a long run",
        made="SCSI delete during a run of 100 s; the host is scanned for it",
        engines=("psync",),
        signs=(grows("run_failures_total", MACHINE_S, reason="gone"), equals("disk_present", 0, MACHINE_S)),
        clears=(equals("disk_present", 1, MACHINE_S),),
        alert="DiskMissing",
        place="machine",
        load="long",
    ),
    Fault(
        key="suspended",
        name="a suspended device",
        made="dmsetup suspend",
        engines=("psync", "libaio", "io_uring"),
        signs=HANGS_THERE,
        clears=FREE_THERE,
        alert="DiskStuckIO",
        place="machine",
    ),
)

CASES: Final = tuple(Case(fault, engine) for fault in FAULTS for engine in fault.engines)


def engines_by_fault(cases: Iterable[Case]) -> dict[Fault, list[str]]:
    found: dict[Fault, list[str]] = {}
    for case in cases:
        found.setdefault(case.fault, []).append(case.engine)
    return found

"""What a child is told: the targets for the guard to admit, the job's options, the limits on the process."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from iovigil.agent.config import DiskSettings, ScrubSettings
from iovigil.agent.config.model import works_in_region
from iovigil.agent.engine_location import engine_location
from iovigil.agent.write_logs import WriteLog
from iovigil.engines.options import JobOptions

if TYPE_CHECKING:
    from iovigil.agent.disks.guard import TargetOrder

RUN_GRACE_S: Final = 10.0
LAYOUT_BYTES_PER_S: Final = 20e6  # a slow hard disk under load
CPU_GRACE_S: Final = 10
CHECK_BLOCKS: Final = 2  # what a block should be, beside what is written down of it
CHECKER_BLOCKS: Final = 3  # of each thread of verify_async: one being checked, one waiting, one to compare with
CHILD_BYTES: Final = 512 << 20  # Python, the stats page, random maps; buffers come on top

WINDOW_LEAST: Final = 1 << 20
WINDOW_MOST: Final = 64 << 20
ENDLESS_BYTES: Final = 1 << 60  # what is no I/O ends by its runtime, or when it is told

NO_TARGET_ENGINES: Final = frozenset({"cpuio", "net", "null"})


def order(
    disk: DiskSettings,
    options: JobOptions,
    engine: str,
    *,
    is_probe_file: bool,
    write_log: WriteLog | None = None,
    scrub: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The order for one run on one disk, in builtin types only: the child reads it with marshal."""
    targets = [] if engine in NO_TARGET_ENGINES else [target(disk, options, is_probe_file=is_probe_file)]
    told = write_log.told() if write_log is not None else None
    fds = {"write_log": write_log.fd} if write_log is not None else {}
    allowance_s = layout_s(disk)
    return {
        **order_of(
            targets, options, engine, allowance_s, names=[disk.path], write_log=told, file_bytes=disk.writable_bytes
        ),
        "extra_fds": fds,
        "scrub": scrub,
    }


def scrub_order(
    settings: ScrubSettings, options: JobOptions, *, state_path: str, identity: str = "", cycles: int = 0
) -> dict[str, Any]:
    """What the child is told of a scrub beside its job. Without a period it goes on for `cycles`, or its runtime."""
    return {
        "state_path": state_path,
        "identity": identity,
        "n": settings.n,
        "period_s": math.ceil(settings.period_s),
        "every_s": math.ceil(settings.every_s),
        "cycles": cycles,
        "window_bytes": window_bytes(options),
    }


def window_bytes(options: JobOptions) -> int:
    """What is under way in a scrub at a time: some seconds of its rate, so that its state is written now and then."""
    return min(max(2 * options.rate[0] or WINDOW_MOST, WINDOW_LEAST), WINDOW_MOST)


def scrub_state_path(state_directory: str, disk: str, probe: str) -> str:
    # No name has an @.
    return f"{state_directory}/scrub/{probe}@{disk}"


def order_of(
    targets: Sequence[TargetOrder],
    options: JobOptions,
    engine: str,
    allowance_s: float,
    *,
    number: int = 1,
    names: Sequence[str] = (),
    flow: tuple[int, int] | None = None,
    write_log: dict[str, int] | None = None,
    file_bytes: int = 0,
    state_directory: str | None = None,
) -> dict[str, Any]:
    """The order for a job on these targets; `number` is its place among the jobs of its session, from 1.

    `names` is what an iolog calls them, `flow` the descriptor of the page that the jobs of a flow share and this
    job's place there; `write_log` what to know of a log that outlives the job, or that others have as well. Verify
    state files are kept in `state_directory`; without one there are none.
    """
    options = msgspec.structs.replace(options, ioengine=engine)
    if engine == "cpuio" and not options.size:
        options = msgspec.structs.replace(options, size=ENDLESS_BYTES)
    return {
        "parent_pid": os.getpid(),
        "purpose": "run",
        "number": number,
        "flow": flow,
        "write_log": write_log,
        # One target that everything is replayed on answers to any name.
        "verify_state": None if state_directory is None else (state_directory, options.name, number - 1),
        "names": None if options.replay_redirect else [*names],
        "targets": [*targets],
        "engine": engine_location(engine),
        "options": options.native(),
        "limits": limits(options, file_bytes or sum(wanted["size"] for wanted in targets), allowance_s),
    }


def target(disk: DiskSettings, options: JobOptions, *, is_probe_file: bool) -> TargetOrder:
    """What the guard is asked about the one target of a disk."""
    kind = kind_of(disk, is_probe_file=is_probe_file)
    size = 0 if kind == "device" else disk.size
    wanted = target_order(disk.name, kind, disk.path, size, options, is_probe_file=kind == "file")
    if kind == "device" and disk.region and (works_in_region(options) or wanted["write"]):
        wanted["region"] = (disk.region.offset, disk.region.size)
    return wanted


def target_order(
    disk: str,
    kind: Literal["file", "device", "auto"],
    path: str,
    size: int,
    options: JobOptions,
    *,
    is_probe_file: bool,
    create_size: int = 0,
    file_count: int = 1,
    session: str = "",
) -> TargetOrder:
    """What the guard is asked about one of the files or devices of a job."""
    return {
        "disk": disk,
        "kind": kind,
        "path": path,
        "size": size,
        "create_size": create_size or size,
        "file_count": file_count,
        "write": may_change(options),
        "read": options.does_read or options.reads_back or options.pre_read,
        "direct": options.direct,
        "sync": options.sync,
        "is_probe_file": is_probe_file,
        "overwrite": options.overwrite,
        "fill_device": options.fill_device,
        "must_exist": (options.verify != "none" and not options.does_write) or options.verify_only,
        "may_create": options.allow_file_create,
        "is_scsi_generic": options.ioengine == "sg",
        "session": session,
    }


def may_change(options: JobOptions) -> bool:
    """Whether what is on the target may change; a replay does whatever its log says, less what it is to leave out."""
    if options.read_iolog:
        return not {"write", "trim"} <= set(options.replay_skip)
    return options.does_change


def kind_of(disk: DiskSettings, *, is_probe_file: bool) -> Literal["file", "device", "auto"]:
    if disk.device:
        return "device"
    # What `iovigil run` is given may be either, and it is for the child to look.
    return "file" if is_probe_file else "auto"


def write_log_bytes(options: JobOptions, size_bytes: int) -> int:
    """Address space for the generation of every unit (one verify header) that a verified job may write."""
    if options.verify == "none" or not options.does_write:
        return 0
    unit = min(options.verify_interval or options.common_bs, options.common_bs)
    return (max(options.size, 0) or size_bytes) // unit * 8


def buffer_bytes(options: JobOptions) -> int:
    """Address space for the buffers of every I/O in flight, each of them aligned, and of every block being checked."""
    align = max(options.iomem_align, 1)
    count = options.iodepth
    if options.verify != "none":
        count += CHECK_BLOCKS + CHECKER_BLOCKS * options.verify_async
    return count * -(-options.max_bs // align) * align + options.hugepage_size


def mapped_bytes(options: JobOptions, size_bytes: int) -> int:
    """Address space for all of what is worked on, so that no window need be moved."""
    return max(options.size, 0) or size_bytes if options.ioengine == "mmap" else 0


def limits(options: JobOptions, size_bytes: int, allowance_s: float) -> dict[str, int]:
    """Bounds on a child gone wrong; 0 is none."""
    longest_s = timeout_s(options)
    mapped = write_log_bytes(options, size_bytes) + mapped_bytes(options, size_bytes)
    return {
        "memory_bytes": buffer_bytes(options) + options.lockmem + mapped + CHILD_BYTES,
        "cpu_s": int(longest_s + allowance_s) + CPU_GRACE_S if longest_s else 0,
    }


def timeout_s(options: JobOptions) -> float:
    """Time from the first I/O to the deadline; 0 when the options set no bound."""
    return options.longest_us / 1e6 + RUN_GRACE_S if options.longest_us else 0.0


def layout_s(disk: DiskSettings) -> float:
    """Time that laying out the probe file may take, where it has to be created."""
    return disk.size / LAYOUT_BYTES_PER_S if disk.file else 0.0

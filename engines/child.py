"""The child's entry point: one job from a descriptor, run to its end, its outcome on the stats page."""

import marshal
import os
import select
import sys
import time

# Started as a file, without site and its search path: what is imported from here on is known and small.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from iovigil.engines import exit_status, process
from iovigil.engines.flow import FlowPage
from iovigil.engines.io.base import EngineUnavailable
from iovigil.engines.job import Job
from iovigil.engines.setup_error import SetupError
from iovigil.engines.sigterm import stop_on_sigterm
from iovigil.engines.stats import RunState, StatsPage

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes as long as the interpreter itself
    from collections.abc import Callable
    from typing import Any

RELEASE_POLL_S = 0.001
GATE_POLL_MS = 100


def wait_for_release(page: StatsPage, gate_fd: int) -> None:
    """Sleep until the job may start, or is to end. The gate, where there is one, opens for all jobs of a batch at once:
    hundreds that looked at their pages instead would take each other's time."""
    if gate_fd >= 0 and not page.is_released:
        gate = select.poll()
        gate.register(gate_fd, 0)  # that the other end was closed is told without asking
        while not page.is_released and not page.is_stopped and not gate.poll(GATE_POLL_MS):
            pass
    while not page.is_released and not page.is_stopped:
        time.sleep(RELEASE_POLL_S)


def read_all(fd: int) -> bytes:
    """The whole of a memory file, wherever its offset stands."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def say(kind: str, text: str) -> None:
    """One line for people, which the agent passes on."""
    os.write(2, f"{kind}: {text}\n".encode())


def say_notes(job: Job, said: int) -> int:
    """Pass on what the engine has to say beyond what was said; how much that makes."""
    notes = job.notes
    for note in notes[said:]:
        say("warning", note)
    return len(notes)


def run(order_fd: int, stats_fd: int, target_fds: list[int]) -> int:
    """Run the ordered job on these descriptors, one for each target; returns the exit status."""
    order = marshal.loads(read_all(order_fd))
    os.close(order_fd)
    page = StatsPage.attach(stats_fd)
    process.die_with_parent(order["parent_pid"])
    limits = order["limits"]
    targets = order["targets"]
    # The job may not write past the region that the guard admitted; a device has its own end.
    writes_logs = any(order["options"][name] for name in LOGS)
    is_bounded = (
        len(targets) == 1 and targets[0]["kind"] == "file" and not targets[0]["fill_device"] and not writes_logs
    )
    file_bytes = targets[0]["size"] if is_bounded else 0
    if is_bounded and order["verify_state"] and order["options"]["verify"] != "none":
        file_bytes = max(file_bytes, STATE_FILE_BYTES)
    process.limit(limits["memory_bytes"], limits["cpu_s"], file_bytes)
    stop_on_sigterm(page)
    page.state = RunState.SETTING_UP
    undo: list[Callable[[], str]] = []
    try:
        return work(order, page, target_fds, undo)
    finally:
        for put_back in reversed(undo):
            if trouble := put_back():
                say("warning", trouble)


def work(order: "dict[str, Any]", page: StatsPage, target_fds: list[int], undo: "list[Callable[[], str]]") -> int:
    """Set the job up, wait for its release, run it; what is to be put back afterwards comes into `undo`."""
    options = order["options"]
    try:
        settle(order, target_fds, undo)
        files = [
            (fd, target["size"] or os.lseek(fd, 0, os.SEEK_END), target["start"])
            for fd, target in zip(target_fds, order["targets"], strict=True)
        ]
        if options["pre_read"]:
            options["invalidate"] = False  # or else what was read would be dropped again
        options["dumps"] = order.get("dumps")  # where the agent wants bad blocks, and how much of them
        job = Job(
            options,
            page,
            files,
            order["number"],
            flow_place(order),
            order["names"],
            order["engine"],
            shared_log(order),
            order["verify_state"],
            scrub_order(order),
        )
    except EngineUnavailable as error:
        page.text = f"{error.filename} is not to be had on this host: {error.strerror}"
        say("error", page.text)
        return exit_status.ENGINE_UNAVAILABLE
    except KeyError as missing:
        page.text = f"options are of another version: {missing}"
        say("error", page.text)
        return exit_status.SETUP_FAILED
    except (SetupError, OSError, MemoryError) as error:
        page.text = str(error) or "out of memory: lower iodepth, bs or size"
        say("error", page.text)
        return exit_status.SETUP_FAILED
    notes_said = say_notes(job, 0)
    page.state = RunState.INITIALIZED
    wait_for_release(page, order.get("extra_fds", {}).get("gate", -1))
    if options["pre_read"]:
        from iovigil.engines.pre_read import pre_read

        if not pre_read(page, job.regions(files)):
            say("error", page.text)
            return exit_status.JOB_FAILED
    try:
        job.meet()
    except OSError as error:
        page.text = str(error)
        say("error", page.text)
        return exit_status.SETUP_FAILED
    job.run()
    say_notes(job, notes_said)
    if page.error:
        say("error", page.text)
        return exit_status.JOB_FAILED
    return exit_status.OK


def shared_log(order: "dict[str, Any]") -> "tuple[int, int, int, int, int, bytes] | None":
    """The write log that outlives this job, or that others have as well."""
    told = order["write_log"]
    if not told:
        return None
    fd, lives = order["extra_fds"]["write_log"], b"".join(target.get("region_uuid", b"") for target in order["targets"])
    return fd, told["nonce"], told["begun_ns"], told["place"], told["sharers"], lives


def scrub_order(order: "dict[str, Any]") -> "dict[str, Any] | None":
    """What a scrub is told beside the job, with the descriptor of its state."""
    if not order.get("scrub"):
        return None
    uuid = order["targets"][0].get("region_uuid", b"")
    return {**order["scrub"], "state_fd": order["extra_fds"]["scrub"], "region_uuid": uuid}


def flow_place(order: "dict[str, Any]") -> "tuple[FlowPage, int] | None":
    """The page that the jobs of a flow share, and this job's place there."""
    if not order["flow"]:
        return None
    fd, place = order["flow"]
    return FlowPage.attach(fd), place


def settle(order: "dict[str, Any]", target_fds: list[int], undo: "list[Callable[[], str]]") -> None:
    """Put this process where the options want it, in fio's order: what needs a privilege needs it of the job's user.

    Modules are imported for the options that need them: most jobs need none. Raises SetupError.
    """
    options = order["options"]
    if any(options[name] != absent for name, absent in PLACED_BY.items()):
        from iovigil.engines import placement

        if options["uid"] >= 0 or options["gid"] >= 0:
            # Another user may not be able to read where the engines are.
            if order["engine"] is None:
                __import__(f"iovigil.engines.io.{options['ioengine']}")
            import iovigil.engines.cgroup
            import iovigil.engines.ioscheduler
            import iovigil.engines.pre_read  # noqa: F401

            placement.become(options["uid"], options["gid"], order["parent_pid"])
        nodes = options["numa_cpu_nodes"]
        cpus = placement.cpus_of(options["cpus_allowed"], options["cpus_allowed_policy"], nodes, order["number"])
        if cpus:
            placement.pin(cpus, "cpus_allowed" if options["cpus_allowed"] else "numa_cpu_nodes")
        policy, policy_nodes = options["numa_mem_policy"]
        if policy:
            placement.take_memory(policy, policy_nodes)
        if options["lockmem"]:
            placement.lock_memory(options["lockmem"])
        if options["prioclass"] or options["prio"]:
            placement.prioritise_io(options["prioclass"], options["prio"])
    if options["cgroup"]:
        from iovigil.engines import cgroup

        undo.append(cgroup.enter(options["cgroup"], options["cgroup_weight"], options["cgroup_nodelete"]).leave)
    if options["nice"]:
        placement.renice(options["nice"])
    if options["ioscheduler"]:
        from iovigil.engines import ioscheduler

        switched, notes = ioscheduler.switch(options["ioscheduler"], target_fds)
        undo.extend(disk.restore for disk in switched)
        for note in notes:
            say("warning", note)


LOGS = ("write_bw_log", "write_iops_log", "write_lat_log", "write_hist_log", "write_iolog")
"""Options that let the child write other files than its target."""

STATE_FILE_BYTES = 1 << 18
"""No verify state file of a job with one target is longer."""

PLACED_BY = {
    "uid": -1,
    "gid": -1,
    "cpus_allowed": (),
    "numa_cpu_nodes": (),
    "numa_mem_policy": ("", ()),
    "lockmem": 0,
    "prioclass": 0,
    "prio": 0,
    "nice": 0,
}
"""The options that need the module placement, and the values that say nothing."""


if __name__ == "__main__":
    try:
        status = run(int(sys.argv[1]), int(sys.argv[2]), [int(fd) for fd in sys.argv[3].split(":") if fd])
    except Exception as error:  # the outermost loop: a traceback helps nobody who runs disks
        say("error", f"child: {type(error).__name__}: {error}")
        status = exit_status.JOB_FAILED
    # Not sys.exit: tearing the interpreter down would only cost time, and may wait for a disk.
    os._exit(status)

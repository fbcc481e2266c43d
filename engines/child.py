"""The child's entry point: one job from a descriptor, run to its end, its outcome on the stats page."""

import marshal
import os
import select
import sys
import time

# Started as a file, without site and its search path: what is imported from here on is known and small.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from iovigil.engines import exit_status, process
from iovigil.engines.io.base import EngineUnavailable
from iovigil.engines.job import Job, SetupError
from iovigil.engines.sigterm import stop_on_sigterm
from iovigil.engines.stats import RunState, StatsPage

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


def run(order_fd: int, stats_fd: int, target_fds: list[int]) -> int:
    """Run the ordered job on these descriptors, one for each target; returns the exit status."""
    order = marshal.loads(read_all(order_fd))
    os.close(order_fd)
    page = StatsPage.attach(stats_fd)
    process.die_with_parent(order["parent_pid"])
    limits = order["limits"]
    targets = order["targets"]
    # The job may not write past the region that the guard admitted; a device has its own end.
    is_bounded = len(targets) == 1 and targets[0]["kind"] == "file" and not targets[0]["fill_device"]
    process.limit(limits["memory_bytes"], limits["cpu_s"], targets[0]["size"] if is_bounded else 0)
    stop_on_sigterm(page)
    page.state = RunState.SETTING_UP
    try:
        files = [
            (fd, target["size"] or os.lseek(fd, 0, os.SEEK_END)) for fd, target in zip(target_fds, targets, strict=True)
        ]
        job = Job(order["options"], page, files, order["number"])
    except EngineUnavailable as error:
        page.text = f"{error.filename} is not to be had on this host: {error.strerror}"
        say("error", page.text)
        return exit_status.ENGINE_UNAVAILABLE
    except (SetupError, OSError, MemoryError) as error:
        page.text = str(error) or "out of memory: lower iodepth, bs or size"
        say("error", page.text)
        return exit_status.SETUP_FAILED
    for note in job.notes:
        say("warning", note)
    page.state = RunState.INITIALIZED
    wait_for_release(page, order.get("extra_fds", {}).get("gate", -1))
    job.run()
    if page.error:
        say("error", page.text)
        return exit_status.JOB_FAILED
    return exit_status.OK


if __name__ == "__main__":
    try:
        status = run(int(sys.argv[1]), int(sys.argv[2]), [int(fd) for fd in sys.argv[3].split(":") if fd])
    except Exception as error:  # the outermost loop: a traceback helps nobody who runs disks
        say("error", f"child: {type(error).__name__}: {error}")
        status = exit_status.JOB_FAILED
    # Not sys.exit: tearing the interpreter down would only cost time, and may wait for a disk.
    os._exit(status)

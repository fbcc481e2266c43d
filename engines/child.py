"""The child's entry point: one job from a descriptor, run to its end, its outcome on the stats page."""

import marshal
import os
import sys

# Started as a file, without site and its search path: what is imported from here on is known and small.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from iovigil.engines import exit_status, process
from iovigil.engines.io.base import EngineUnavailable
from iovigil.engines.job import Job, SetupError
from iovigil.engines.sigterm import stop_on_sigterm
from iovigil.engines.stats import RunState, StatsPage


def read_all(fd: int) -> bytes:
    """The whole of a memory file, wherever its offset stands."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def say(kind: str, text: str) -> None:
    """One line for people, which the agent passes on."""
    os.write(2, f"{kind}: {text}\n".encode())


def run(order_fd: int, stats_fd: int, target_fd: int) -> int:
    """Run the ordered job; returns the exit status. `target_fd` -1 is no target."""
    order = marshal.loads(read_all(order_fd))
    os.close(order_fd)
    page = StatsPage.attach(stats_fd)
    process.die_with_parent(order["parent_pid"])
    limits = order["limits"]
    target = order["target"]
    # The job may not write past the region that the guard admitted; a device has its own end.
    is_bounded = target["kind"] == "file" and not target["fill_device"]
    process.limit(limits["memory_bytes"], limits["cpu_s"], target["size"] if is_bounded else 0)
    stop_on_sigterm(page)
    page.state = RunState.SETTING_UP
    try:
        size = os.lseek(target_fd, 0, os.SEEK_END) if target_fd >= 0 else 0
        job = Job(order["options"], page, target_fd, target["size"] or size)
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
    job.run()
    if page.error:
        say("error", page.text)
        return exit_status.JOB_FAILED
    return exit_status.OK


if __name__ == "__main__":
    try:
        status = run(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except Exception as error:  # the outermost loop: a traceback helps nobody who runs disks
        say("error", f"child: {type(error).__name__}: {error}")
        status = exit_status.JOB_FAILED
    # Not sys.exit: tearing the interpreter down would only cost time, and may wait for a disk.
    os._exit(status)

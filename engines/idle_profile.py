"""A process of its own for the spinners: they must not share a priority, or an interpreter's lock, with the agent.

Started as `python -I -S idle_profile.py PARENT_PID`. It says `ready` and the unit of work of each CPU; works from the
first byte on its standard input until that ends; then says for each CPU its number, the idle share, the unit.
"""

import os
import sys

# Started as a file, without site and its search path: what is imported from here on is known and small.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from iovigil.engines import process
from iovigil.engines.placement import numbers, read
from iovigil.engines.spinners import Spinners


def main(parent_pid: int) -> int:
    process.die_with_parent(parent_pid)
    # Every CPU that this process may have, whatever the agent keeps to.
    os.sched_setaffinity(0, numbers(read("/sys/devices/system/cpu/online")) or os.sched_getaffinity(0))
    try:
        spinners = Spinners(sorted(os.sched_getaffinity(0)))
    except OSError as problem:
        os.write(2, f"error: {problem.filename}: {problem.strerror}\n".encode())
        return 1
    # Sessions share a CPU evenly, whatever the priority of the threads in them: ours goes last from now on.
    be_nice("19")
    say("ready", *spinners.unit_us)
    if os.read(0, 1):
        spinners.begin()
        while os.read(0, 1):
            pass
        shares = spinners.end()
        # Or else the threads would wait for the processor to end.
        be_nice("0")
        for share in shares:
            say(*share)
    return 0


def be_nice(level: str) -> None:
    """Set the niceness of this session, beside all others."""
    try:
        with open("/proc/self/autogroup", "w") as group:
            group.write(level)
    except OSError:
        return  # a kernel without groups of sessions


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


if __name__ == "__main__":
    try:
        status = main(int(sys.argv[1]))
    except Exception as problem:  # the outermost loop: a traceback helps nobody
        os.write(2, f"error: {type(problem).__name__}: {problem}\n".encode())
        status = 1
    os._exit(status)

"""The first half of a child process: the guard admits the target, then the engine takes the process over.

Started as `python -I -S launch.py ORDER_FD STATS_FD`; the order is a marshalled dict in a memfd. The half after exec
has the same pid, so that one deadline covers admission, layout and I/O.
"""

from __future__ import annotations

import os
import sys

# Not resolved: through the links of src/iovigil both halves are found under the package's name.
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(PACKAGE))

import errno
import marshal

from iovigil.agent import child_group
from iovigil.agent.disks import guard, standby
from iovigil.agent.disks.refusal import Refused
from iovigil.engines import exit_status
from iovigil.engines.process import die_with_parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ECONNABORTED, errno.ENOTCONN, errno.ESTALE})


def main(order_fd: int, stats_fd: int) -> int:
    """Replace this process by the job; an exit status comes back only when that was not possible, or not the purpose.

    The purpose of an order is to `run` a job, to `lay_out` its files for later, or to `remove` those that its session
    created.
    """
    try:
        order = marshal.loads(os.pread(order_fd, os.fstat(order_fd).st_size, 0))
        die_with_parent(order["parent_pid"])
    except (OSError, ValueError, EOFError, TypeError, KeyError) as problem:
        return fail(exit_status.SETUP_FAILED, f"the order cannot be read: {problem}")
    try:
        purpose = order.get("purpose", "run")
        if purpose == "remove":
            for wanted in order["targets"]:
                guard.remove(wanted)
            return exit_status.OK
        own_group = order.get("cgroup")
        if own_group:
            say_all(child_group.enter(own_group["path"], own_group["files"]))
        # Before anything is opened: to look at a file may take a disk.
        if (name := order.get("let_sleep")) and (reason := standby.asleep(name)):
            return fail(exit_status.ASLEEP, reason)
        target_fds = prepare(order, order_fd)
        # Not before: a file that is laid out has a time of its own, which no job's rate is meant for.
        if own_group and own_group["io"]:
            say_all(child_group.limit_io(own_group["path"], own_group["io"], (to["path"] for to in order["targets"])))
        if purpose == "lay_out":
            return exit_status.OK
        if order.get("scrub"):
            # After the target, whose lock says that no other scrub has this state.
            order["extra_fds"] = {**order.get("extra_fds", {}), "scrub": opened_state(order["scrub"]["state_path"])}
            rewrite(order, order_fd)
    except Refused as reason:
        return fail(exit_status.TARGET_REFUSED, str(reason))
    except OSError as problem:
        return fail(exit_status.TARGET_GONE if problem.errno in GONE else exit_status.TARGET_FAILED, in_words(problem))
    try:
        for fd in (order_fd, stats_fd, *order.get("extra_fds", {}).values()):
            os.set_inheritable(fd, True)
        child = os.path.join(PACKAGE, "engines", "child.py")
        fds = ":".join(map(str, target_fds))
        os.execv(sys.executable, [sys.executable, "-I", "-S", child, str(order_fd), str(stats_fd), fds])
    except OSError as problem:
        return fail(exit_status.SETUP_FAILED, in_words(problem))


def prepare(order: dict[str, Any], order_fd: int) -> list[int]:
    """Have the targets admitted and their sizes written into the order; the descriptors to hand on."""
    fds = []
    for place, wanted in enumerate(order["targets"]):
        target = guard.admit(wanted, order["options"])
        # The bytes that were admitted are those the job obeys: before the footer of a probe file, behind the header
        # of a region.
        order["targets"][place] = {**wanted, "kind": target.kind, "start": target.start, "size": target.size}
        order["targets"][place]["region_uuid"] = target.region_uuid
        os.set_inheritable(target.fd, True)
        fds.append(target.fd)
    rewrite(order, order_fd)
    return fds


def rewrite(order: dict[str, Any], order_fd: int) -> None:
    """Let the second half read what the first has found."""
    rewritten = marshal.dumps(order)
    os.pwrite(order_fd, rewritten, 0)
    os.ftruncate(order_fd, len(rewritten))


def opened_state(path: str) -> int:
    """The state of a scrub, made where there is none. An empty one is as good as none: nothing need be atomic here."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.fstat(fd).st_size == 0:
        # What is written to it is no use after a loss of power if its name is gone.
        for place in (directory, os.path.dirname(directory)):
            directory_fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory_fd)
            finally:
                os.close(directory_fd)
    return fd


def in_words(problem: OSError) -> str:
    reason = problem.strerror or str(problem)
    if problem.errno == errno.EACCES:
        reason += f" for uid {os.geteuid()}"
    return f"{problem.filename}: {reason}" if problem.filename is not None else reason


def say_all(lines: Iterable[str]) -> None:
    for line in lines:
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))


def fail(status: int, reason: str) -> int:
    """Say why in one line; the agent reads it from the pipe."""
    line = " ".join(f"error: {reason}".splitlines())
    os.write(2, line.encode(errors="backslashreplace") + b"\n")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
    except (KeyboardInterrupt, Exception) as problem:  # the outermost loop: a traceback helps nobody who runs disks
        sys.exit(fail(exit_status.SETUP_FAILED, f"launch: {type(problem).__name__}: {problem}"))

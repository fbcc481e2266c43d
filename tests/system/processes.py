"""Starts processes for tests, waits for them with a deadline, and always ends what it started."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

START_DEADLINE_S = 10.0
STOP_GRACE_S = 3.0
POLL_S = 0.02

T = TypeVar("T")


class NotReady(AssertionError):
    """What was waited for did not come about in time."""


def wait_until(condition: Callable[[], T], what: str, deadline_s: float = START_DEADLINE_S) -> T:
    """The first true value of the condition. Raises NotReady after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise NotReady(f"not within {deadline_s:g} s: {what}")
        time.sleep(POLL_S)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody holds now; somebody could take it before its user does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def started(
    command: Sequence[str | Path],
    *,
    log: Path,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    deadline_s: float = START_DEADLINE_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own, once its port answers; end the whole session when the block is left.

    Output goes to the log, whose end is in the message when the process dies before it answers.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else {**os.environ, **env},
            pass_fds=pass_fds,
            start_new_session=True,
        )
    try:
        if port is not None:
            wait_for_port(process, port, log, deadline_s)
        yield process
    finally:
        stop(process)


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path, deadline_s: float = START_DEADLINE_S) -> None:
    """Return when the port answers. Raises NotReady when the process ends first or takes too long."""

    def is_up_or_dead() -> bool:
        return process.poll() is not None or answers(port)

    name = f"process {process.pid}"
    try:
        wait_until(is_up_or_dead, f"{name} answers on port {port}", deadline_s)
    except NotReady as late:
        raise NotReady(f"{late}\n{tail(log)}") from None
    if process.returncode is not None:
        raise NotReady(f"{name} ended with status {process.returncode} before it answered on {port}\n{tail(log)}")


def stop(process: subprocess.Popen[bytes], grace_s: float = STOP_GRACE_S) -> None:
    """SIGTERM to the process, then SIGKILL to all of its session. A child in uninterruptible sleep is left behind."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    # Children of a leader that is gone still carry its process group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)


def tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

"""One child process: spawned with an order, asked to stop, killed, reaped; never waited for."""

import contextlib
import marshal
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import iovigil
from iovigil.engines.stats import StatsPage

# As imported, symlinks kept: the launcher finds the package from its own path.
LAUNCHER: Final = Path(iovigil.__file__).parent / "agent" / "launch.py"

MESSAGES_KEPT: Final = 20
MESSAGE_BYTES: Final = 4096
READ_BYTES: Final = 65536
READS_AT_ONCE: Final = 16  # a child that floods its stderr must not hold the agent's loop

ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}


@dataclass(frozen=True)
class Exit:
    """How a process ended: one of the two is set."""

    status: int | None = None
    signal: int | None = None


class Worker:
    """A running child and what the agent holds of it. No method blocks.

    `spawn` is the one exception: Popen comes back when the child has executed Python. That
    binary is on the system disk, as the agent's own is, never on a watched one.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._process = process
        self._stderr = process.stderr
        self._unfinished_line = b""
        self.messages: deque[str] = deque(maxlen=MESSAGES_KEPT)
        """The last lines the child said, for people."""
        # Nobody but `reap` waits for the process, so its pid cannot have been given to another.
        self.pidfd = os.pidfd_open(process.pid)
        os.set_blocking(self._stderr.fileno(), False)

    @classmethod
    def spawn(cls, order: Mapping[str, Any], page: StatsPage, launcher: Path = LAUNCHER) -> "Worker":
        """Start a child on an order, with the descriptors that it names under extra_fds. Raises OSError.

        Call it from the main thread: the child dies with the *thread* that made it (PR_SET_PDEATHSIG).
        """
        order_fd = os.memfd_create("iovigil-order", os.MFD_CLOEXEC)
        try:
            with open(order_fd, "wb", closefd=False) as file:
                file.write(marshal.dumps(dict(order)))
            os.lseek(order_fd, 0, os.SEEK_SET)
            page.spawned_ns = time.monotonic_ns()
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(launcher), str(order_fd), str(page.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                close_fds=True,
                pass_fds=(order_fd, page.fileno(), *order.get("extra_fds", {}).values()),
                start_new_session=True,
                env=ENVIRONMENT,
            )
        finally:
            os.close(order_fd)
        try:
            return cls(process)
        except OSError:
            process.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def state(self) -> str:
        """The kernel's letter for what the process does: D waits where no signal reaches it. Empty when it is gone."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return text.rpartition(")")[2].split()[0]

    @property
    def stderr_fd(self) -> int:
        return self._stderr.fileno()

    def request_stop(self, page: StatsPage) -> None:
        """Ask the child to finish what is in flight and end."""
        page.request_stop()
        # The flag is seen between two I/Os, the signal also by a child that sleeps.
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the child and all it may have started: it leads a session of its own."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> Exit | None:
        """How the child ended, None while it lives."""
        code = self._process.poll()  # waitpid with WNOHANG
        if code is None:
            return None
        return Exit(status=code) if code >= 0 else Exit(signal=-code)

    def read_messages(self) -> bool:
        """Take in what the child has said. Returns whether there may be more to come."""
        for _ in range(READS_AT_ONCE):
            try:
                data = os.read(self.stderr_fd, READ_BYTES)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                self._keep(self._unfinished_line)
                self._unfinished_line = b""
                return False
            *lines, rest = (self._unfinished_line + data).split(b"\n")
            for line in lines:
                self._keep(line)
            self._unfinished_line = rest[:MESSAGE_BYTES]
        return True

    def _keep(self, line: bytes) -> None:
        if text := line[:MESSAGE_BYTES].decode(errors="replace").rstrip():
            self.messages.append(text)

    def close(self) -> None:
        """Give the descriptors of a reaped child back."""
        self._stderr.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

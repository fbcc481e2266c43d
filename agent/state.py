"""The state directory: one agent at a time owns it."""

import fcntl
import os
from pathlib import Path
from types import TracebackType


class StateTaken(Exception):
    """The state directory cannot be used; the text says why and what to do."""


class StateLock:
    """Holds the directory's lock while in a `with` block; the kernel frees it with the process."""

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / "agent.lock"

    def __enter__(self) -> "StateLock":
        """Raises StateTaken."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateTaken(
                f"state directory {self.path.parent}: {error.strerror}; "
                "make it writable for this user, or set agent.state_directory or --state-directory"
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StateTaken(
                f"state directory {self.path.parent}: another agent (pid {owner}) uses it; "
                "stop that one, or give this one a directory of its own (agent.state_directory, --state-directory)"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

"""What the agent tells systemd: READY, RELOADING, STOPPING, STATUS, and that its main loop is alive."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping

from systemd import daemon  # type: ignore[import-untyped]


class Notifier:
    """sd_notify's messages; they go nowhere when systemd did not start the agent."""

    def __init__(self, send: Callable[[str], object] = daemon.notify, env: Mapping[str, str] = os.environ) -> None:
        self._send = send
        self._status = ""
        self._alive_s = float("-inf")
        self.watchdog_s = watchdog_s(env)
        """Time between two signs of life, 0 when nobody waits for them."""

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        # The time stamp is what Type=notify-reload asks for, from systemd 253 on; others pass it over.
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """The line of `systemctl status`; sent when it changes."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def alive(self, now_s: float) -> None:
        """To be called by the main loop's own tick, and by nothing else; sends as often as needed."""
        if self.watchdog_s and now_s - self._alive_s >= self.watchdog_s:
            self._alive_s = now_s
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        # The socket may be gone or full for a moment (daemon-reexec, a container's proxy): no reason to stop probing.
        with contextlib.suppress(OSError):
            self._send(text)


def watchdog_s(env: Mapping[str, str]) -> float:
    """A third of WatchdogSec, when it is meant for this process."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(env.get("WATCHDOG_USEC", "0")) / 1e6 / 3
    except ValueError:
        return 0.0

"""Says when the machine's disks or mounts may have changed: uevents and the kernel's table of mounts."""

import asyncio
import contextlib
import logging
import os
import select
import socket
from collections.abc import Callable
from typing import Final

from iovigil.agent.disks import udev

try:
    import pyudev
except ImportError:  # an extra: the kernel tells as much, only earlier than the links are there
    pyudev = None

log = logging.getLogger(__name__)

NETLINK_KOBJECT_UEVENT: Final = 15
KERNEL_GROUP: Final = 1
UEVENT_BYTES: Final = 16 * 1024
BLOCK: Final = b"SUBSYSTEM=block"
MOUNTS: Final = "/proc/self/mountinfo"


class Hotplug:
    """Calls back on the event loop when there is something to look at. Reading here waits for no device."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        """Listen where that is possible; where it is not, who looks from time to time sees it all the same."""
        loop = asyncio.get_running_loop()
        for watch in (self._watch_devices, self._watch_mounts):
            try:
                watch(loop)
            except (OSError, ImportError) as error:
                log.info("changes of %s are seen at the next look only: %s", watch.__name__.split("_")[-1], error)

    def close(self) -> None:
        self._stack.close()

    def _watch_devices(self, loop: asyncio.AbstractEventLoop) -> None:
        if pyudev is not None and udev.is_running():
            self._watch_udev(loop)
        else:
            self._watch_kernel(loop)

    def _watch_udev(self, loop: asyncio.AbstractEventLoop) -> None:
        """udev's own word comes when the links under /dev are there."""
        monitor = pyudev.Monitor.from_netlink(pyudev.Context())
        monitor.filter_by("block")
        monitor.start()

        def read() -> None:
            seen = False
            with contextlib.suppress(OSError):  # more was said than it could hold: that too is a change
                while monitor.poll(timeout=0) is not None:
                    seen = True
            if seen:
                self._on_change()

        self._add(loop, monitor.fileno(), read)
        self._stack.callback(lambda: monitor)  # it owns the descriptor

    def _watch_kernel(self, loop: asyncio.AbstractEventLoop) -> None:
        channel = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT
        )
        self._stack.callback(channel.close)
        channel.bind((0, KERNEL_GROUP))

        def read() -> None:
            try:
                said = False
                while True:
                    said = BLOCK in channel.recv(UEVENT_BYTES).split(b"\0") or said
            except BlockingIOError:
                pass
            except OSError:  # ENOBUFS: more was said than it could hold
                said = True
            if said:
                self._on_change()

        self._add(loop, channel.fileno(), read)

    def _watch_mounts(self, loop: asyncio.AbstractEventLoop) -> None:
        fd = os.open(MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        self._stack.callback(os.close, fd)
        # The table of mounts is always readable, and says by EPOLLPRI that it changed: the loop asks for no such thing.
        watcher = select.epoll()
        self._stack.callback(watcher.close)
        watcher.register(fd, select.EPOLLPRI | select.EPOLLERR)
        watcher.poll(0)

        def read() -> None:
            watcher.poll(0)
            self._on_change()

        self._add(loop, watcher.fileno(), read)

    def _add(self, loop: asyncio.AbstractEventLoop, fd: int, read: Callable[[], None]) -> None:
        loop.add_reader(fd, read)
        self._stack.callback(loop.remove_reader, fd)

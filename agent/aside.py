"""Calls what may hang beside the event loop, and gives it up when its time is over."""

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def call(function: Callable[[], T], deadline_s: float) -> T:
    """The function's result, from a thread of its own.

    Raises TimeoutError, OSError where no thread is to be had, and what the function raises.

    Not asyncio.to_thread: its pool is joined when the loop closes and when the interpreter ends,
    so that one hung call would keep the agent from ending. A daemon thread is simply left behind.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def deliver(value: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, error = None, None
        try:
            value = function()
        except Exception as caught:  # handed to the caller, whatever it is
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(deliver, value, error)

    try:
        threading.Thread(target=work, name="aside", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None
    async with asyncio.timeout(deadline_s):
        return await outcome


class Taken(Exception):
    """Earlier calls have not come back."""


class Lane:
    """So many calls at a time: what hangs costs that many threads, however often it is tried."""

    def __init__(self, calls: int = 1) -> None:
        self._free = calls
        self._lock = threading.Lock()

    @property
    def is_free(self) -> bool:
        return self._free > 0

    async def call(self, function: Callable[[], T], deadline_s: float) -> T:
        """As `call` above; raises Taken as well."""
        self._take()
        has_begun = False

        def work() -> T:
            nonlocal has_begun
            has_begun = True
            try:
                return function()
            finally:
                self._give_back()

        try:
            return await call(work, deadline_s)
        except TimeoutError:
            raise
        except OSError:
            if not has_begun:  # there was no thread for it
                self._give_back()
            raise

    async def wait(self, deadline_s: float) -> bool:
        """Wait until a call can be made; whether it can."""
        end_s = time.monotonic() + deadline_s
        while not self.is_free and time.monotonic() < end_s:
            await asyncio.sleep(0.02)
        return self.is_free

    def _take(self) -> None:
        with self._lock:
            if not self._free:
                raise Taken
            self._free -= 1

    def _give_back(self) -> None:
        with self._lock:
            self._free += 1

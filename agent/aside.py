"""Calls what may hang beside the event loop, and gives it up when its time is over."""

import asyncio
import contextlib
import errno
import threading
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

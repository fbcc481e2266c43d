"""Calls that may hang are given up in time."""

import asyncio
import threading
import time

import pytest

from iovigil.agent import aside


def test_the_result_and_the_error_come_back() -> None:
    assert asyncio.run(aside.call(lambda: 42, 5)) == 42
    with pytest.raises(ZeroDivisionError):
        asyncio.run(aside.call(lambda: 1 // 0, 5))


def test_a_call_that_hangs_is_given_up_and_holds_nothing_up() -> None:
    release = threading.Event()
    started_s = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(aside.call(lambda: release.wait(30), 0.1))
    assert time.monotonic() - started_s < 5
    release.set()

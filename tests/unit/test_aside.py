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


def test_a_host_without_a_thread_to_spare_is_an_error_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(OSError, match="can't start new thread"):
        asyncio.run(aside.call(lambda: 42, 5))


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_what_hangs_costs_no_more_threads_than_the_lane_has() -> None:
    release, lane = threading.Event(), aside.Lane(2)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await lane.call(lambda: release.wait(30), 0.05)
        assert not lane.is_free
        with pytest.raises(aside.Taken):
            await lane.call(lambda: True, 5)
        assert not await lane.wait(0.05)
        release.set()
        assert await lane.wait(10)
        assert await lane.call(lambda: 42, 5) == 42

    asyncio.run(main())


def test_a_lane_is_free_again_after_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = aside.Lane()
    for function, error in ((lambda: 1 // 0, ZeroDivisionError), (fail, PermissionError)):
        with pytest.raises(error):
            asyncio.run(lane.call(function, 5))
        assert lane.is_free
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(OSError, match="can't start new thread"):
            asyncio.run(lane.call(lambda: 42, 5))
    assert asyncio.run(lane.call(lambda: 42, 5)) == 42


def fail() -> int:
    raise PermissionError(13, "Permission denied")

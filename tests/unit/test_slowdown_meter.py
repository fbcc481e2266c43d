"""The kernel's counters at both ends of a run, and what becomes of a run when they cannot be had."""

import asyncio
import threading

import pytest

from iovigil.agent.slowdown import foreign_load, meter
from iovigil.agent.slowdown.foreign_load import Counters, ForeignLoad, Own
from iovigil.agent.slowdown.meter import Meter

KEY = ("data0", "latency")
OWN = Own(ios=500, bytes=500 * 4096, time_s=0.001)


def load_of(of_meter: Meter, device: str = "sda", *, begins: bool = True) -> ForeignLoad | None:
    async def scenario() -> ForeignLoad | None:
        if begins:
            of_meter.begin(KEY, device)
        await asyncio.sleep(0.05)
        return await of_meter.end(KEY, device, OWN, "1")

    return asyncio.run(scenario())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does a thousand I/Os between two looks."""
    looks = iter(range(100))

    def look(_device: str, _root: str) -> dict[str, Counters]:
        number = next(looks)
        return {"sda": Counters(1000 * number, 1000 * 4096 * number, 1.0 * number, 1.0 * number)}

    monkeypatch.setattr(foreign_load, "look", look)


@pytest.mark.usefixtures("counted")
def test_what_was_done_between_the_two_ends_and_not_by_us_is_foreign() -> None:
    found = load_of(Meter())
    assert found is not None
    assert found.in_flight > 1
    assert found.busy_ratio == 1.0


@pytest.mark.usefixtures("counted")
def test_without_a_beginning_nothing_is_known() -> None:
    assert load_of(Meter(), begins=False) is None


def test_what_has_no_device_is_nobody_elses() -> None:
    assert load_of(Meter(), device="") == ForeignLoad()


def test_a_device_that_is_not_there_has_no_load() -> None:
    assert load_of(Meter(), device="no-such-disk") is None


def test_a_driver_that_does_not_answer_costs_a_thread_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(meter, "LOOK_S", 0.05)
    monkeypatch.setattr(meter, "LOOKS", 2)
    monkeypatch.setattr(foreign_load, "look", lambda *_: released.wait(30))
    of_meter = Meter()
    try:
        assert [load_of(of_meter) for _ in range(4)] == [None] * 4
        assert threading.active_count() <= 3 + 1
    finally:
        released.set()

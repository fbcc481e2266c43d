"""What the API reads where it may block: beside the loop, a few calls at a time, each with a deadline."""

import asyncio
import threading
import time

import pytest
from histories import last, row

from iovigil.agent import history
from iovigil.agent.history import HistoryUnusable
from iovigil.agent.run_record import RunRecord
from iovigil.agent.web.sources import Aside, MismatchesAside, RunsAside


def test_a_history_that_hangs_costs_a_bounded_number_of_threads_and_no_time() -> None:
    gate = threading.Event()

    async def main() -> None:
        beside = Aside(deadline_s=0.1, calls=2)
        for _ in range(2):
            with pytest.raises(HistoryUnusable, match=r"does not answer within 0\.1 s"):
                await beside.call(lambda: gate.wait(20))
        started_s = time.monotonic()
        with pytest.raises(HistoryUnusable, match="read by others"):
            await beside.call(lambda: True)
        assert time.monotonic() - started_s < 0.05
        gate.set()
        end_s = time.monotonic() + 10
        while time.monotonic() < end_s:
            try:
                assert await beside.call(lambda: "back") == "back"
                return
            except HistoryUnusable:
                await asyncio.sleep(0.02)
        pytest.fail("it was not read again")

    asyncio.run(asyncio.wait_for(main(), 20))


def test_what_cannot_be_read_is_said_in_words() -> None:
    async def main() -> None:
        def fail() -> None:
            raise PermissionError(13, "Permission denied")

        with pytest.raises(HistoryUnusable, match="Permission denied"):
            await Aside().call(fail)
        assert await Aside(calls=1).call(lambda: 7) == 7

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_blocking_history_is_read_off_the_loop_s_thread() -> None:
    threads = []

    class Blocking:
        def latest(
            self,
            disk: str | None = None,
            probe: str | None = None,
            limit: int = 50,
            before_id: int | None = None,
            *,
            is_failed: bool = False,
        ) -> list[RunRecord]:
            threads.append(threading.get_ident())
            assert (disk, probe, limit, before_id, is_failed) == ("a", "b", 3, 9, True)
            return []

        def run(self, id: int) -> RunRecord | None:  # noqa: A002, ARG002
            threads.append(threading.get_ident())
            return None

    async def main() -> None:
        runs = RunsAside(Blocking(), Aside())
        assert await runs.latest("a", "b", 3, 9, is_failed=True) == []
        assert await runs.run(1) is None

    asyncio.run(asyncio.wait_for(main(), 20))
    assert threading.get_ident() not in threads
    assert len(threads) == 2


def test_mismatches_go_on_before_the_one_that_a_page_ended_with(tmp_path) -> None:
    path = tmp_path / "history.db"
    history.write(path, [row(number, disk) for number in range(4) for disk in ("data0", "data1")], [last()])

    async def main() -> None:
        found = MismatchesAside(lambda disk, limit, before: history.mismatches(path, disk, limit, before), Aside())
        first = await found.latest("data1", 2, None)
        assert [(each.disk, each.number) for each in first] == [("data1", 3), ("data1", 2)]
        rest = await found.latest("data1", 9, (first[-1].run, first[-1].number))
        assert [(each.disk, each.number) for each in rest] == [("data1", 1), ("data1", 0)]
        assert await found.latest("", 9, ("gone", 1)) == []
        assert len(await found.latest("", 99, None)) == 8

    asyncio.run(asyncio.wait_for(main(), 20))

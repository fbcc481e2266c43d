"""Runs that are booked are judged, what was learnt outlives the agent, and belongs to one disk under one condition."""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import logging
import math
import sqlite3
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from fake_page import FakePage, histogram_of, result_of
from ledgers import READ, ledger_of, probe

from iovigil.agent import baseline_table, history
from iovigil.agent.archive import Archive
from iovigil.agent.baseline_table import KeptBaseline
from iovigil.agent.ledger import Failure, Ledger, ProbeEntry, RunResult
from iovigil.agent.slowdown.baseline import WARM_RUNS
from iovigil.agent.slowdown.foreign_load import ForeignLoad
from iovigil.agent.slowdown.meter import Meter
from iovigil.agent.slowdown.node import LEAST_FRESH_S, RECOUNT_S
from iovigil.agent.slowdown.track import State, Track
from iovigil.agent.slowdown.watch import UNREAD, UNREAD_S, Watch
from iovigil.engines.stats import Counter, Latency

BEGAN_UNIX = 1_700_000_000.0


def page_of(p50_s: float) -> FakePage:
    histogram = histogram_of(*[int(p50_s * 1e9)] * 400)
    return FakePage(
        counters={(Counter.BYTES, 0): 400 * 4096, (Counter.IOS, 0): 400},
        histograms={(Latency.CLAT, 0): histogram},
        runtimes_ns={0: 4_000_000_000},
    )


class Agent:
    """What an agent has of all this, on a clock of its own."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self.archive = Archive(path)
        self.ledger = ledger
        self.now_unix = BEGAN_UNIX
        self.watch = Watch(self.archive, lambda: self.ledger, now=lambda: self.now_unix)

    async def run(self, entry: ProbeEntry, p50_s: float = 0.004, times: int = 1, **more: Any) -> State:
        for _ in range(times):
            self.now_unix += entry.interval_s
            self.watch.begin(entry, self.ledger.disks[entry.disk])
            result = result_of(page_of(p50_s), entry.options)
            result = dataclasses.replace(
                result, disk=entry.disk, probe=entry.probe, engine="io_uring", ended_unix=self.now_unix
            )
            await self.book(entry, dataclasses.replace(result, **more))
        return self.track(entry).state

    async def book(self, entry: ProbeEntry, result: RunResult, *, is_cut_short: bool = False) -> None:
        self.watch.book(entry, result, is_cut_short=is_cut_short)
        async with asyncio.timeout(10):
            while self.watch._tasks:
                await asyncio.sleep(0)

    def track(self, entry: ProbeEntry) -> Track:
        return self.watch.tracks_of(entry)["read"]

    async def end(self) -> None:
        self.watch.keep()
        await self.archive.close(5.0)


def disks(number: int = 1) -> Ledger:
    ledger = ledger_of(*(probe(f"data{place}") for place in range(number)))
    for disk in ledger.disks.values():
        disk.path = f"/srv/{disk.name}/probe"
        disk.identity = {"wwn": f"wwn-{disk.name}", "scheduler": "none", "firmware": "A1"}
    return ledger


def only(ledger: Ledger) -> ProbeEntry:
    (entry,) = ledger.probes.values()
    return entry


@contextlib.asynccontextmanager
async def agent_on(path: Path, number: int = 1) -> AsyncIterator[Agent]:
    agent = Agent(path, disks(number))
    await agent.watch.load()
    yield agent
    await agent.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return history.database(tmp_path)


def test_a_slow_disk_is_told_by_its_runs(path: Path) -> None:
    async def scenario() -> None:
        async with agent_on(path) as agent:
            entry = only(agent.ledger)
            assert await agent.run(entry, times=WARM_RUNS) is State.LEARNING
            assert await agent.run(entry, times=30) is State.USUAL
            assert await agent.run(entry, 0.02, times=30) is State.SLOW
            track = agent.track(entry)
            assert track.ratio == pytest.approx(5.0, rel=0.02)
            assert track.score > 0

    asyncio.run(scenario())


def test_what_was_learnt_outlives_the_agent(path: Path) -> None:
    async def scenario() -> None:
        async with agent_on(path) as agent:
            entry = only(agent.ledger)
            await agent.run(entry, times=60)
            await agent.run(entry, 0.02, times=60)
            before, shown = agent.track(entry).kept(), entry.slowdown
        async with agent_on(path) as agent:
            entry = only(agent.ledger)
            assert agent.track(entry).kept() == before  # before any run
            assert entry.slowdown.operations == shown.operations
            agent.now_unix = before.last_unix
            assert await agent.run(entry, 0.02) is State.SLOW

    asyncio.run(scenario())


def test_what_was_learnt_is_kept_on_the_way_too(path: Path) -> None:
    """An agent that is killed has had no time for it."""

    async def scenario() -> None:
        agent = Agent(path, disks())
        await agent.run(only(agent.ledger), times=100)
        await agent.archive.close(5.0)
        (kept,) = history.baselines_of(path, "data0", "latency")
        assert (kept.disk, kept.probe, kept.operation) == ("data0", "latency", "read")

    asyncio.run(scenario())


def test_it_is_written_hourly_spread_over_the_hour_and_only_what_has_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        agent = Agent(path, disks(40))
        entries = list(agent.ledger.probes.values())
        times: dict[str, list[float]] = {}

        def keep(rows: Iterable[KeptBaseline]) -> None:
            for row in rows:
                times.setdefault(row.disk, []).append(agent.now_unix)

        monkeypatch.setattr(agent.archive, "keep", keep)
        idle = entries.pop()
        await agent.run(idle)
        for entry in entries:
            entry.interval_s = 0.0
        for _ in range(5 * 60):
            agent.now_unix += 60
            for entry in entries:
                await agent.run(entry)
        gaps = [after - before for each in times.values() for before, after in itertools.pairwise(each)]
        assert 3540 <= min(gaps) <= max(gaps) <= 3660
        assert {len(each) for each in times.values()} <= {4, 5}
        at_once = collections.Counter(at for each in times.values() for at in each)
        assert max(at_once.values()) < 8, "of 39"
        assert idle.disk not in times, "it has not run since"
        agent.watch.keep()
        agent.watch.keep()
        assert times[idle.disk] == [agent.now_unix], "once"
        assert len(times) == 40

    asyncio.run(scenario())


@pytest.mark.parametrize("label", ["firmware", "scheduler", "wwn"])
def test_another_condition_is_another_baseline_and_the_old_one_is_kept(
    path: Path, label: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with agent_on(path) as agent:
            entry, disk = only(agent.ledger), agent.ledger.disks["data0"]
            await agent.run(entry, times=60)
            was = disk.identity[label]
            disk.identity = disk.identity | {label: "other"}
            assert await agent.run(entry, 0.02) is State.LEARNING
            name = "disk" if label == "wwn" else label
            assert f"is set aside ({name} is other, was {was}): a new one begins" in caplog.text
            await agent.run(entry, 0.02, times=60)
            assert agent.track(entry).ratio == pytest.approx(1.0, rel=0.02)
            await agent.archive.close(5.0)
            disk.identity = disk.identity | {label: was}
            assert await agent.run(entry) is State.USUAL
            assert "that from before is taken up again" in caplog.text
            await agent.archive.close(5.0)
            assert len(history.baselines_of(path, "data0", "latency")) == 2

    asyncio.run(scenario())


def test_a_job_that_does_something_else_is_learnt_anew(path: Path) -> None:
    async def scenario() -> None:
        async with agent_on(path) as agent:
            entry = only(agent.ledger)
            await agent.run(entry, times=60)
            other = result_of(page_of(0.02), READ.__class__(rw="read", bs=(1 << 20,) * 3))
            await agent.book(entry, dataclasses.replace(other, disk="data0", probe="latency", engine="io_uring"))
            assert agent.track(entry).state is State.LEARNING

    asyncio.run(scenario())


def test_what_is_not_known_of_a_disk_is_no_change(path: Path) -> None:
    async def scenario() -> None:
        async with agent_on(path) as agent:
            entry, disk = only(agent.ledger), agent.ledger.disks["data0"]
            await agent.run(entry, times=60)
            known, disk.identity = disk.identity, {}
            assert await agent.run(entry) is State.USUAL
            disk.identity = known
            assert await agent.run(entry) is State.USUAL

    asyncio.run(scenario())


def test_a_run_that_failed_or_was_cut_short_says_nothing(path: Path) -> None:
    async def scenario() -> None:
        async with agent_on(path) as agent:
            entry = only(agent.ledger)
            await agent.run(entry, times=60)
            assert await agent.run(entry, 0.5, failure=Failure.IO_ERROR) is State.FEW
            result = dataclasses.replace(result_of(page_of(0.5), READ), disk="data0", engine="io_uring")
            await agent.book(entry, result, is_cut_short=True)
            assert agent.track(entry).state is State.FEW

    asyncio.run(scenario())


def test_when_most_disks_are_slow_at_once_it_is_none_of_them(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with agent_on(path, 4) as agent:
            entries = list(agent.ledger.probes.values())
            for _ in range(60):
                for entry in entries:
                    await agent.run(entry)
            for _ in range(40):
                for entry in entries[:3]:
                    await agent.run(entry, 0.02)
                await agent.run(entries[3])
            tracks = [agent.track(entry) for entry in entries]
            assert [track.state for track in tracks] == [State.NODE] * 3 + [State.USUAL]
            assert max(track.score for track in tracks) < 0.3
            assert agent.ledger.slow_disks_ratio == 0.75
            assert caplog.text.count("75 % of the disks are slow at once") == 1
            for _ in range(100):
                for entry in entries:
                    await agent.run(entry)
            assert agent.ledger.slow_disks_ratio == 0.0
            assert "most disks are not slow any more" in caplog.text

    asyncio.run(scenario())


def test_when_all_disks_hang_none_is_told_to_be_slow_any_more(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with agent_on(path, 3) as agent:
            for p50_s in [0.004] * 60 + [0.02] * 40:
                for entry in agent.ledger.probes.values():
                    await agent.run(entry, p50_s)
            assert agent.ledger.slow_disks_ratio == 1.0
            for _ in range(int(LEAST_FRESH_S) - 30):
                agent.now_unix += 1
                agent.watch.look()
            assert agent.ledger.slow_disks_ratio == 1.0, "as long as it is fresh"
            for _ in range(int(RECOUNT_S) + 60):
                agent.now_unix += 1
                agent.watch.look()
            assert agent.ledger.slow_disks_ratio == 0.0
            assert "or not judged any more" in caplog.text

    asyncio.run(scenario())


class Gate(Meter):
    """A look at the kernel's counters that takes until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = asyncio.Event()

    async def end(self, *_: Any) -> ForeignLoad:
        await self.is_open.wait()
        return ForeignLoad()


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_judgement_that_a_reload_overtakes_costs_no_other_probe_its_past(path: Path, is_gone: bool) -> None:
    async def scenario() -> None:
        agent, gate = Agent(path, disks()), Gate()
        late = only(agent.ledger)
        agent.watch._meter = gate
        result = dataclasses.replace(result_of(page_of(0.004), READ), disk="data0", engine="io_uring")
        agent.watch.book(late, result, is_cut_short=False)
        await asyncio.sleep(0)
        agent.ledger = disks(2)
        if not is_gone:
            agent.ledger.probes["data0", "latency"] = late
        new = [entry for entry in agent.ledger.probes.values() if entry is not late]
        for entry in new:
            agent.watch._past(entry).tracks["read"] = Track()
        tracks = [agent.watch.tracks_of(entry)["read"] for entry in new]
        gate.is_open.set()
        async with asyncio.timeout(10):
            while agent.watch._tasks:
                await asyncio.sleep(0)
        assert [agent.watch.tracks_of(entry).get("read") for entry in new] == tracks

    asyncio.run(scenario())


def test_what_was_learnt_of_a_probe_that_a_reload_drops_is_kept_and_found_again_at_once(path: Path) -> None:
    async def scenario() -> None:
        agent = Agent(path, disks())
        await agent.run(only(agent.ledger), times=60)
        learnt = agent.track(only(agent.ledger)).kept()
        agent.ledger = disks()  # another account of the same disk
        assert await agent.run(only(agent.ledger)) is State.USUAL
        assert agent.track(only(agent.ledger)).kept().baselines[0].runs == learnt.baselines[0].runs + 1

    asyncio.run(scenario())


@pytest.mark.parametrize("interval_s", [10.0, 30.0, 86_400.0])
def test_without_a_history_it_begins_anew_in_the_end_and_not_at_once(path: Path, interval_s: float) -> None:
    """A history that is slow to answer, or looked over, for a while must not cost what a year has taught."""
    path.mkdir()  # which no database can be

    async def scenario() -> None:
        agent = Agent(path, disks())
        entry = only(agent.ledger)
        entry.interval_s = interval_s
        for _ in range(max(UNREAD, math.ceil(UNREAD_S / interval_s))):
            with contextlib.suppress(KeyError):
                await agent.run(entry)
            assert not agent.watch.tracks_of(entry)
        assert await agent.run(entry) is State.LEARNING

    asyncio.run(scenario())


def test_what_cannot_be_read_of_it_begins_anew(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = KeptBaseline("data0", "latency", "read", "{}", 1.0, b"nonsense")
    history.write(path, [], [], baselines=[row])

    async def scenario() -> None:
        async with agent_on(path) as agent:
            assert await agent.run(only(agent.ledger)) is State.LEARNING

    asyncio.run(scenario())
    assert "begins anew" in caplog.text


def test_a_few_baselines_of_each_are_kept(path: Path) -> None:
    for number in range(9):
        row = KeptBaseline("data0", "latency", "read", f"firmware {number}", 1000.0 + number, b"")
        history.write(path, [], [], baselines=[row, row._replace(disk="data1")])
    kept = [row.conditions for row in history.baselines_of(path, "data0", "latency")]
    assert kept == [f"firmware {number}" for number in (8, 7, 6, 5)]
    latest = history.latest_baselines(path, {("data1", "latency"), ("data9", "latency")})
    assert [(row.disk, row.conditions) for row in latest] == [("data1", "firmware 8")]


def test_and_of_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they take: those that were not seen for longest go first."""
    monkeypatch.setattr(baseline_table, "ALL_BYTES", 5 * 4400)
    for number in range(9):
        row = KeptBaseline(f"data{number}", "p", "read", "", 1000.0 + number, bytes(4000))
        history.write(path, [], [], baselines=[row])
    kept = history.latest_baselines(path, {(f"data{number}", "p") for number in range(9)})
    assert [row.disk for row in kept] == [f"data{number}" for number in (4, 5, 6, 7, 8)]


def test_what_is_kept_again_is_there_once_and_counted_once(path: Path) -> None:
    row = KeptBaseline("data0", "p", "read", "ü" * 100, 1000.0, bytes(1000))
    for number in range(5):
        history.write(path, [], [], baselines=[row._replace(kept_unix=1000.0 + number, state=bytes(5000 + number))])
    (kept,) = history.baselines_of(path, "data0", "p")
    assert (kept.kept_unix, len(kept.state)) == (1004.0, 5004)
    with history.opened(path) as connection:
        assert baseline_table.used_bytes(connection, 4096) == 8192
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT sum(bytes) FROM baselines").fetchall()
        assert "COVERING INDEX" in plan[0][3], "they are not read one and all at each write"


def test_a_history_whose_baselines_have_no_size_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = KeptBaseline("data0", "latency", "read", "{}", 1.0, bytes(5000))
    with monkeypatch.context() as patch:
        patch.setattr(history, "MIGRATIONS", history.MIGRATIONS[:4])
        with history.opened(path) as connection, connection:
            history.insert(connection, "baselines", KeptBaseline._fields, [row], "")
    assert history.baselines_of(path, "data0", "latency") == [row]
    with history.opened(path) as connection:
        assert baseline_table.used_bytes(connection, 4096) == 8192


def test_a_history_of_the_version_before_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(history, "MIGRATIONS", history.MIGRATIONS[:3])
        with history.opened(path):
            pass
    assert history.baselines_of(path, "data0", "latency") == []
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(history.MIGRATIONS),)
    connection.close()


def test_a_ratio_that_is_not_known_survives_being_kept(path: Path) -> None:
    async def scenario() -> None:
        async with agent_on(path) as agent:
            await agent.run(only(agent.ledger))
        async with agent_on(path) as agent:
            assert math.isnan(agent.track(only(agent.ledger)).ratio)

    asyncio.run(scenario())

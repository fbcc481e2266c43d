"""An agent's site with disks in every state, served on a port of this machine: `python tests/unit/status_site.py`."""

import asyncio
import math
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fake_page import FakePage, histogram_of, result_of
from histories import row
from ledgers import READ, WRITE_AND_VERIFY, ledger_of, probe

from iovigil.agent.config import WebSettings
from iovigil.agent.history import Mismatched
from iovigil.agent.ledger import Failure, Ledger, Skip
from iovigil.agent.pauses import Pause
from iovigil.agent.run_record import RunRecord
from iovigil.agent.supervisor import Busy
from iovigil.agent.web import Server
from iovigil.agent.web.api import Api
from iovigil.agent.web.site import Site
from iovigil.engines.stats import Latency, RunState, StatsPage

MODELS = ("INTEL SSDPE2KX040T8", "SAMSUNG MZQL23T8HCLS", "ST16000NM001G-2KK103", "WDC WUH721816ALE6L4")
PROBES = {"latency": READ, "integrity": WRITE_AND_VERIFY, "throughput": READ, "scrub": READ}


@dataclass(kw_only=True)
class FakeUpcoming:
    disk: str
    probe: str
    next_unix: float
    due_unix: float | None = None
    last_skip: str | None = None
    last_skip_unix: float | None = None


@dataclass
class FakeControl:
    """A control that remembers what it was told."""

    pauses: list[Pause] = field(default_factory=list)
    started: list[tuple[str, str]] = field(default_factory=list)
    busy: dict[tuple[str, str], Skip] = field(default_factory=dict)

    def pause(self, disk: str = "*", probe: str = "*", *, until_unix: float | None = None, reason: str = "") -> None:
        self.pauses.append(Pause(disk, probe, time.time(), until_unix, reason))

    def resume(self, disk: str = "*", probe: str = "*") -> None:
        self.pauses = [each for each in self.pauses if (each.disk, each.probe) != (disk, probe)]

    def paused(self) -> Sequence[Pause]:
        return tuple(self.pauses)

    def run_now(self, disk: str, probe: str) -> None:
        if (disk, probe) in self.busy:
            raise Busy(self.busy[disk, probe])
        self.started.append((disk, probe))


@dataclass
class FakePlan:
    turns: list[FakeUpcoming] = field(default_factory=list)

    def upcoming(self) -> Sequence[FakeUpcoming]:
        return self.turns


@dataclass
class FakeRuns:
    records: list[RunRecord] = field(default_factory=list)
    """Oldest first."""

    def add(self, record: RunRecord) -> None:
        self.records.append(record)

    async def latest(
        self,
        disk: str | None = None,
        probe: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
        *,
        is_failed: bool = False,
    ) -> Sequence[RunRecord]:
        found = [
            each
            for each in reversed(self.records)
            if disk in (None, each.disk)
            and probe in (None, each.probe)
            and (before_id is None or each.id < before_id)
            and (each.failure or not is_failed)
        ]
        return found[:limit]

    async def run(self, id: int) -> RunRecord | None:  # noqa: A002
        return next((each for each in self.records if each.id == id), None)


@dataclass
class FakeMismatches:
    rows: list[Mismatched] = field(default_factory=list)
    """Oldest first."""

    async def latest(self, disk: str, limit: int, before: tuple[str, int] | None) -> Sequence[Mismatched]:
        newest_first = [each for each in reversed(self.rows) if disk in ("", each.disk)]
        if before is not None:
            keys = [(each.run, each.number) for each in newest_first]
            newest_first = newest_first[keys.index(before) + 1 :]
        return newest_first[:limit]


@dataclass
class FakeAgent:
    """All that the site asks, for a test to set."""

    ledger: Ledger = field(default_factory=lambda: ledger_of(probe()))
    runs: FakeRuns = field(default_factory=FakeRuns)
    mismatches: FakeMismatches = field(default_factory=FakeMismatches)
    control: FakeControl | None = field(default_factory=FakeControl)
    plan: FakePlan = field(default_factory=FakePlan)
    is_control_enabled: bool = False
    web: WebSettings = field(default_factory=WebSettings)

    def server(self) -> Server:
        async def reload() -> list[str]:
            return []

        api = Api(
            lambda: self.ledger,
            self.runs,
            self.mismatches,
            plan=self.plan,
            control=self.control,
            is_control_enabled=lambda: self.is_control_enabled,
            host="store-07.example.net",
        )
        return Server(lambda: self.ledger, reload, lambda: True, time.monotonic, Site(api))


def page_of(p50_s: float, p99_s: float) -> FakePage:
    values = [*[int(p50_s * 1e9)] * 97, *[int(p99_s * 1e9)] * 3]
    return FakePage(histograms={(Latency.CLAT, ddir): histogram_of(*values) for ddir in (0, 1)})


def storage_node(disks: int = 12, runs: int = 60) -> FakeAgent:
    """A node with a disk in every state; the same one every time."""
    chance, now_unix = random.Random(7), time.time()
    names = [f"nvme-{place:02d}" if place < disks // 2 else f"hdd-{place:02d}" for place in range(disks)]
    entries = [probe(disk, name, options) for disk in names for name, options in PROBES.items()]
    entries = [each for each in entries if not (each.disk.startswith("nvme") and each.probe == "scrub")]
    agent = FakeAgent(ledger_of(*entries, workers_running=2, workers_abandoned=1))
    numbers = iter(range(1, 1 << 30))
    planned: list[tuple[float, RunRecord]] = []
    for place, entry in enumerate(entries):
        base_s = 0.00012 if entry.disk.startswith("nvme") else 0.0085
        slow = 6.0 if entry.disk == names[2] else 1.0
        for turn in range(runs):
            started_unix = now_unix - 30 * (runs - turn) + place * 0.3
            drift = 1 + 0.2 * math.sin(turn / 7 + place) + chance.random() * 0.25
            worse = slow if turn > runs * 0.6 else 1.0
            p50_s, p99_s = base_s * drift, base_s * drift * worse * (3 + chance.random())
            failure = "timeout" if chance.random() < 0.004 else ""
            message = f"{entry.disk}: the run did not end within 15 s" if failure else ""
            quantiles = {"0.5": p50_s, "0.99": p99_s, "0.999": p99_s * 2, "max": p99_s * 4}
            moved = ["read", "write"] if entry.probe == "integrity" else ["read"]
            planned.append(
                (
                    started_unix,
                    RunRecord(
                        id=0,
                        name=f"{entry.disk}/{entry.probe}/{started_unix:.3f}",
                        disk=entry.disk,
                        probe=entry.probe,
                        started_unix=started_unix,
                        duration_s=10.0,
                        engine=entry.engine,
                        failure=failure,
                        message=message,
                        messages=("io_uring: 8 requests were cancelled", message) if failure else (),
                        exit_status=None if failure else 0,
                        signal=9 if failure else None,
                        options={"rw": entry.options.rw, "bs": "4k", "iodepth": str(entry.options.iodepth)},
                        ios=dict.fromkeys(moved, 12000),
                        bytes=dict.fromkeys(moved, 12000 * 4096),
                        errors=dict.fromkeys(moved, 0),
                        latency_s={} if failure else dict.fromkeys(moved, quantiles),
                    ),
                )
            )
        entry.last = result_of(
            page_of(base_s, base_s * 3.4 * slow), entry.options, started_unix=now_unix - 20, ended_unix=now_unix - 10
        )
        entry.runs = runs
        agent.plan.turns.append(
            FakeUpcoming(disk=entry.disk, probe=entry.probe, next_unix=now_unix + 600 + 20 * (place % 9))
        )
    set_states(agent, names, now_unix, planned)
    for _, run in sorted(planned, key=lambda each: each[0]):
        agent.runs.add(RunRecord(**{**vars(run), "id": next(numbers)}))
    for place, disk in enumerate(agent.ledger.disks.values()):
        disk.target = "device" if place % 2 else "file"
        disk.path = f"/srv/{disk.name}/.iovigil"
        disk.identity = {
            "device": f"nvme{place}n1" if disk.name.startswith("nvme") else f"sd{chr(97 + place)}",
            "model": MODELS[place % 2 + (0 if disk.name.startswith("nvme") else 2)],
            "serial": f"S4YNNE0N{place:05d}",
            "firmware": "GDC5602Q",
            "transport": "nvme" if disk.name.startswith("nvme") else "sas",
        }
    return agent


def set_states(agent: FakeAgent, names: list[str], now_unix: float, planned: list[tuple[float, RunRecord]]) -> None:
    probes, turns = agent.ledger.probes, {(turn.disk, turn.probe): turn for turn in agent.plan.turns}
    for name, state in ((names[0], RunState.RUNNING), (names[3], RunState.VERIFYING)):
        page = probes[name, "integrity"].live = StatsPage.private()
        page.state = state
    stuck = names[7]
    probes[stuck, "latency"].stuck = StatsPage.private()
    agent.ledger.disks[stuck].is_stuck = True
    failed = probes[names[4], "integrity"]
    message = f"{names[4]}: data corruption: <b>stale</b> block at offset 1310720: generation 41 where 57 was written"
    failed.last = result_of(
        page_of(0.0002, 0.0009),
        failed.options,
        started_unix=now_unix - 95,
        ended_unix=now_unix - 90,
        failure=Failure.VERIFY,
        message=message,
    )
    failed.last_mismatch_unix = now_unix - 90
    planned.append(
        (
            now_unix - 95,
            RunRecord(
                id=0,
                name=f"{names[4]}/integrity/{now_unix - 95:.3f}",
                disk=names[4],
                probe="integrity",
                started_unix=now_unix - 95,
                duration_s=5.0,
                engine="io_uring",
                failure="verify",
                message=message,
                messages=("warning: io_uring: queue depth lowered to 4", message, "stopped at the first mismatch"),
                exit_status=3,
                verified_bytes=1 << 30,
                mismatches={"stale": 2},
                options={"rw": "randwrite", "bs": "64k", "verify": "crc32c"},
                ios={"read": 900, "write": 16000},
                bytes={"read": 58982400, "write": 1 << 30},
                errors={"read": 0, "write": 0},
            ),
        )
    )
    text = "data corruption: stale block on disk {} at offset {}, length 4096: generation 41 where 57 was expected"
    agent.mismatches.rows = [
        row(
            place,
            names[4],
            run=f"{names[4]}/integrity/{now_unix - 95:.3f}",
            found_unix=now_unix - 92 + place,
            text=text.format(names[4], 1310720 + place * 4096),
            offset=1310720 + place * 4096,
            dumps="/var/lib/iovigil/dumps/one\n/var/lib/iovigil/dumps/two",
        )
        for place in range(2)
    ]
    agent.ledger.disks[names[9]].is_present = False
    error = probes[names[8], "throughput"]
    error.last = result_of(
        FakePage(),
        error.options,
        started_unix=now_unix - 310,
        ended_unix=now_unix - 300,
        failure=Failure.IO_ERROR,
        message=f"{names[8]}: read at offset 7340032 failed: Input/output error (EIO)",
    )
    skipped = turns[names[5], "throughput"]
    skipped.last_skip, skipped.last_skip_unix = Skip.CONCURRENCY, now_unix - 5
    assert agent.control is not None
    agent.control.pause(names[10], "*", until_unix=now_unix + 7200, reason="backplane is being replaced")
    turns[names[1], "throughput"].due_unix = now_unix - 2
    probes[names[6], "latency"].last = None
    probes[names[6], "latency"].runs = 0


def at_site(agent: FakeAgent, client: Callable[[str], Awaitable[Any]], deadline_s: float = 30.0) -> Any:
    """Serve it, and call the client with its address."""

    async def main() -> Any:
        server = agent.server()
        await server.start("127.0.0.1:0", agent.web)
        try:
            return await client(f"http://{server.address}")
        finally:
            await server.stop()

    return asyncio.run(asyncio.wait_for(main(), deadline_s))


if __name__ == "__main__":

    async def forever() -> None:
        agent = storage_node(int(sys.argv[2]) if len(sys.argv) > 2 else 12)
        agent.is_control_enabled = True
        server = agent.server()
        await server.start(f"127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 0}")
        print(f"http://{server.address}/", flush=True)
        await asyncio.sleep(3600)

    asyncio.run(forever())

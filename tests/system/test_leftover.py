"""Children that a former agent left behind: found by the page that they hold open, and by nothing else."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_until

from iovigil.agent import leftover
from iovigil.agent.bequest import Bequest
from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry, Skip
from iovigil.agent.supervisor import Supervisor
from iovigil.engines.options import JobOptions

DISK = DiskSettings(name="data0", file="/nowhere/probe")
DEADLINE_S = 10.0


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="iovigil-test-", dir="/dev/shm") as place:
        yield Path(place) / "accounts"


def ledger() -> Ledger:
    entry = ProbeEntry(disk="data0", probe="latency", options=JobOptions(), interval_s=60, timeout_s=1, engine="psync")
    disk = DiskEntry(name="data0", path=DISK.path, is_present=True)
    return Ledger(disks={"data0": disk}, probes={("data0", "latency"): entry})


@pytest.fixture
def child(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a page of that directory open, whose file the agent has removed since."""
    books = ledger()
    bequest = Bequest(directory)
    bequest.open(books)
    page = bequest.page(books.probes["data0", "latency"], DISK.place)
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        pass_fds=[page.fileno()],
    )
    assert process.stdout is not None
    process.stdout.readline()
    del page
    bequest.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        process.stdout.close()


def test_a_child_of_an_agent_that_has_gone_holds_its_disk_until_it_has_gone_too(
    directory: Path, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ledger()
    supervisor = Supervisor(books, max_workers=1)
    entry = books.probes["data0", "latency"]

    async def scenario() -> None:
        [left] = await leftover.gone(leftover.find(directory, books), 0.2)
        assert left.pid == child.pid
        first = books.disks["data0"].identity = {"device": "sda", "serial": "A"}
        supervisor.take_over([left])
        disk = books.disks["data0"]
        assert (disk.is_stuck, disk.is_quarantined, disk.held_by) == (True, False, child.pid)
        assert supervisor.blocker(DISK, entry) is Skip.STUCK
        assert books.workers_abandoned == 1
        released, held = supervisor.release("data0")
        assert (released, f"child {child.pid} " in held[0]) == ([], True)
        monkeypatch.setattr(leftover.LeftOver, "age_s", 11.0)
        supervisor.look()
        assert (disk.is_quarantined, disk.quarantines) == (True, 1)
        disk.identity = {"device": "sdb", "serial": "B"}
        supervisor.look()
        supervisor.look()
        assert (disk.is_stuck, disk.is_quarantined, disk.quarantines) == (False, False, 1), "another disk is there"
        disk.identity = first
        supervisor.look()
        assert (disk.is_stuck, disk.is_quarantined, disk.quarantines) == (True, True, 2)
        child.kill()
        end_s = asyncio.get_running_loop().time() + DEADLINE_S
        while books.workers_abandoned:
            assert asyncio.get_running_loop().time() < end_s
            await asyncio.sleep(0.01)
        assert supervisor.blocker(DISK, entry) is None
        assert supervisor.is_trial_due(DISK, entry)
        assert disk.is_quarantined, "not good before a run has ended"

    asyncio.run(scenario())


def test_a_child_that_is_about_to_end_is_no_trouble(directory: Path, child: subprocess.Popen[bytes]) -> None:
    found = leftover.find(directory, ledger())
    child.kill()
    assert asyncio.run(leftover.gone(found, 5.0)) == []


def test_children_of_other_agents_and_of_disks_that_are_not_watched_are_none_of_ours(
    directory: Path, child: subprocess.Popen[bytes]
) -> None:
    assert child.poll() is None
    assert leftover.find(None, ledger()) == []
    assert leftover.find(directory.with_name("accounts-of-another"), ledger()) == []
    assert leftover.find(directory, Ledger()) == []
    wait_until(lambda: leftover.find(directory, ledger()), "the child")

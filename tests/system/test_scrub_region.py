"""A scrub of the region that is the agent's on a raw device, by the agent's own way: order, launcher, guard, child."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_runs import CLOCK, DEADLINE_S, Outcome, RunningJob, job_options

from iovigil.agent import order
from iovigil.agent.config import DiskSettings, RegionSettings, ScrubSettings
from iovigil.agent.disks import possession
from iovigil.agent.worker import Worker
from iovigil.engines.stats import Mismatch, StatsPage

MIB = 1 << 20
BLOCK = 16 << 10
REGION = (2 * MIB, 4 * MIB)
FIRST = REGION[0] + 4096  # behind the header

pytestmark = pytest.mark.requires_loop


def scrub(device: Path, state: Path, cycles: int = 1) -> Outcome:
    disk = DiskSettings(name="scrubbed", device=str(device), region=RegionSettings(*REGION))
    options = job_options(rw="rw", bs=BLOCK, ioengine="psync", direct=1)
    settings = ScrubSettings(n=3, period_s=0.0, every_s=0.0)
    told = order.scrub_order(settings, options, state_path=str(state), cycles=cycles)
    page = StatsPage.create()
    page.calibrate(CLOCK.source())
    page.release()
    worker = Worker.spawn(order.order(disk, options, "psync", is_probe_file=True, scrub=told), page)
    try:
        return RunningJob(worker, page).outcome(DEADLINE_S)
    finally:
        worker.kill()
        worker.close()


def outside(device: Path) -> tuple[bytes, bytes]:
    contents = device.read_bytes()
    return contents[:FIRST], contents[sum(REGION) :]


def change(device: Path, at: int, data: bytes) -> None:
    with device.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.fixture
def device(loop_device: Callable[..., Path]) -> Path:
    device = loop_device(8 * MIB)
    change(device, 7 * MIB, b"theirs" * 500)
    return device


def test_a_region_is_scrubbed_and_nothing_beside_it(device: Path, tmp_path: Path) -> None:
    assert possession.claim("scrubbed", str(device), REGION)
    before = outside(device)
    state = tmp_path / "state" / "scrub" / "s@d"
    done = scrub(device, state, cycles=4)
    assert done.status == 0, done.show()
    assert outside(device) == before
    figures: Any = done.page.scrub
    assert figures.region_bytes == (REGION[1] - 4096) // BLOCK * BLOCK
    assert figures.cycles_completed == 4

    damaged = FIRST + 10 * BLOCK
    change(device, damaged + 700, b"x")
    change(device, damaged + BLOCK, bytes(BLOCK))
    found = scrub(device, state)
    assert [(record.kind, record.offset) for record in found.page.mismatches()] == [
        (Mismatch.CHECKSUM, damaged),
        (Mismatch.ZEROED, damaged + BLOCK),
    ]
    assert scrub(device, state, cycles=3).status == 0
    assert outside(device) == before


def test_a_region_that_was_claimed_anew_is_scrubbed_anew(device: Path, tmp_path: Path) -> None:
    state = tmp_path / "scrub" / "s@d"
    assert possession.claim("scrubbed", str(device), REGION)
    assert scrub(device, state, cycles=2).status == 0
    possession.release("scrubbed", str(device), REGION)
    change(device, FIRST, b"somebody else" * 10_000)
    assert possession.claim("scrubbed", str(device), REGION)
    done = scrub(device, state, cycles=2)
    assert done.status == 0, done.show()
    assert any("claimed anew" in message for message in done.messages)

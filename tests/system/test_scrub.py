"""Scrubs of real files by real children: killed at any moment, stopped, and confronted with every kind of damage."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until
from scrub_alone import Scrubbed, scrub_to_the_end, scrubbing

from iovigil.engines.scrub_state import ScrubState
from iovigil.engines.stats import Mismatch

BLOCK = 4096
BLOCKS = 256
WINDOW = 16
ENDLESS = 1_000_000
ENGINES = [pytest.param("io_uring", marks=pytest.mark.requires_io_uring), "libaio", "psync", "posixaio"]


class Region:
    """A file that is scrubbed, and its state."""

    def __init__(self, directory: Path, **more: Any) -> None:
        self.path = directory / "region"
        self.state_path = directory / "state"
        self.path.write_bytes(os.urandom(BLOCK * BLOCKS))
        self.more = {"bs": BLOCK, "n": 3, "window": WINDOW * BLOCK, **more}

    def scrub(self, cycles: int = 1, **more: Any) -> Scrubbed:
        return scrub_to_the_end(self.path, self.state_path, cycles=cycles, **{**self.more, **more})

    def state(self) -> dict[str, Any]:
        fd = os.open(self.state_path, os.O_RDWR)
        try:
            return ScrubState(fd).read()
        finally:
            os.close(fd)

    def position(self) -> int:
        state = self.state()
        return int(state["cycle"] * BLOCKS + state["cursor"])

    def block(self, number: int) -> bytes:
        return self.path.read_bytes()[number * BLOCK : (number + 1) * BLOCK]

    def put(self, number: int, data: bytes) -> None:
        fd = os.open(self.path, os.O_RDWR)
        os.pwrite(fd, data, number * BLOCK)
        os.fsync(fd)
        os.close(fd)

    def settled(self) -> list[int]:
        """Blocks outside of the window that was under way."""
        state = self.state()
        return [block for block in range(BLOCKS) if not state["cursor"] <= block < state["window_end"]]


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_scrubs(region: Region, engine: str) -> None:
    done = region.scrub(cycles=4, ioengine=engine, iodepth=8)
    assert done.status == 0, done.show()
    assert done.page.scrub is not None
    assert done.page.scrub.cycles_completed == 4
    assert done.page.counter(1, 0) == 3 * BLOCKS * BLOCK


def cut_short(region: Region, dice: random.Random, engine: str) -> None:
    """Let it scrub for a moment, and end it: mostly as SIGKILL does."""
    with scrubbing(region.path, region.state_path, cycles=ENDLESS, ioengine=engine, iodepth=4, **region.more) as scrub:
        wait_until(lambda: scrub.page.first_io_ns or scrub.process.poll() is not None, "the scrub has begun")
        time.sleep(dice.random() ** 2 * 0.06)
        is_gentle = dice.random() < 0.25
        scrub.process.send_signal(signal.SIGTERM if is_gentle else signal.SIGKILL)
        ended = scrub.end()
        figures = ended.page.scrub
        assert figures is not None
        assert ended.status == (0 if is_gentle else -signal.SIGKILL), ended.show()
        assert not ended.mismatches, ended.show()
        assert not ended.page.total_errors
        assert region.position() >= figures.cycle * BLOCKS + figures.cursor_bytes // BLOCK


@pytest.mark.parametrize("engine", ENGINES[:3])
def test_a_hundred_kills_raise_no_alarm_and_hide_no_damage(region: Region, engine: str) -> None:
    dice = random.Random(engine)
    reached = 0
    older: dict[int, list[bytes]] = {block: [] for block in range(BLOCKS)}
    found = 0
    for kill in range(34):
        cut_short(region, dice, engine)
        assert region.position() >= reached - WINDOW
        reached = region.position()
        settled = region.settled()
        contents = region.path.read_bytes()
        if kill % 5 == 4 and reached > 4 * BLOCKS:
            spoilt = spoil(region, dice, settled, older)
            done = region.scrub(cycles=2)
            assert {record.offset // BLOCK: record.kind for record in done.page.mismatches()} == spoilt, done.show()
            assert done.status == 1
            assert "data corruption" in done.page.text
            found += len(spoilt)
            reached = region.position()
        for block in settled:
            data = contents[block * BLOCK : (block + 1) * BLOCK]
            if data not in older[block]:
                older[block].append(data)
    assert found > 10
    done = region.scrub(cycles=3)
    assert done.status == 0, done.show()


def spoil(
    region: Region, dice: random.Random, settled: list[int], older: dict[int, list[bytes]]
) -> dict[int, Mismatch]:
    """Damage settled blocks in every way; which kind is to be found where."""
    flipped, zeroed, one, other = dice.sample(settled, 4)
    data = bytearray(region.block(flipped))
    data[dice.randrange(100, BLOCK)] ^= 1 << dice.randrange(8)
    contents = {flipped: bytes(data), zeroed: bytes(BLOCK), one: region.block(other), other: region.block(one)}
    kinds = {
        flipped: Mismatch.CHECKSUM,
        zeroed: Mismatch.ZEROED,
        one: Mismatch.MISPLACED,
        other: Mismatch.MISPLACED,
    }
    for block in settled:
        olds = [old for old in older[block][1:] if old != region.block(block)]
        if block not in contents and olds:
            contents[block], kinds[block] = olds[0], Mismatch.STALE
            break
    for block, damage in contents.items():
        region.put(block, damage)
    return kinds


def test_at_a_rate_reads_and_writes_together_keep_it(region: Region) -> None:
    region.scrub()
    begun = time.monotonic()
    done = region.scrub(rate="1m", n=1)
    assert done.status == 0, done.show()
    # A cycle reads and writes 1 MiB here, the first of n=1 no more than a third.
    assert done.page.counter(1, 0) == BLOCKS * BLOCK
    assert time.monotonic() - begun > 1.0
    assert done.page.counter(4, 0) == done.page.counter(4, 1) == 0


def test_when_its_time_is_over_it_ends_with_a_window_that_is_whole(region: Region) -> None:
    region.scrub()
    done = region.scrub(cycles=ENDLESS, rate="512k", runtime="300ms", time_based=1)
    assert done.status == 0, done.show()
    state = region.state()
    assert state["window_end"] == state["cursor"] > 0
    assert region.scrub(cycles=3).status == 0


def test_a_probe_file_made_anew_is_scrubbed_anew(region: Region) -> None:
    region.scrub(cycles=3)
    region.path.unlink()
    region.path.write_bytes(os.urandom(BLOCK * BLOCKS))
    done = region.scrub(cycles=2)
    assert done.status == 0, done.show()
    assert "has been made anew" in done.said


def test_a_state_that_is_lost_is_said(region: Region) -> None:
    first = region.scrub(cycles=2)
    assert not first.said
    region.state_path.unlink()
    done = region.scrub(cycles=2, direct=1) if supports_direct(region.path) else region.scrub(cycles=2)
    assert done.status == 0, done.show()
    assert "warning: scrub: " in done.said
    assert "is empty; the region is written anew" in done.said


def supports_direct(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_DIRECT))
    except OSError:
        return False
    return True


def test_without_room_for_its_state_it_ends_before_it_writes(region: Region) -> None:
    region.scrub()
    before = region.path.read_bytes()
    region.state_path.unlink()
    region.state_path.symlink_to("/dev/full")
    done = region.scrub()
    assert done.status != 0
    assert "the state of the scrub has to be kept there" in done.said, done.show()
    assert region.path.read_bytes() == before

"""Loss of power under real scrubs, made again from what reached region and state: each loses what it did not flush."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from processes import started, wait_until
from recording_fs import FLUSH, NAMES, WRITE, Event, read_events
from scrub_alone import Scrubbed, scrub_to_the_end, scrubbing

from iovigil.engines.scrub_state import SLOT_BYTES, ScrubState
from iovigil.engines.stats import Mismatch

PROGRAM = Path(__file__).with_name("recording_fs.py")
BLOCK: Final = 8192
BLOCKS: Final = 64
REGION: Final = BLOCK * BLOCKS
WINDOW: Final = 8
SECTOR: Final = 512
N: Final = 3
CUTS: Final = 150
KILLS: Final = 6
UNMOUNT_S: Final = 10.0
pytestmark = pytest.mark.requires_fuse
ENDLESS: Final = 1_000_000
OPTIONS: Final[dict[str, Any]] = {
    "bs": BLOCK, "n": N, "window": WINDOW * BLOCK, "ioengine": "libaio", "iodepth": 4, "direct": 1,
}  # fmt: skip
Contents = dict[str, bytes]


@dataclass
class Recorded:
    """Region and state on a file system that notes what is written to them."""

    point: Path
    backing: Path
    log: Path

    def scrub(self, cycles: int, **more: Any) -> Scrubbed:
        return scrub_to_the_end(self.point / "region", self.point / "state", cycles=cycles, **{**OPTIONS, **more})

    def kill(self, after_s: float, **more: Any) -> None:
        """Let it scrub for a moment, and end it as SIGKILL does."""
        with scrubbing(self.point / "region", self.point / "state", cycles=ENDLESS, **{**OPTIONS, **more}) as scrub:
            wait_until(lambda: scrub.page.first_io_ns or scrub.process.poll() is not None, "the scrub has begun")
            time.sleep(after_s)
            scrub.kill()
            assert not scrub.end().mismatches

    def contents(self) -> Contents:
        return {name: (self.backing / name).read_bytes() for name in NAMES}

    def put(self, contents: Contents) -> None:
        for name, data in contents.items():
            (self.backing / name).open("r+b").write(data)
            os.truncate(self.backing / name, len(data))

    def state(self) -> dict[str, Any] | None:
        fd = os.open(self.backing / "state", os.O_RDWR)
        try:
            return ScrubState(fd).read()
        except ValueError:
            return None
        finally:
            os.close(fd)


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    point, backing = tmp_path / "mount", tmp_path / "backing"
    point.mkdir()
    backing.mkdir()
    (backing / "region").write_bytes(os.urandom(REGION))
    (backing / "state").touch()
    made = Recorded(point, backing, tmp_path / "log")
    command = [sys.executable, str(PROGRAM), str(backing), str(point), str(made.log)]
    with started(command, log=tmp_path / "recorder.log"):
        try:
            wait_until(lambda: (point / "region").exists(), "the recording file system is mounted")
            yield made
        finally:
            subprocess.run(["umount", "--lazy", point], timeout=UNMOUNT_S, check=False)


def after_the_cut(before: Contents, events: list[Event], now: int, dice: random.Random | None) -> Contents:
    """What both files hold when the power goes at tick `now`; without dice what is certainly there."""
    contents = {name: bytearray(data) for name, data in before.items()}
    pending: list[Event] = []
    for name in NAMES:
        own = [event for event in events if event.name == name and event.begun < now]
        flushed = max((event.begun for event in own if event.kind == FLUSH and event.ended < now), default=-1)
        for event in own:
            if event.kind == WRITE and event.ended < flushed:
                put(contents[name], event.offset, event.data)
            elif event.kind == WRITE:
                pending.append(event)
    if dice:
        dice.shuffle(pending)
        for event in pending:
            share = dice.choice((0.0, 0.5, 1.0))
            for at in range(0, len(event.data), SECTOR):
                if dice.random() < share:
                    put(contents[event.name], event.offset + at, event.data[at : at + SECTOR])
    return {name: bytes(data) for name, data in contents.items()}


def place_of(state: dict[str, Any]) -> int:
    return int(state["cycle"] * BLOCKS + state["cursor"])


def put(contents: bytearray, offset: int, data: bytes) -> None:
    contents.extend(bytes(max(0, offset - len(contents))))
    contents[offset : offset + len(data)] = data


def block_of(region: bytes | bytearray, block: int) -> bytes:
    return bytes(region[block * BLOCK : (block + 1) * BLOCK])


def test_the_events_make_both_files_as_they_are(recorded: Recorded) -> None:
    before = recorded.contents()
    assert recorded.scrub(3).status == 0
    events = read_events(recorded.log)
    after = {name: bytearray(data) for name, data in before.items()}
    for event in events:
        if event.kind == WRITE:
            put(after[event.name], event.offset, event.data)
    assert {name: bytes(data) for name, data in after.items()} == recorded.contents()
    assert len(after["state"]) == 2 * SLOT_BYTES


def test_what_a_killed_process_wrote_of_the_state_is_flushed_before_the_other_slot_is_written(
    recorded: Recorded,
) -> None:
    recorded.scrub(1)
    before = len(read_events(recorded.log))
    recorded.scrub(1)
    own = [event.kind for event in read_events(recorded.log)[before:] if event.name == "state"]
    assert own[:5] == [FLUSH, WRITE, FLUSH, WRITE, FLUSH]


@pytest.mark.parametrize("engine", ["libaio", "psync"])
def test_whatever_either_file_loses_at_any_event_is_no_corruption_and_hides_none(
    recorded: Recorded, engine: str
) -> None:
    before = recorded.contents()
    dice = random.Random(engine)
    assert recorded.scrub(1, ioengine=engine).status == 0
    for _ in range(KILLS):
        recorded.kill(dice.random() * 0.02, ioengine=engine)
    assert recorded.scrub(3, ioengine=engine).status == 0
    events = read_events(recorded.log)
    versions: dict[int, list[bytes]] = {block: [] for block in range(BLOCKS)}
    for event in events:
        if event.name == "region" and event.kind == WRITE:
            for at in range(0, len(event.data), BLOCK):
                versions[(event.offset + at) // BLOCK].append(event.data[at : at + BLOCK])
    ticks = range(events[-1].ended + 2)
    reached = found_stale = 0
    for now in sorted(dice.sample(ticks, CUTS)):
        recorded.put(after_the_cut(before, events, now, None))
        certain = recorded.state()
        recorded.put(after_the_cut(before, events, now, dice))
        state = recorded.state()
        if certain:
            # A record more may have come through, whole; nothing less.
            assert state, now
            assert 0 <= place_of(state) - place_of(certain) <= WINDOW, now
            assert place_of(certain) >= reached, now
            reached = place_of(certain)
        spoilt = spoil(recorded, state, versions, dice) if state and dice.random() < 0.6 else {}
        done = recorded.scrub(2)
        found = {record.offset // BLOCK: record.kind for record in done.page.mismatches()}
        kinds = {block: kind or found.get(block) for block, kind in spoilt.items()}
        assert found == kinds, f"at {now}: {done.show()}, {state}"
        assert "warning" not in done.said, done.said
        found_stale += Mismatch.STALE in spoilt.values()
    assert reached > 4 * BLOCKS
    assert found_stale > 15


def spoil(
    recorded: Recorded, state: dict[str, Any], versions: dict[int, list[bytes]], dice: random.Random
) -> dict[int, Mismatch | None]:
    """Put an old block and a wrong bit outside of the window, and a wrong bit in it; what is to be found where.

    None: anything, for the block may be a mixture without that bit already.
    """
    cursor, end = state["cursor"], state["window_end"]
    settled = [block for block in range(cursor if state["cycle"] == 1 else BLOCKS) if not cursor <= block < end]
    region = bytearray((recorded.backing / "region").read_bytes())
    expected: dict[int, Mismatch | None] = {}
    stale = [block for block in settled if versions[block].index(block_of(region, block))]
    if stale:
        block = dice.choice(stale)
        put(region, block * BLOCK, dice.choice(versions[block][: versions[block].index(block_of(region, block))]))
        expected[block] = Mismatch.STALE
    intact = [block for block in settled if block not in expected]
    if intact:
        block = dice.choice(intact)
        flip_a_bit(region, block, dice)
        expected[block] = Mismatch.CHECKSUM
    if cursor < end and state["cycle"] > 1:
        block = dice.randrange(cursor, end)
        flip_a_bit(region, block, dice)
        expected[block] = None
    (recorded.backing / "region").open("r+b").write(region)
    return expected


def flip_a_bit(region: bytearray, block: int, dice: random.Random) -> None:
    region[block * BLOCK + dice.randrange(100, BLOCK)] ^= 1 << dice.randrange(8)

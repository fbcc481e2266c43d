"""Loss of power under a scrub on a real kernel: recorded write by write, and cut at every flush and anywhere else."""

import contextlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import virtual_machine
from loop import attached, mounted
from power_cut import MARK, Entry, Replay, next_flush, read_log
from scrub_alone import scrub_to_the_end
from scrub_region import (
    BLOCK,
    BLOCKS,
    DISK_BYTES,
    ITS_FILE,
    MIB,
    REGION,
    STATE_FILE,
    WINDOW,
    N,
    layout,
    spoil,
    state_in,
)

PROGRAM_S = 110.0
KINDS = ("device", "file")
LOG_BYTES = 256 * MIB
pytestmark = [pytest.mark.slow, pytest.mark.requires_loop, pytest.mark.requires_mkfs]


class Recording(NamedTuple):
    """What a scrub wrote in the machine."""

    entries: list[Entry]
    runs: list[dict[str, Any]]
    disk: Path
    """As it was in the end."""


def answers_of(program: str, share: Path, disks: list[Path]) -> dict[str, Any]:
    """What a program in the virtual machine found with these disks."""
    for disk in disks:
        disk.touch()
        os.truncate(disk, LOG_BYTES if disk.suffix == ".log" else DISK_BYTES)
    try:
        machine = virtual_machine.virtual_machine()
        if not shutil.which("dmsetup"):
            virtual_machine.make_with("apt-get", "install", "-y", "--no-install-recommends", "dmsetup")
    except virtual_machine.CannotMake as reason:
        pytest.skip(f"no virtual machine: {reason}")
    share.mkdir()
    ended = machine.run(Path(__file__).with_name(program), share, PROGRAM_S, disks)
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    found: dict[str, Any] = json.loads(ended.output)
    return found


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    directory = tmp_path_factory.mktemp("power")
    files = {kind: (directory / f"{kind}.disk", directory / f"{kind}.log") for kind in KINDS}
    answers = answers_of(
        "power_in_the_machine.py", directory / "share", [path for kind in KINDS for path in files[kind]]
    )
    return {kind: Recording(read_log(log), answers[kind], disk) for kind, (disk, log) in files.items()}


@dataclass
class Machine:
    """This machine, with the disk whose power was cut."""

    image: Path
    region: Path
    """The device with the region, or with the filesystem that has it."""
    states: Path
    work: Path
    is_file: bool
    older: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(BLOCKS)])
    """What the blocks have held, as far as it was seen."""

    @contextlib.contextmanager
    def powered_on(self, contents: bytes) -> Iterator[tuple[Path, Path]]:
        """Region and state, as the kernel finds them after the cut."""
        with self.image.open("r+b") as image:
            image.write(contents)
        with contextlib.ExitStack() as stack:
            states = self.work / "states"
            stack.callback(states.rmdir)
            stack.enter_context(mounted(self.states, states))
            region = self.region
            if self.is_file:
                point = self.work / "regions"
                stack.callback(point.rmdir)
                region = stack.enter_context(mounted(self.region, point)) / ITS_FILE
            yield region, states / STATE_FILE


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def machine(kind: str, tmp_path: Path) -> Iterator[Machine]:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(DISK_BYTES))
    with contextlib.ExitStack() as stack:
        region, states = (
            stack.enter_context(attached(image, "--offset", str(part.start), "--sizelimit", str(part.length)))
            for part in layout(is_file=kind == "file")
        )
        yield Machine(image, region, states, tmp_path, kind == "file")


def marks(entries: list[Entry]) -> dict[bytes, int]:
    return {entry.data: number for number, entry in enumerate(entries) if entry.flags & MARK}


def positions(entries: list[Entry], begin: int) -> dict[int, int]:
    """Where in the whole course of cycles each write of a block is, by the order of the offsets alone."""
    found = {}
    cycle, highest = 1, 0
    for number, entry in enumerate(entries[begin:], start=begin):
        if entry.data and not entry.flags & MARK and entry.offset < REGION:
            block = entry.offset // BLOCK
            if block < highest - 2 * WINDOW:
                cycle, highest = cycle + 1, 0
            highest = max(highest, block)
            found[number] = cycle * BLOCKS + block
    return found


def test_the_whole_log_makes_the_disk_as_it_was(recordings: dict[str, Recording], kind: str) -> None:
    recording = recordings[kind]
    assert [run["status"] for run in recording.runs] == [0, 0]
    assert recording.runs[0]["written"] == REGION
    entries = recording.entries
    assert Replay(bytes(DISK_BYTES), entries).at(len(entries)) == recording.disk.read_bytes()


def go_on_after(machine: Machine, contents: bytes, dice: random.Random, *, is_spoilt: bool) -> tuple[int, int] | None:
    """The next runs after a loss of power: no false alarm, no damage unseen. The window before them; None: no state."""
    with machine.powered_on(contents) as (region, state_path):
        state = state_in(state_path)
        spoilt = spoil(region, state, machine.older, dice) if state and is_spoilt else {}
        done = scrub_to_the_end(region, state_path, cycles=2, n=N, window=WINDOW * BLOCK, bs=BLOCK, ioengine="psync")
        found = {record.offset // BLOCK: record.kind for record in done.page.mismatches()}
        assert found == spoilt, f"{done.show()}, {state}"
        assert done.status == (1 if spoilt else 0), done.show()
        assert done.page.scrub is not None
        if state is None:
            assert done.page.scrub.cycles_completed == 2
            return None
        # It went on, and did not begin anew: that would find nothing either.
        assert "warning" not in done.said, done.said
        assert done.page.scrub.cycles_completed == state["cycles_completed"] + 2
        passed = state["cycle"] * BLOCKS
        return passed + state["cursor"], passed + state["window_end"]


def test_a_cut_at_any_flush_is_no_corruption_and_hides_none(
    recordings: dict[str, Recording], machine: Machine, kind: str
) -> None:
    entries = recordings[kind].entries
    begin = marks(entries)[b"ready"]
    # Where the blocks of a file are is not known here.
    written = positions(entries, begin) if kind == "device" else {}
    replay, dice = Replay(bytes(DISK_BYTES), entries), random.Random(kind)
    flushes = [number + 1 for number in range(begin, len(entries)) if entries[number].is_flush]
    reached = newest = 0
    for turn, cut in enumerate(flushes if kind == "device" else flushes[::3]):
        window = go_on_after(machine, replay.at(cut), dice, is_spoilt=turn % 2 == 1)
        newest = max([newest, *(place for number, place in written.items() if number < cut)])
        under_way = [written[number] for number in range(cut, next_flush(entries, cut)) if number in written]
        if window is None:
            assert not reached
            assert not newest
            assert not under_way
            continue
        cursor, end = window
        # Ahead of every write and behind every flush.
        assert all(cursor <= place < end for place in under_way), cut
        assert newest < max(cursor, end), cut
        assert cursor > newest - WINDOW, cut
        assert cursor >= reached  # what is on the medium never goes back
        reached = cursor
    assert reached > 5 * BLOCKS
    assert sum(len(older) > 1 for older in machine.older) > BLOCKS // 2


def test_nor_is_a_cut_between_two_that_leaves_any_part_of_what_was_not_flushed(
    recordings: dict[str, Recording], machine: Machine, kind: str
) -> None:
    entries = recordings[kind].entries
    replay, dice = Replay(bytes(DISK_BYTES), entries), random.Random(f"{kind} torn")
    begin = marks(entries)[b"ready"]
    reached = 0
    for cut in sorted(dice.sample(range(begin, len(entries)), 70)):
        window = go_on_after(machine, replay.at(cut, dice), dice, is_spoilt=dice.random() < 0.5)
        assert window or not reached
        if window:
            assert window[0] >= reached - WINDOW
            reached = max(reached, window[0])
    assert reached > 4 * BLOCKS


def test_from_a_moment_on_all_writes_are_dropped(tmp_path: Path) -> None:
    answers = answers_of("flakey_in_the_machine.py", tmp_path / "share", [tmp_path / "power.disk"])
    for kind in KINDS:
        rounds = answers[kind]
        for number, round_ in enumerate(rounds):
            # What the scrub had told was on the medium, and one record more may have been.
            assert 0 <= round_["cursor"] - round_["told"] <= WINDOW, (kind, number, round_)
            assert round_["after"]["found"] == round_["spoilt"], (kind, number, round_)
            assert round_["after"]["cycles"] == round_["cycles"] + 2, (kind, number, round_)
            assert "warning" not in round_["after"]["said"], (kind, number, round_)
        assert sum("STALE" in round_["spoilt"].values() for round_ in rounds) >= len(rounds) - 2

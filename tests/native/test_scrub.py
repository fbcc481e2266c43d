"""A scrub's arithmetic, its state, and what it says after the power was cut at any moment."""

import errno
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scrubbing import (
    BLOCK,
    BLOCKS,
    SECTOR,
    STATE_BYTES,
    WINDOW,
    Event,
    Scrubbed,
    WatchedDisk,
    block_of,
    order_of,
    scrub,
    state_file,
    states,
    torn,
    unit_verifier,
)

from iovigil.agent.config import ScrubSettings
from iovigil.agent.order import scrub_order
from iovigil.engines.options import JobOptions
from iovigil.engines.scrub_plan import Plan
from iovigil.engines.scrub_state import SLOT_BYTES, ScrubState
from iovigil.engines.setup_error import SetupError
from iovigil.engines.stats import Mismatch

READ, WRITE = 0, 1
REGION = BLOCK * BLOCKS


# The arithmetic


@settings(deadline=None, max_examples=60)
@given(
    key=st.integers(0, 2**64 - 1),
    shares=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 15)), min_size=1, max_size=4),
    blocks=st.integers(1, 40),
)
def test_the_arithmetic_says_what_a_table_of_all_blocks_would(
    key: int, shares: list[tuple[int, int]], blocks: int
) -> None:
    table = dict.fromkeys(range(blocks), 0)
    cycle, base, before_n, before_base, last_n = 1, 1, 0, 0, 0
    for n, cycles in shares:
        if last_n and n != last_n:
            before_n, before_base, base = last_n, base, cycle
        last_n = n
        plan = Plan(key, n, base, before_n, before_base)
        for _ in range(cycles):
            for block in range(blocks):
                assert plan.generation(cycle, block, False) == table[block]
                if plan.is_due(cycle, block):
                    table[block] = cycle
                assert plan.generation(cycle, block, True) == table[block]
            cycle += 1


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_in_n_cycles_every_block_is_written_once(n: int) -> None:
    plan = Plan(12345, n)
    for block in range(500):
        assert sum(plan.is_due(cycle, block) for cycle in range(2, 2 + n)) == 1
    share = sum(plan.is_due(7, block) for block in range(50_000)) / 50_000
    assert abs(share - 1 / n) < 0.01


# The state


@given(sequence=st.integers(1, 5), cut=st.integers(0, SLOT_BYTES), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=150)
def test_a_record_cut_at_any_byte_leaves_the_one_before(sequence: int, cut: int, seed: int) -> None:
    with state_file() as fd:
        state = ScrubState(fd)
        for number in range(sequence):
            state.write(cursor=100 + number)
        before = os.pread(fd, STATE_BYTES, 0)
        state.write(cursor=500)
        after = os.pread(fd, STATE_BYTES, 0)
        at = (sequence + 1) % 2 * SLOT_BYTES
        new = after[at : at + SLOT_BYTES]
        old = before[at : at + SLOT_BYTES].ljust(SLOT_BYTES, b"\0")
        dice = random.Random(seed)
        for mixed in (
            new[:cut] + old[cut:],
            new[:cut] + bytes(SLOT_BYTES - cut),
            torn(old, new, [dice.random() < 0.5 for _ in range(SLOT_BYTES // SECTOR)]),
        ):
            os.pwrite(fd, mixed, at)
            found = ScrubState(fd).read()["cursor"]
            assert found == (500 if mixed == new else 100 + sequence - 1)


def test_a_state_of_which_nothing_is_sound_is_none() -> None:
    with state_file(b"\0" * STATE_BYTES) as fd, pytest.raises(ValueError, match="is empty"):
        ScrubState(fd).read()
    with state_file(os.urandom(STATE_BYTES)) as fd, pytest.raises(ValueError, match="is damaged"):
        ScrubState(fd).read()
    with state_file() as fd:
        ScrubState(fd).write(cursor=7)
        os.pwrite(fd, os.urandom(SLOT_BYTES), 0)
        for at in range(0, SLOT_BYTES, 97):
            byte = os.pread(fd, 1, SLOT_BYTES + at)
            os.pwrite(fd, bytes([byte[0] ^ 0x10]), SLOT_BYTES + at)
            with pytest.raises(ValueError, match="is damaged"):
                ScrubState(fd).read()
            os.pwrite(fd, byte, SLOT_BYTES + at)


def test_every_field_comes_back() -> None:
    with state_file() as fd:
        fields = {"cycle": 2**63, "cursor": 9, "exceptions": [4, 5], "exception_count": 2, "nonce": 2**64 - 1}
        ScrubState(fd).write(**fields)
        assert ScrubState(fd).read().items() >= fields.items()


# Without trouble


@pytest.fixture
def disk() -> Iterator[WatchedDisk]:
    with state_file() as fd:
        yield WatchedDisk(os.urandom(REGION), fd)


@pytest.mark.parametrize("iodepth", [1, 5])
def test_every_cycle_reads_every_block_once_and_writes_its_share(iodepth: int) -> None:
    with state_file() as fd:
        disk = WatchedDisk(os.urandom(REGION), fd, iodepth)
        first = scrub(disk, n=3)
        assert [io.offset for io in disk.ios if io.ddir == WRITE] == [BLOCK * block for block in range(BLOCKS)]
        assert not [io for io in disk.ios if io.ddir == READ]
        assert first.figures.cycles_completed == 1
        for cycle in range(2, 8):
            disk.ios.clear()
            plan = Plan(states(fd)["plan"]["key"], 3)
            ran = scrub(disk, n=3)
            assert [io.offset // BLOCK for io in disk.ios if io.ddir == READ] == [*range(BLOCKS)]
            due = [block for block in range(BLOCKS) if plan.is_due(cycle, block)]
            assert [io.offset // BLOCK for io in disk.ios if io.ddir == WRITE] == due
            assert not ran.wrong
            assert not ran.page.error
            assert ran.figures.cycles_completed == cycle
        state = states(fd)
        for block in range(BLOCKS):
            generation = plan.generation(8, block, False)
            assert unit_verifier(state).check(block_of(disk.contents[0], block), block * BLOCK, generation) is None


def test_the_state_names_a_window_before_it_is_written_and_passes_it_after_a_flush(disk: WatchedDisk) -> None:
    scrub(disk, cycles=5)
    is_flushed, cursor, end = True, 0, 0
    with state_file() as fd:
        for event in disk.events:
            if event.kind == "state":
                assert is_flushed
                os.pwrite(fd, event.data, event.offset)
                state = states(fd)
                cursor, end = state["cursor"], state["window_end"]
            elif event.kind == "write":
                assert cursor <= event.offset // BLOCK < end
                is_flushed = False
            else:
                is_flushed = True


def test_nothing_is_kept_in_memory_for_a_block(disk: WatchedDisk) -> None:
    scrub(disk)
    assert len(os.pread(disk.state_fd, 1 << 20, 0)) == STATE_BYTES


def test_a_share_that_changes_is_taken_up_by_a_cycle_that_writes_everything(disk: WatchedDisk) -> None:
    scrub(disk, n=3, cycles=4)
    changed = scrub(disk, n=5)
    assert "rewrite was one block in 3 and is one in 5" in changed.notes[0]
    disk.ios.clear()
    base = scrub(disk, n=5)
    assert len([io for io in disk.ios if io.ddir == WRITE]) == BLOCKS
    assert len([io for io in disk.ios if io.ddir == READ]) == BLOCKS
    later = scrub(disk, n=5, cycles=7)
    assert not changed.wrong + base.wrong + later.wrong
    assert not later.notes


# What is found


def run_cycles(disk: WatchedDisk, count: int) -> list[bytes]:
    """The region after each cycle."""
    regions = []
    for _ in range(count):
        assert not scrub(disk).wrong
        regions.append(bytes(disk.contents[0]))
    return regions


def put(disk: WatchedDisk, block: int, data: bytes) -> None:
    disk.contents[0][block * BLOCK : (block + 1) * BLOCK] = data


def test_each_kind_of_damage_is_found_once_and_mended(disk: WatchedDisk) -> None:
    regions = run_cycles(disk, 8)
    now, plan = regions[-1], Plan(states(disk.state_fd)["plan"]["key"], 3)
    stale = next(block for block in range(BLOCKS) if block_of(regions[4], block) != block_of(now, block))
    others = [block for block in range(BLOCKS) if block != stale]
    flipped = bytearray(block_of(now, others[0]))
    flipped[1000] ^= 1
    with state_file() as other_fd:
        other = WatchedDisk(bytes(REGION), other_fd)
        run_cycles(other, 8)
        put(disk, stale, block_of(regions[4], stale))
        put(disk, others[0], bytes(flipped))
        put(disk, others[1], bytes(BLOCK))
        put(disk, others[2], block_of(now, others[3]))
        put(disk, others[3], block_of(now, others[2]))
        put(disk, others[4], torn(os.urandom(BLOCK), block_of(now, others[4]), [True, True, False, False]))
        put(disk, others[5], block_of(other.contents[0], others[5]))
    ran = scrub(disk)
    assert {record.offset // BLOCK: record.kind for record in ran.mismatches} == {
        stale: Mismatch.STALE,
        others[0]: Mismatch.CHECKSUM,
        others[1]: Mismatch.ZEROED,
        others[2]: Mismatch.MISPLACED,
        others[3]: Mismatch.MISPLACED,
        others[4]: Mismatch.TORN,
        others[5]: Mismatch.MISPLACED,
    }
    by_block = {record.offset // BLOCK: record for record in ran.mismatches}
    assert by_block[others[0]].wrong_bits == 1
    assert by_block[others[2]].found_offset == others[3] * BLOCK
    assert by_block[stale].found < by_block[stale].expected == plan.generation(9, stale, False)
    assert "data corruption: 7 blocks" in ran.page.text
    assert not scrub(disk, cycles=4).wrong


def test_the_state_knows_of_a_bad_block_before_it_is_mended(disk: WatchedDisk) -> None:
    # A run that is killed in between must not report it once more.
    run_cycles(disk, 3)
    put(disk, 9, bytes(BLOCK))
    disk.events.clear()
    assert scrub(disk).wrong == 1
    with state_file() as fd:
        for event in disk.events:
            if event.kind == "state":
                os.pwrite(fd, event.data, event.offset)
            elif event.kind == "write" and event.offset == 9 * BLOCK:
                assert states(fd)["exceptions"] == [9]
                break
        else:
            pytest.fail("block 9 was not written")
    assert states(disk.state_fd)["exceptions"] == []


def test_a_lost_write_is_found_in_the_cycle_after(disk: WatchedDisk) -> None:
    run_cycles(disk, 4)
    before = bytes(disk.contents[0])
    run_cycles(disk, 1)
    written = [block for block in range(BLOCKS) if block_of(before, block) != block_of(disk.contents[0], block)]
    put(disk, written[0], block_of(before, written[0]))
    assert [(record.kind, record.offset) for record in scrub(disk).mismatches] == [(Mismatch.STALE, written[0] * BLOCK)]


# Errors of the disk


def test_an_unreadable_block_is_counted_and_written_again(disk: WatchedDisk) -> None:
    run_cycles(disk, 3)
    disk.errors[READ, 5 * BLOCK] = errno.EIO
    ran = scrub(disk)
    assert ran.page.errors(READ) == {errno.EIO: 1}
    assert ran.page.error == errno.EIO
    assert f"read at offset {5 * BLOCK}" in ran.page.text
    assert "Input/output error (EIO)" in ran.page.text
    assert ran.figures.cycles_completed == 4
    assert [io.offset for io in disk.ios if io.ddir == WRITE].count(5 * BLOCK)
    disk.errors.clear()
    assert not scrub(disk, cycles=4).page.total_errors


def test_a_block_that_could_not_be_written_is_no_corruption_later(disk: WatchedDisk) -> None:
    run_cycles(disk, 3)
    plan = Plan(states(disk.state_fd)["plan"]["key"], 3)
    due = next(block for block in range(BLOCKS) if plan.is_due(4, block))
    disk.errors[WRITE, due * BLOCK] = errno.EIO
    failed = scrub(disk)
    assert failed.page.errors(WRITE) == {errno.EIO: 1}
    assert failed.figures.unknown_blocks == 1
    assert states(disk.state_fd)["exceptions"] == [due]
    put(disk, due, os.urandom(BLOCK))
    again = scrub(disk)  # not due now, and written all the same
    assert again.page.errors(WRITE) == {errno.EIO: 1}
    assert not again.wrong
    disk.errors.clear()
    mended = scrub(disk, cycles=5)
    assert not mended.page.total_errors
    assert mended.figures.unknown_blocks == 0


def test_a_run_of_many_errors_ends_and_the_next_goes_on_behind_them() -> None:
    blocks = 200
    with state_file() as fd:
        disk = WatchedDisk(bytes(blocks * BLOCK), fd)
        scrub(disk)
        for block in range(20, 170):
            disk.errors[READ, block * BLOCK] = errno.EIO
        first = scrub(disk)
        assert first.figures.cursor_bytes == (20 + 64) * BLOCK
        assert first.page.errors(READ) == {errno.EIO: 64}
        assert scrub(disk).page.errors(READ) == {errno.EIO: 64}
        last = scrub(disk)
        assert last.page.errors(READ) == {errno.EIO: 150 - 128}
        assert last.figures.cycles_completed == 2


def test_more_bad_blocks_than_the_state_holds_are_still_counted() -> None:
    blocks = 400
    with state_file() as fd:
        disk = WatchedDisk(bytes(blocks * BLOCK), fd)
        for block in range(blocks):
            disk.errors[WRITE, block * BLOCK] = errno.EIO
        notes: list[str] = []
        while True:
            ran = scrub(disk)
            notes += ran.notes
            if ran.figures.cycles_completed:
                break
        assert ran.figures.unknown_blocks == 256
        assert "more blocks could not be written" in " ".join(notes)


def test_an_error_that_is_none_of_a_sector_ends_the_run(disk: WatchedDisk) -> None:
    run_cycles(disk, 2)
    disk.errors[READ, 9 * BLOCK] = errno.ENXIO
    ran = scrub(disk)
    assert ran.page.error == errno.ENXIO
    assert ran.figures.cursor_bytes == 8 * BLOCK
    disk.errors.clear()
    assert not scrub(disk, cycles=3).page.total_errors


def test_a_flush_that_failed_does_not_pass_its_window(disk: WatchedDisk) -> None:
    scrub(disk, n=1)
    disk.errors[4, 0] = errno.EIO
    ran = scrub(disk, n=1)
    assert ran.page.error == errno.EIO
    state = states(disk.state_fd)
    assert (state["cursor"], state["window_end"]) == (0, WINDOW)
    disk.errors.clear()
    assert not scrub(disk, n=1, cycles=3).wrong


@pytest.mark.parametrize("ddir", [READ, WRITE])
@pytest.mark.parametrize("error", [0, errno.ECANCELED])
def test_a_stop_in_the_middle_of_a_window_leaves_nothing_untrue(disk: WatchedDisk, ddir: int, error: int) -> None:
    for block in range(BLOCKS):
        scrub(disk, n=1, cycles=2)
        disk.stops_at = ddir, block * BLOCK
        if error:
            # As an engine says it that was told to stop, and has given the I/O up.
            disk.errors[disk.stops_at] = error
        stopped = scrub(disk, n=1)
        assert not stopped.page.total_errors
        assert stopped.figures.cursor_bytes <= (block + 1) * BLOCK
        disk.stops_at = None
        disk.errors.clear()
        assert not scrub(disk, n=1, cycles=3).page.total_errors


# What the state says against what is there


def test_a_state_older_than_the_disk_ends_the_run_and_says_so(disk: WatchedDisk) -> None:
    run_cycles(disk, 4)
    kept = os.pread(disk.state_fd, STATE_BYTES, 0)
    run_cycles(disk, 3)
    os.pwrite(disk.state_fd, kept, 0)
    ran = scrub(disk)
    assert ran.page.error == errno.ESTALE
    assert "older than the disk" in ran.page.text
    assert not any("older than the disk" in note for note in ran.notes), "said once"
    assert "/state" in ran.page.text
    assert not ran.wrong


def test_corruption_is_the_error_of_a_run_whose_state_is_of_no_use_either(disk: WatchedDisk) -> None:
    run_cycles(disk, 4)
    kept = os.pread(disk.state_fd, STATE_BYTES, 0)
    run_cycles(disk, 3)
    os.pwrite(disk.state_fd, kept, 0)
    put(disk, 0, bytes(BLOCK))
    ran = scrub(disk)
    assert ran.page.error == errno.EILSEQ
    assert ran.page.text.startswith("data corruption: 1 block")
    assert "older than the disk" in ran.notes[0]


@given(taken=st.lists(st.booleans(), min_size=SLOT_BYTES // SECTOR, max_size=SLOT_BYTES // SECTOR))
@settings(deadline=None, max_examples=40)
def test_a_first_record_that_the_power_cut_is_nothing_to_tell_of(taken: list[bool]) -> None:
    with state_file() as fd:
        ScrubState(fd).write(region_id=bytes(16), cycle=1)
        first = os.pread(fd, STATE_BYTES, 0)
    with state_file(first[:SLOT_BYTES] + torn(bytes(SLOT_BYTES), first[SLOT_BYTES:], taken)) as fd:
        if taken[0] and taken[-1]:
            return  # all that is in it has come through
        ran = scrub(WatchedDisk(os.urandom(REGION), fd))
        assert ran.notes == []
        assert not ran.wrong


def test_a_lost_state_begins_the_region_anew(disk: WatchedDisk) -> None:
    run_cycles(disk, 4)
    old = bytes(disk.contents[0])
    os.pwrite(disk.state_fd, os.urandom(STATE_BYTES), 0)
    ran = scrub(disk)
    assert ran.notes == ["scrub: /state is damaged; the region is written anew, whatever it holds"]
    assert not ran.wrong
    put(disk, 3, block_of(old, 3))
    found = scrub(disk).mismatches
    assert [(record.kind, record.offset) for record in found] == [(Mismatch.MISPLACED, 3 * BLOCK)]


@pytest.mark.parametrize(
    ("changes", "block", "why"),
    [({"identity": "serial=B"}, BLOCK, "the disk is serial B, and was serial A"), ({}, 2 * BLOCK, "in blocks of 4096")],
)
def test_another_disk_or_block_size_begins_the_region_anew(
    disk: WatchedDisk, changes: dict[str, Any], block: int, why: str
) -> None:
    scrub(disk, identity="serial=A", cycles=3)
    changed = scrub(disk, block=block, **{"identity": "serial=A", **changes})
    assert why in changed.notes[0]
    assert changed.figures.cycles_completed == 1
    assert not scrub(disk, block=block, cycles=3, **{"identity": "serial=A", **changes}).wrong


def test_a_disk_that_does_not_tell_its_identity_now_is_the_same(disk: WatchedDisk) -> None:
    scrub(disk, identity="serial=A")
    assert not scrub(disk, identity="").notes
    assert not scrub(disk, identity="wwn=W").notes
    assert not scrub(disk, identity="serial=A\nwwn=W").notes
    assert states(disk.state_fd)["identity"] == b"serial=A\nwwn=W"
    assert "the disk is wwn V, and was serial A, wwn W" in scrub(disk, identity="wwn=V").notes[0]


def test_without_a_place_for_the_state_nothing_is_written(disk: WatchedDisk) -> None:
    read_only = os.open("/dev/null", os.O_RDONLY)
    disk.state_fd = read_only
    with pytest.raises(SetupError, match="/state: "):
        scrub(disk)
    os.close(read_only)
    assert not disk.ios


# The pace


def set_state(fd: int, **fields: int) -> None:
    state = ScrubState(fd)
    state.read()
    state.write(**fields)


def test_a_run_reads_what_its_interval_asks_for() -> None:
    with state_file() as fd:
        disk = WatchedDisk(bytes(REGION), fd)
        pace: dict[str, Any] = {"period_s": 1300, "every_s": 100, "cycles": 0}
        first = scrub(disk, **pace)  # the first cycle is written at once, and then one interval's share read
        assert first.figures.cycle == 2
        assert first.figures.cursor_bytes // BLOCK == BLOCKS * 100 // 1200
        disk.ios.clear()
        assert scrub(disk, **pace).figures == first.figures
        assert not disk.ios
        set_state(fd, planned_unix=states(fd)["planned_unix"] - 600)
        late = scrub(disk, **pace)
        assert late.figures.cursor_bytes // BLOCK == BLOCKS * 700 // 1200
        set_state(fd, planned_unix=states(fd)["planned_unix"] - 600)
        done = scrub(disk, **pace)
        assert done.figures.cycle == 3


# Power


def story(seed: int, n: int, cycles: int) -> tuple[bytes, list[Event]]:
    """What reached the media in some cycles, and what the disk held before."""
    with state_file() as fd:
        contents = random.Random(seed).randbytes(REGION)
        disk = WatchedDisk(contents, fd, iodepth=1 + seed % 4, whims=seed)
        assert not scrub(disk, n=n, cycles=cycles).wrong
        return contents, disk.events


def after_the_cut(
    contents: bytes, state: bytes, events: list[Event], cut: int, dice: random.Random
) -> tuple[bytes, bytes]:
    """What the disk and the state hold when the power goes before event `cut`, of which a part may be done."""
    data, record = bytearray(contents), bytearray(state)
    pending: list[Event] = []
    for event in events[:cut]:
        if event.kind == "state":
            record[event.offset : event.offset + SLOT_BYTES] = event.data
        elif event.kind == "write":
            pending.append(event)
        else:
            for write in pending:
                data[write.offset : write.offset + BLOCK] = write.data
            pending = []
    under_way = events[cut : cut + 1]
    if under_way and under_way[0].kind == "write":
        pending.append(under_way[0])
    dice.shuffle(pending)
    for write in pending:
        share = dice.choice((0.0, 0.5, 1.0))
        place = slice(write.offset, write.offset + BLOCK)
        data[place] = torn(bytes(data[place]), write.data, [dice.random() < share for _ in range(BLOCK // SECTOR)])
    if under_way and under_way[0].kind == "state":
        place = slice(under_way[0].offset, under_way[0].offset + SLOT_BYTES)
        share = dice.choice((0.0, 0.5, 1.0))
        taken = [dice.random() < share for _ in range(SLOT_BYTES // SECTOR)]
        record[place] = torn(bytes(record[place]), under_way[0].data, taken)
    return bytes(data), bytes(record)


def go_on(data: bytes, state: bytes, n: int, seed: int, cycles: int = 2) -> tuple[Scrubbed, bytes]:
    """A run after the cut: to the end of this cycle, and all of the next."""
    with state_file(state) as fd:
        disk = WatchedDisk(data, fd, iodepth=1 + seed % 3, whims=seed)
        return scrub(disk, n=n, cycles=cycles), bytes(disk.contents[0])


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("seed", [0, 5])
def test_no_loss_of_power_at_any_moment_passes_for_corruption(seed: int, n: int) -> None:
    contents, events = story(seed, n, cycles=4)
    dice = random.Random(seed)
    for cut in range(len(events) + 1):
        for _ in range(2):
            data, state = after_the_cut(contents, bytes(STATE_BYTES), events, cut, dice)
            ran, _ = go_on(data, state, n, dice.randrange(5))
            assert not ran.wrong, (cut, events[cut - 1][:2], ran.page.text, ran.mismatches)
            assert not ran.page.error, ran.page.text


def test_nor_does_a_second_loss_while_the_first_is_made_good() -> None:
    dice = random.Random(8)
    contents, events = story(2, 2, cycles=4)
    for _ in range(150):
        data, state = after_the_cut(contents, bytes(STATE_BYTES), events, dice.randrange(len(events)), dice)
        for _ in range(3):
            with state_file(state) as fd:
                disk = WatchedDisk(data, fd, whims=dice.randrange(3), iodepth=3)
                ran = scrub(disk, n=2, cycles=1, window_bytes=BLOCK * dice.randint(1, 7))
                assert not ran.page.error, ran.page.text
                data, state = after_the_cut(data, state, disk.events, dice.randrange(len(disk.events) + 1), dice)
        ran, _ = go_on(data, state, 2, 1)
        assert not ran.page.error, ran.page.text


def test_nor_does_one_while_the_share_changes() -> None:
    dice = random.Random(11)
    with state_file() as fd:
        contents = bytes(REGION)
        disk = WatchedDisk(contents, fd, iodepth=3, whims=1)
        for n in (3, 3, 2, 2, 2, 5, 5, 5):
            assert not scrub(disk, n=n).wrong
    for cut in range(len(disk.events) + 1):
        data, state = after_the_cut(contents, bytes(STATE_BYTES), disk.events, cut, dice)
        ran, _ = go_on(data, state, dice.choice((2, 3, 5)), dice.randrange(5), cycles=3)
        assert not ran.page.error, (cut, ran.page.text)


def test_after_a_cut_while_damage_is_mended_nothing_else_is_reported() -> None:
    dice = random.Random(12)
    with state_file() as fd:
        disk = WatchedDisk(bytes(REGION), fd)
        scrub(disk, cycles=4)
        damaged = [5, 6, 17]
        for block in damaged:
            put(disk, block, os.urandom(BLOCK))
        disk.errors[READ, 11 * BLOCK] = errno.EIO
        contents, state_before = bytes(disk.contents[0]), os.pread(fd, STATE_BYTES, 0)
        disk.events.clear()
        first = scrub(disk, cycles=2)
        assert first.wrong == 3
        assert first.page.errors(READ) == {errno.EIO: 2}
    for cut in range(len(disk.events) + 1):
        data, state = after_the_cut(contents, state_before, disk.events, cut, dice)
        ran, _ = go_on(data, state, 3, dice.randrange(5))
        found = [record.offset // BLOCK for record in ran.mismatches]
        assert len({*found}) == len(found)
        assert {*found} <= {*damaged}


def test_what_is_lost_outside_the_window_is_found_after_every_cut() -> None:
    n = 3
    contents, events = story(3, n, cycles=8)
    dice = random.Random(4)
    history: dict[int, list[bytes]] = {block: [] for block in range(BLOCKS)}
    tried = 0
    for cut, event in enumerate(events):
        data, state = after_the_cut(contents, bytes(STATE_BYTES), events, cut, dice)
        if event.kind == "write":
            history[event.offset // BLOCK].append(event.data)
        with state_file(state) as fd:
            try:
                record = states(fd)
            except ValueError:
                continue
        if record["cycle"] == 1:
            continue
        outside = [block for block in range(BLOCKS) if not record["cursor"] <= block < record["window_end"]]
        older = {
            block: [old for old in history[block] if old != block_of(data, block)]
            for block in outside
            if block_of(data, block) in history[block]
        }
        candidates = [block for block, olds in older.items() if olds]
        if not candidates:
            continue
        block = dice.choice(candidates)
        put_at = slice(block * BLOCK, (block + 1) * BLOCK)
        spoilt = bytearray(data)
        spoilt[put_at] = older[block][0]
        ran, _ = go_on(bytes(spoilt), state, n, dice.randrange(5))
        assert [(found.kind, found.offset) for found in ran.mismatches] == [(Mismatch.STALE, block * BLOCK)], cut
        tried += 1
    assert tried > 100


def test_the_cursor_never_goes_back_by_more_than_a_window() -> None:
    contents, events = story(6, 2, cycles=3)
    dice = random.Random(9)
    reached = 0
    with state_file() as live:
        for cut, event in enumerate(events):
            _, state = after_the_cut(contents, bytes(STATE_BYTES), events, cut, dice)
            if reached:
                with state_file(state) as fd:
                    record = states(fd)
                    assert record["cycle"] * BLOCKS + record["cursor"] >= reached - WINDOW
            if event.kind == "state":
                os.pwrite(live, event.data, event.offset)
                record = states(live)
                reached = record["cycle"] * BLOCKS + record["cursor"]
    assert reached > 3 * BLOCKS


def test_the_order_of_a_scrub_is_all_that_the_model_gives_it() -> None:
    """What this file says of scrubs holds for the order that the agent writes."""
    settings = ScrubSettings(n=3, period_s=1000.0, every_s=10.0)
    assert set(order_of(0)) == {"state_fd", *scrub_order(settings, JobOptions(rw="rw"), state_path="/state")}

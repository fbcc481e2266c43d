"""Which blocks a job touches, in what order and how many: read off the generations that verify headers carry."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, KIB, READ, WRITE, Outcome, data_file, run_job
from fault_disk import FaultDisk
from fio_formats import MAGIC, header_of

BLOCK = 4 * KIB
BLOCKS = 256
SIZE = BLOCKS * BLOCK

engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", SIZE)


def generations(path: Path, block: int = BLOCK) -> dict[int, int]:
    """{block: generation} of all blocks that carry a header."""
    content = path.read_bytes()
    found = {}
    for index in range(len(content) // block):
        header = header_of(content[index * block : (index + 1) * block], "fio-3.41")
        if header.magic == MAGIC and header.offset == index * block:
            found[index] = header.numberio
    return found


def order_of(path: Path, done: Outcome | None = None) -> list[int]:
    """The blocks in the order they were written last."""
    assert done is None or done.status == 0, done.show()
    found = generations(path)
    return sorted(found, key=found.__getitem__)


def write(path: Path, **options: Any) -> Outcome:
    done = run_job(path, **{"rw": "randwrite", "bs": BLOCK, "verify": "crc32c", "do_verify": 0, **options})
    assert done.status == 0, done.show()
    return done


@engines
def test_a_sequential_job_goes_from_the_first_block_to_the_last(path: Path, engine: str) -> None:
    write(path, rw="write", ioengine=engine, iodepth=4)
    assert generations(path) == {block: block + 1 for block in range(BLOCKS)}


@engines
def test_a_random_job_visits_each_block_once(path: Path, engine: str) -> None:
    done = write(path, ioengine=engine, iodepth=4)
    found = generations(path)
    assert done.ios(WRITE) == BLOCKS
    assert sorted(found) == list(range(BLOCKS))
    assert sorted(found.values()) == list(range(1, BLOCKS + 1))
    ordered = order_of(path)
    assert sum(b - a == 1 for a, b in itertools.pairwise(ordered)) < 12


def test_a_second_pass_visits_each_block_once_more_in_another_order(path: Path) -> None:
    write(path)
    first = order_of(path)
    write(path, io_size=2 * SIZE)
    found = generations(path)
    assert sorted(found.values()) == list(range(BLOCKS + 1, 2 * BLOCKS + 1))
    assert order_of(path) != first


def test_without_a_map_blocks_come_again_before_others_came_at_all(path: Path) -> None:
    done = write(path, norandommap=1)
    assert done.ios(WRITE) == BLOCKS
    # 1/e of all blocks are left out by so many draws.
    assert 0.25 * BLOCKS < BLOCKS - len(generations(path)) < 0.5 * BLOCKS


def test_without_a_map_all_blocks_come_in_time(path: Path) -> None:
    write(path, norandommap=1, io_size=20 * SIZE)
    assert len(generations(path)) == BLOCKS


def test_loops_repeat_the_same_order(path: Path) -> None:
    write(path)
    once = generations(path)
    done = write(path, loops=3)
    assert done.ios(WRITE) == 3 * BLOCKS
    assert generations(path) == {block: generation + 2 * BLOCKS for block, generation in once.items()}


def test_runs_repeat_the_same_order_unless_told_otherwise(path: Path) -> None:
    def order(**options: Any) -> list[int]:
        write(path, **options)
        return order_of(path)

    assert order() == order() == order(randrepeat=1)
    assert order(randseed=1) != order(randseed=2)
    assert order(randseed=1) == order(randseed=1)
    assert order(randrepeat=0) != order(randrepeat=0)


@pytest.mark.requires_fuse
@pytest.mark.parametrize(("map_option", "loops"), [(0, 1), (0, 3), (1, 1)])
def test_random_reads_reach_each_block_once_a_pass(fault_disk: FaultDisk, map_option: int, loops: int) -> None:
    """Reads leave no trace in a file, but a bad block is met as often as it is read."""
    bad = [3, 77, 200, 255]
    for block in bad:
        fault_disk.fail_reads(block * BLOCK, BLOCK)
    done = run_job(
        fault_disk.path, rw="randread", bs=BLOCK, size=SIZE, loops=loops, norandommap=map_option,
        continue_on_error="read",
    )  # fmt: skip
    errors = done.page.errors(READ)
    assert errors == {5: fault_disk.hits}
    if not map_option:
        assert errors == {5: len(bad) * loops}


@engines
@pytest.mark.parametrize("rw", ["write", "randwrite"])
def test_nothing_outside_of_the_region_is_touched(tmp_path: Path, engine: str, rw: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    before = path.read_bytes()
    done = run_job(path, rw=rw, bs=1000, offset=5 * BLOCK, size=50_500, ioengine=engine, iodepth=8, io_size=150_000)
    assert done.status == 0, done.show()
    after = path.read_bytes()
    begin, end = 5 * BLOCK, 5 * BLOCK + 50_000
    assert after[:begin] == before[:begin]
    assert after[end:] == before[end:]
    same = [at for at in range(begin, end, 1000) if after[at : at + 1000] == before[at : at + 1000]]
    assert same == []


@engines
@pytest.mark.parametrize("number", [1, 7, BLOCKS, 3 * BLOCKS])
def test_number_ios_is_the_number_of_ios(path: Path, engine: str, number: int) -> None:
    done = run_job(path, rw="randread", number_ios=number, ioengine=engine, iodepth=16, time_based=1, runtime="10s")
    assert done.status == 0, done.show()
    assert done.ios(READ) == number
    assert done.took_s < 5


def test_number_ios_counts_through_all_loops(path: Path) -> None:
    assert run_job(path, rw="read", number_ios=BLOCKS + 10, loops=5).ios(READ) == BLOCKS + 10


@pytest.mark.parametrize("number", [1, 10])
def test_what_number_ios_lets_be_written_is_verified(path: Path, number: int) -> None:
    done = run_job(path, rw="randwrite", verify="crc32c", number_ios=number, loops=3)
    assert done.status == 0, done.show()
    assert (done.ios(WRITE), done.ios(READ)) == (number, number)


@pytest.mark.parametrize("share", [10, 50, 95])
def test_a_random_mix_has_its_share_and_still_meets_each_block_once(path: Path, share: int) -> None:
    done = run_job(path, rw="randrw", rwmixread=share, bs=512)
    total = SIZE // 512
    assert done.ios(READ) + done.ios(WRITE) == total
    assert done.ios(READ) / total == pytest.approx(share / 100, abs=0.05)


def blocks_in(path: Path, size: int) -> Iterator[bytes]:
    content = path.read_bytes()
    return (content[at : at + size] for at in range(0, len(content), size))


def test_what_is_written_can_be_neither_compressed_nor_deduplicated(path: Path) -> None:
    assert run_job(path, rw="write", bs="64k").status == 0
    first = list(blocks_in(path, 512))
    assert len(set(first)) == len(first)
    assert run_job(path, rw="write", bs="64k").status == 0
    again = list(blocks_in(path, 512))
    assert not set(first) & set(again)


def test_scrambling_can_be_left_out(path: Path) -> None:
    done = run_job(path, rw="write", bs="4k", scramble_buffers=0)
    assert done.status == 0, done.show()
    assert len(set(blocks_in(path, BLOCK))) == 1

"""What writes carry: how far it compresses, how often it repeats, and the same of real fio's."""

import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines.contents import Contents
from iovigil.engines.options import JobOptions

KIB = 1024
FILE_BYTES = 8 << 20
SPELLING = {"buffer_pattern": lambda pattern: "0x" + pattern.hex()}


def make(seed: int = 1, slots: int = 1, **options: Any) -> Contents:
    return Contents(JobOptions(**{"rw": "write", **options}).native(), seed, slots)


def blocks(count: int = FILE_BYTES // (4 * KIB), bs: int = 4 * KIB, **options: Any) -> list[bytes]:
    made = make(bs=(bs,) * 3, **options)
    return [made.write(bs, index * bs, index + 1) for index in range(count)]


def blocks_of_fio(path: Path, bs: int = 4 * KIB, **options: Any) -> list[bytes]:
    spelled = [f"--{name}={SPELLING.get(name, str)(value)}" for name, value in options.items()]
    subprocess.run(
        ["fio", "--name=contents", f"--filename={path}", f"--size={FILE_BYTES}", "--rw=write", f"--bs={bs}", *spelled],
        capture_output=True,
        timeout=60,
        check=True,
    )
    data = path.read_bytes()
    return [data[at : at + bs] for at in range(0, len(data), bs)]


def compressed_away(made: list[bytes]) -> float:
    """Per cent by which zlib shortens the blocks, each alone."""
    return 100 - 100 * sum(len(zlib.compress(block)) for block in made) / sum(map(len, made))


def repeated(made: list[bytes]) -> float:
    """Per cent of blocks that are the same as an earlier one."""
    return 100 - 100 * len(set(made)) / len(made)


@pytest.mark.parametrize("seed", [0, 1, (1 << 64) - 1])
def test_without_options_no_sector_is_like_another_or_like_itself_before(seed: int) -> None:
    made = make(seed)
    first = [made.write(4096, index * 4096, 1) for index in range(100)]
    second = [made.write(4096, index * 4096, 2) for index in range(100)]
    sectors = [block[at : at + 512] for block in first + second for at in range(0, 4096, 512)]
    assert len(set(sectors)) == len(sectors)
    assert compressed_away(first) < 3


def test_without_scrambling_the_buffer_is_written_as_it_is() -> None:
    assert len(set(blocks(10, scramble_buffers=False))) == 1
    assert compressed_away(blocks(10, scramble_buffers=False)) < 1


def test_the_buffers_of_several_ios_differ_from_the_start() -> None:
    made = make(slots=16, scramble_buffers=False)
    assert len({made.write(4096, 0, 1, slot) for slot in range(16)}) == 16


def test_refilled_buffers_are_new_and_cannot_be_compressed() -> None:
    made = blocks(refill_buffers=True)
    assert repeated(made) == 0
    assert compressed_away([b"".join(made)]) < 0.1


@pytest.mark.parametrize("rw", ["write", "rw"])
def test_zeroes_stay_zeroes_whatever_was_read_before(rw: str) -> None:
    made = make(rw=rw, zero_buffers=True, slots=2)
    for slot in range(2):
        assert made.write(4096, 0, 1, slot) == bytes(4096)
        if rw == "rw":
            made.read(b"found on the disk", slot)
            assert made.write(4096, 0, 2, slot) == bytes(4096)


@given(st.binary(min_size=1, max_size=9000), st.sampled_from([512, 4096, 12345, 65536]), st.booleans())
def test_a_pattern_is_repeated_from_the_start_of_each_block(pattern: bytes, length: int, is_read: bool) -> None:
    made = make(rw="rw" if is_read else "write", bs=(65536,) * 3, buffer_pattern=pattern, slots=3)
    expected = (pattern * (length // len(pattern) + 1))[:length]
    for slot in range(3):
        if is_read:
            made.read(bytes(65536), slot)
        assert made.write(length, 4096 * slot, 7, slot) == expected


@pytest.mark.parametrize("percentage", [1, 10, 30, 50, 70, 90, 99, 100])
@pytest.mark.parametrize(("bs", "chunk"), [(4 * KIB, 0), (64 * KIB, 0), (64 * KIB, 4 * KIB), (20_000, 1000)])
def test_blocks_compress_as_far_as_asked(percentage: int, bs: int, chunk: int) -> None:
    made = blocks(200, bs, buffer_compress_percentage=percentage, buffer_compress_chunk=chunk)
    assert compressed_away(made) == pytest.approx(percentage, abs=3)
    assert len(set(made)) == (200 if percentage < 100 else 1)


@given(st.integers(1, 99), st.integers(0, 100_000), st.integers(1, 32 * KIB))
def test_the_random_part_is_what_was_asked_to_a_word(percentage: int, chunk: int, length: int) -> None:
    (block,) = blocks(
        1, length, buffer_compress_percentage=percentage, buffer_compress_chunk=chunk, buffer_pattern=b"x"
    )
    fixed = block.count(b"x")
    # One byte in 256 of the random part is an x as well.
    chance = (length - fixed) / 256 + 5 * (length / 256) ** 0.5 + 8
    assert length * percentage / 100 - 1 <= fixed <= length * percentage / 100 + 8 + chance


@pytest.mark.parametrize("percentage", [1, 10, 50, 90, 99])
def test_blocks_repeat_as_often_as_asked(percentage: int) -> None:
    made = blocks(20_000, 512, dedupe_percentage=percentage)
    assert repeated(made) == pytest.approx(percentage, abs=1.2)


def test_blocks_that_repeat_compress_too() -> None:
    made = blocks(dedupe_percentage=50, buffer_compress_percentage=70)
    assert repeated(made) == pytest.approx(50, abs=4)
    assert compressed_away(made) == pytest.approx(70, abs=3)


def test_all_blocks_the_same_are_not_zeroes() -> None:
    made = blocks(100, dedupe_percentage=100)
    assert len(set(made)) == 1
    assert compressed_away(made) < 1


def test_a_seed_repeats_its_contents() -> None:
    options: dict[str, Any] = {"count": 50, "dedupe_percentage": 30}
    assert blocks(seed=1, **options) == blocks(seed=1, **options)
    assert blocks(seed=1, **options) != blocks(seed=2, **options)


BESIDE_FIO: list[dict[str, Any]] = [
    {},
    {"refill_buffers": 1},
    {"zero_buffers": 1},
    {"zero_buffers": 1, "refill_buffers": 1},
    {"buffer_pattern": b"\xab\xcd\xef", "refill_buffers": 1},
    {"buffer_compress_percentage": 30},
    {"buffer_compress_percentage": 70, "bs": 64 * KIB},
    {"buffer_compress_percentage": 70, "bs": 64 * KIB, "buffer_compress_chunk": 4 * KIB},
    {"buffer_compress_percentage": 50, "buffer_pattern": b"\xab\xcd"},
    {"buffer_compress_percentage": 100},
    {"dedupe_percentage": 30},
    {"dedupe_percentage": 80, "bs": 512},
    {"dedupe_percentage": 50, "buffer_compress_percentage": 50},
    {"dedupe_percentage": 50, "zero_buffers": 1},
]


@pytest.mark.requires_fio
@pytest.mark.parametrize("options", BESIDE_FIO, ids=str)
def test_files_compress_and_repeat_as_fios_do(options: dict[str, Any], tmp_path: Path) -> None:
    theirs = blocks_of_fio(tmp_path / "fio", **options)
    ours = blocks(len(theirs), **options)
    # Unshaped, a tenth of what fio writes is zeroes.
    near = 2 if options else 10
    assert compressed_away(ours) == pytest.approx(compressed_away(theirs), abs=near)
    assert repeated(ours) == pytest.approx(repeated(theirs), abs=4)


@pytest.mark.requires_fio
@pytest.mark.parametrize("percentage", [10, 60])
def test_fios_own_tool_finds_the_share_of_repeated_blocks(percentage: int, tmp_path: Path) -> None:
    path = tmp_path / "written"
    path.write_bytes(b"".join(blocks(8192, 4 * KIB, dedupe_percentage=percentage)))
    done = subprocess.run(
        ["fio-dedupe", "-B", "4096", str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    (found,) = [line.partition("=")[2] for line in done.stdout.splitlines() if "dedupe_percentage=" in line]
    assert int(found) == pytest.approx(percentage, abs=2)

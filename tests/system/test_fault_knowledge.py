"""What can be told of damage depends on what is known: by a job that reads what another wrote, and without headers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fault_matrix
import pytest
from fault_disk import FaultDisk
from fault_matrix import AT, BLOCK, MISPLACED_BYTE, PLACE, SIZE, SOURCE, VICTIM, Bench, Way, newer, older, ran, seen

from iovigil.engines.stats import Mismatch, MismatchRecord

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop]

PLAIN = Way("psync", True, "fuse")
# 8 bytes that no other place of the block has.
PATTERN, OTHER_PATTERN = "0x1234567890abcdef", "0xfedcba"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with fault_matrix.bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


def told(record: MismatchRecord) -> tuple[Any, ...]:
    """Kind, first wrong byte within the block, wrong bits, generation found, place where it belongs."""
    first = record.first_byte - record.offset if record.first_byte >= 0 else -1
    return record.kind, first, record.wrong_bits, record.found, record.found_offset


MANY = -2
"""Bits, of which one half is right by chance."""

Known = tuple[Mismatch, int, int, int, int]
LATER: list[tuple[str, Callable[[FaultDisk], None], Known | None]] = [
    ("flip of data", lambda disk: disk.flip(PLACE + 2345, 5), (Mismatch.CHECKSUM, 2345, 1, newer(AT), -1)),
    ("flip of the checksum", lambda disk: disk.flip(PLACE + 49, 5), (Mismatch.CHECKSUM, 49, 1, newer(AT), -1)),
    # The header's own checksum says which byte would mend it.
    ("flip in the header", lambda disk: disk.flip(PLACE + 9, 5), (Mismatch.HEADER, 9, 1, 0, -1)),
    ("lost", lambda disk: disk.drop_writes(PLACE, BLOCK), None),
    ("zeroed", lambda disk: disk.zero(PLACE, BLOCK), (Mismatch.ZEROED, 0, -1, 0, -1)),
    ("torn", lambda disk: disk.tear(PLACE, BLOCK, 2048), (Mismatch.TORN, 2048, MANY, newer(AT), -1)),
    # By its header it is the older write, of which all but the first sector is missing.
    ("head lost", lambda disk: disk.drop_writes(PLACE, 512), (Mismatch.TORN, 512, MANY, older(AT), -1)),
    ("head zeroed", lambda disk: disk.zero(PLACE, 512), (Mismatch.HEADER, -1, -1, 0, -1)),
    (
        "misread",
        lambda disk: disk.misdirect(PLACE, BLOCK, SOURCE * BLOCK, "read"),
        (Mismatch.MISPLACED, MISPLACED_BYTE, -1, newer(SOURCE), SOURCE * BLOCK),
    ),
]


@pytest.mark.parametrize("options", [{"rw": "read"}, {"rw": "write", "verify_only": 1}, {"rw": "randread"}], ids=str)
@pytest.mark.parametrize(("breaks", "expected"), [case[1:] for case in LATER], ids=[case[0] for case in LATER])
def test_a_later_job_tells_what_the_blocks_themselves_tell(
    bench: Bench, options: dict[str, Any], breaks: Callable[[FaultDisk], None], expected: Known | None
) -> None:
    bench.prepare("older")
    breaks(bench.disk)
    assert bench.verified(PLAIN, do_verify=0).counts == {}
    done = bench.verified(PLAIN, **options)
    if expected is None:
        assert done.counts == {}  # an older block is a good block
        return
    (record,) = done.mismatches
    assert (record.offset, record.length, record.expected) == (PLACE, BLOCK, 0)
    kind, first, bits, found, belongs = told(record)
    assert (kind, found, belongs) == (expected[0], *expected[3:])
    if expected[2] == MANY:
        assert bits > 4000
        assert first in range(expected[1], expected[1] + 4)  # some bytes of both writes are the same by chance
    else:
        assert (first, bits) == expected[1:3]


WITHOUT_HEADERS: list[tuple[str, Callable[[FaultDisk], None], dict[int, Mismatch]]] = [
    ("flip", lambda disk: disk.flip(PLACE + 2345, 5), {AT: Mismatch.CHECKSUM}),
    ("zeroed", lambda disk: disk.zero(PLACE, BLOCK), {AT: Mismatch.ZEROED}),
    ("torn", lambda disk: disk.tear(PLACE, BLOCK, 1024), {AT: Mismatch.TORN}),
    # Nothing in it says what it is.
    ("lost", lambda disk: disk.drop_writes(PLACE, BLOCK), {AT: Mismatch.CHECKSUM}),
]


@pytest.mark.parametrize("pattern", ["", "%o"])
@pytest.mark.parametrize(
    ("breaks", "expected"), [case[1:] for case in WITHOUT_HEADERS], ids=[case[0] for case in WITHOUT_HEADERS]
)
def test_a_pattern_alone_is_compared_byte_by_byte(
    bench: Bench, pattern: str, breaks: Callable[[FaultDisk], None], expected: dict[int, Mismatch]
) -> None:
    bench.prepare("older", verify="pattern", verify_pattern=OTHER_PATTERN)
    breaks(bench.disk)
    done = bench.verified(PLAIN, verify="pattern", verify_pattern=PATTERN + pattern)
    assert {it.offset // BLOCK: it.kind for it in done.mismatches} == expected
    (record,) = done.mismatches
    assert told(record)[1:3] == seen(bench.disk, AT)


@pytest.mark.parametrize("operation", ["read", "write"])
def test_a_pattern_with_its_offset_tells_where_it_belongs(bench: Bench, operation: str) -> None:
    bench.prepare("zeroes")
    place, other = (PLACE, SOURCE * BLOCK) if operation == "read" else (VICTIM * BLOCK, PLACE)
    if operation == "read":
        bench.disk.misdirect(PLACE, BLOCK, SOURCE * BLOCK, "read")
    else:
        bench.disk.misdirect(PLACE, BLOCK, VICTIM * BLOCK)
    done = bench.verified(PLAIN, verify="pattern", verify_pattern=f"{PATTERN}%o")
    record, *others = done.mismatches
    assert (record.kind, record.offset, record.found_offset) == (Mismatch.MISPLACED, place, other)
    assert told(record)[1:3] == seen(bench.disk, place // BLOCK)
    assert [(it.kind, it.offset) for it in others] == ([(Mismatch.ZEROED, PLACE)] if operation == "write" else [])


@pytest.mark.parametrize("interval", [0, 1000, 1024])
def test_a_pattern_that_begins_anew_is_compared_where_it_is(bench: Bench, interval: int) -> None:
    bench.prepare("zeroes")
    bench.disk.flip(PLACE + 3210, 4)
    done = bench.verified(PLAIN, verify="pattern", verify_pattern=f"{PATTERN}%o", verify_pattern_interval=interval)
    (record,) = done.mismatches
    assert told(record) == (Mismatch.CHECKSUM, 3210, 1, 0, -1)


def test_what_is_not_asked_for_is_not_found(bench: Bench) -> None:
    """meta judges headers alone, null nothing at all."""
    for verify, counts in (("meta", {Mismatch.HEADER: 1}), ("null", {})):
        bench.prepare("zeroes")
        bench.disk.flip(PLACE + 2345)
        bench.disk.flip(VICTIM * BLOCK + 9)
        assert bench.verified(PLAIN, verify=verify).counts == counts


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("rw", ["write", "randwrite"])
def test_damage_in_one_of_several_files_is_told_with_the_file(
    bench: Bench, tmp_path: Path, rw: str, direct: bool
) -> None:
    bench.prepare("older")
    bench.disk.flip(PLACE + 2345, 5)
    paths = [tmp_path / "a", bench.disk.path, tmp_path / "b"]
    for path in (paths[0], paths[2]):
        path.write_bytes(bytes(SIZE))
    written = {"rw": rw, "bs": BLOCK, "size": 3 * SIZE, "nrfiles": 3, "verify": "crc32c", "iodepth": 4}
    done = ran(paths, direct, **written, most=SIZE)
    (record,) = done.mismatches
    assert (record.file, record.offset, told(record)[:3]) == (1, PLACE, (Mismatch.CHECKSUM, 2345, 1))

"""Damage is found in its place and by its kind whatever the options of verification are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fault_matrix
import pytest
from fault_matrix import BLOCK, BLOCKS, SIZE, Bench, Ran, Way, ran

from iovigil.engines.stats import Mismatch, MismatchRecord

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop]

KIB = 1024
HEADERS = {"fio-3.41": 48, "fio-2.2": 40}
NUMBERIO = {"fio-3.41": slice(32, 40), "fio-2.2": slice(34, 36)}
OFFSET = slice(16, 24)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Options of a job, and what follows from them for the place of its headers."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    unit: int = BLOCK
    """Bytes under one header."""
    start: int = 0
    """Where the region begins."""
    reads_through_cache: bool = False
    """Whether it reads back what may still be in the page cache: no fault of a disk below is seen there."""

    def __str__(self) -> str:
        return self.name

    @property
    def layout(self) -> str:
        return str(self.options.get("verify_header", "fio-3.41"))


SHAPES = [
    Shape(name="plain"),
    Shape(name="at random", options={"rw": "randwrite", "iodepth": 16}),
    Shape(name="1 KiB intervals", options={"verify_interval": KIB}, unit=KIB),
    Shape(name="2 KiB intervals of 16 KiB", options={"bs": 16 * KIB, "verify_interval": 2 * KIB}, unit=2 * KIB),
    Shape(name="lengths", options={"rw": "randwrite", "bssplit": "4k/50:8k/30:16k/20", "bs": ""}),
    Shape(name="a backlog", options={"verify_backlog": 32, "verify_backlog_batch": 8}, reads_through_cache=True),
    Shape(name="a backlog at random", options={"rw": "randwrite", "verify_backlog": BLOCKS}, reads_through_cache=True),
    Shape(name="threads", options={"verify_async": 2}),
    Shape(name="threads and intervals", options={"verify_async": 2, "verify_interval": KIB}, unit=KIB),
    Shape(name="mixed", options={"rw": "randrw", "rwmixread": 30}),
    Shape(name="without a map", options={"rw": "randwrite", "norandommap": 1, "iodepth": 8}),
    Shape(name="twice over", options={"io_size": 2 * SIZE}),
    Shape(name="an offset", options={"offset": 3 * BLOCK}, start=3 * BLOCK),
    Shape(name="fio 2.2", options={"verify_header": "fio-2.2"}),
    Shape(name="blocks of 64 KiB", options={"bs": 64 * KIB}, unit=64 * KIB),
]

WAYS = [
    Way("psync", True, "fuse"),
    Way("libaio", False, "fuse"),
    Way("psync", False, "loop"),
    pytest.param(Way("io_uring", True, "loop"), marks=pytest.mark.requires_io_uring),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with fault_matrix.bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is done to some units, given the place and length of each."""

    name: str
    does: Callable[[Any, int, int], None]
    over: str
    kind: Mismatch

    def __str__(self) -> str:
        return f"{self.name} over {self.over}"


FAULTS = [
    Fault(
        name="flip of data",
        does=lambda disk, place, length: disk.flip(place + length - 100, 3),
        over="zeroes",
        kind=Mismatch.CHECKSUM,
    ),
    Fault(
        name="flip in the header", does=lambda disk, place, _: disk.flip(place + 9), over="older", kind=Mismatch.HEADER
    ),
    Fault(
        name="lost",
        does=lambda disk, place, length: disk.drop_writes(place, length),
        over="zeroes",
        kind=Mismatch.ZEROED,
    ),
    Fault(
        name="lost", does=lambda disk, place, length: disk.drop_writes(place, length), over="older", kind=Mismatch.STALE
    ),
    Fault(
        name="torn",
        does=lambda disk, place, length: disk.tear(place, length, length // 2),
        over="older",
        kind=Mismatch.TORN,
    ),
    Fault(
        name="torn",
        does=lambda disk, place, length: disk.tear(place, length, length // 2),
        over="zeroes",
        kind=Mismatch.TORN,
    ),
    Fault(name="zeroed", does=lambda disk, place, length: disk.zero(place, length), over="older", kind=Mismatch.ZEROED),
]


class Unit:
    """The bytes under one header: as written, and as read now."""

    def __init__(self, shape: Shape, place: int, written: bytes, read: bytes) -> None:
        self.shape = shape
        self.place = place
        self.written = written
        self.read = read
        self.is_damaged = written != read

    def expected(self, kind: Mismatch) -> tuple[Any, ...]:
        wrong = [
            (at, (a ^ b).bit_count()) for at, (a, b) in enumerate(zip(self.written, self.read, strict=True)) if a != b
        ]
        found = 0 if kind in (Mismatch.ZEROED, Mismatch.HEADER) else self.number(self.read)
        belongs = self.field(self.read, OFFSET) if kind is Mismatch.MISPLACED else -1
        first, bits = self.place + wrong[0][0], sum(count for _, count in wrong)
        return kind, self.place, len(self.written), first, bits, self.number(self.written), found, belongs

    def number(self, data: bytes) -> int:
        return self.field(data, NUMBERIO[self.shape.layout])

    @staticmethod
    def field(data: bytes, at: slice) -> int:
        return int.from_bytes(data[at], "little")


def units(bench: Bench, shape: Shape) -> list[Unit]:
    """All that the job wrote, by header."""
    written = bench.disk.intended.read_bytes()
    read = bench.disk.path.read_bytes()
    places = range(shape.start, shape.start + SIZE, shape.unit)
    pieces = [(place, slice(place, place + shape.unit)) for place in places]
    return [Unit(shape, place, written[at], read[at]) for place, at in pieces if any(written[at])]


def as_tuple(it: MismatchRecord) -> tuple[Any, ...]:
    return it.kind, it.offset, it.length, it.first_byte, it.wrong_bits, it.expected, it.found, it.found_offset


def check(bench: Bench, shape: Shape, done: Ran, kind: Mismatch) -> list[Unit]:
    """Every damaged unit is reported once and right, and no other."""
    damaged = [unit for unit in units(bench, shape) if unit.is_damaged]
    assert sorted(as_tuple(it) for it in done.mismatches) == [unit.expected(kind) for unit in damaged]
    assert done.counts == ({kind: len(damaged)} if damaged else {})
    return damaged


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_damage_is_found_in_its_unit(bench: Bench, fault: Fault, shape: Shape, way: Way) -> None:
    if shape.reads_through_cache and way.is_late:
        pytest.skip("the page cache has not forgotten what was written")
    count = SIZE // shape.unit
    hurt = [shape.start + number * shape.unit for number in range(2, count, max(count // 8, 1))]
    bench.prepare(fault.over, **shape.options, rw="write")
    for place in hurt:
        fault.does(bench.disk, place, shape.unit)
    done = bench.verified(way, **shape.options)
    assert len(check(bench, shape, done, fault.kind)) >= len(hurt) // 3

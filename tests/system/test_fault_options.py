"""Damage is found in its place and by its kind whatever the options of verification are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import fault_matrix
import pytest
from fault_disk import FaultDisk
from fault_matrix import BLOCK, BLOCKS, MISPLACED_BYTE, SIZE, Bench, Over, Ran, Way

from iovigil.engines.checksum_types import FIELD_SIZES
from iovigil.engines.stats import Mismatch, MismatchRecord

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop]

KIB = 1024
CHECKSUMS = [name for name, size in FIELD_SIZES.items() if size]
HEADERS = {"fio-3.41": 48, "fio-2.2": 40}
NUMBERIO = {"fio-3.41": slice(32, 40), "fio-2.2": slice(34, 36)}
OFFSET = slice(16, 24)


PATTERN, OTHER_PATTERN = "0x1234567890abcdef", "0xfedcba"


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
    def earlier(self) -> dict[str, Any]:
        """Options of an earlier run over the same region, with headers in the same places."""
        kept = ("bs", "verify", "verify_header", "verify_interval", "verify_offset", "offset")
        earlier = {name: self.options[name] for name in kept if name in self.options}
        if "verify_pattern" in self.options:
            earlier["verify_pattern"] = OTHER_PATTERN
        return earlier

    @property
    def header_at(self) -> int:
        return int(self.options.get("verify_offset", 0))

    @property
    def layout(self) -> str:
        return str(self.options.get("verify_header", "fio-3.41"))


SHAPES = [
    Shape(name="plain"),
    Shape(name="at random", options={"rw": "randwrite", "iodepth": 16}),
    Shape(name="1 KiB intervals", options={"verify_interval": KIB}, unit=KIB),
    Shape(name="2 KiB intervals of 16 KiB", options={"bs": 16 * KIB, "verify_interval": 2 * KIB}, unit=2 * KIB),
    Shape(name="lengths", options={"rw": "randwrite", "bssplit": "4k/50:8k/30:16k/20"}),
    Shape(name="a backlog", options={"verify_backlog": 32, "verify_backlog_batch": 8}, reads_through_cache=True),
    Shape(name="a backlog at random", options={"rw": "randwrite", "verify_backlog": BLOCKS}, reads_through_cache=True),
    Shape(name="threads", options={"verify_async": 2}),
    Shape(name="threads and intervals", options={"verify_async": 2, "verify_interval": KIB}, unit=KIB),
    Shape(name="mixed", options={"rw": "randrw", "rwmixread": 30}),
    Shape(name="without a map", options={"rw": "randwrite", "norandommap": 1, "iodepth": 8}),
    Shape(name="twice over", options={"io_size": 2 * SIZE}),
    Shape(name="an offset", options={"offset": 3 * BLOCK}, start=3 * BLOCK),
    Shape(name="fio 2.2", options={"verify_header": "fio-2.2"}),
    Shape(name="a header within", options={"verify_offset": 1000}),
    Shape(name="a header within its interval", options={"verify_offset": 300, "verify_interval": KIB}, unit=KIB),
    Shape(name="blocks of 64 KiB", options={"bs": 64 * KIB}, unit=64 * KIB),
]

CONTENTS = [
    *(Shape(name=name, options={"verify": name}) for name in CHECKSUMS),
    *(Shape(name=f"{name} of fio 2.2", options={"verify": name, "verify_header": "fio-2.2"}) for name in CHECKSUMS),
    Shape(name="pattern_hdr", options={"verify": "pattern_hdr", "verify_pattern": PATTERN}),
    Shape(name="pattern_hdr with offsets", options={"verify": "pattern_hdr", "verify_pattern": f"{PATTERN}%o"}),
    Shape(
        name="pattern_hdr in intervals",
        options={"verify": "pattern_hdr", "verify_pattern": PATTERN, "verify_interval": KIB},
        unit=KIB,
    ),
    Shape(name="crc32c over a pattern", options={"verify": "crc32c", "verify_pattern": PATTERN}),
]
"""What is under the header: each with the option that asks for it."""

PLAIN = Way("psync", True, "fuse")
WAYS = [
    PLAIN,
    Way("libaio", False, "fuse"),
    Way("psync", False, "loop"),
    pytest.param(Way("io_uring", True, "loop"), marks=pytest.mark.requires_io_uring),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with fault_matrix.bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


Break = Callable[[FaultDisk, Shape, int], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is done to some units, given the place of each."""

    name: str
    does: Break
    over: Over
    kind: Mismatch

    def __str__(self) -> str:
        return f"{self.name} over {self.over}"


def flipped(disk: FaultDisk, shape: Shape, place: int) -> None:
    disk.flip(place + shape.unit - 100, 3)


def flipped_in_the_header(disk: FaultDisk, shape: Shape, place: int) -> None:
    disk.flip(place + shape.header_at + 9, 3)


def flipped_in_the_checksum(disk: FaultDisk, shape: Shape, place: int) -> None:
    disk.flip(place + HEADERS[shape.layout], 6)


def lost(disk: FaultDisk, shape: Shape, place: int) -> None:
    disk.drop_writes(place, shape.unit)


def torn(disk: FaultDisk, shape: Shape, place: int) -> None:
    disk.tear(place, shape.unit, shape.unit // 2)


def zeroed(disk: FaultDisk, shape: Shape, place: int) -> None:
    disk.zero(place, shape.unit)


FAULTS = [
    Fault(name="flip of data", does=flipped, over="zeroes", kind=Mismatch.CHECKSUM),
    Fault(name="flip in the header", does=flipped_in_the_header, over="older", kind=Mismatch.HEADER),
    Fault(name="lost", does=lost, over="zeroes", kind=Mismatch.ZEROED),
    Fault(name="lost", does=lost, over="older", kind=Mismatch.STALE),
    Fault(name="torn", does=torn, over="zeroes", kind=Mismatch.TORN),
    Fault(name="torn", does=torn, over="older", kind=Mismatch.TORN),
    Fault(name="zeroed", does=zeroed, over="older", kind=Mismatch.ZEROED),
]


class Unit:
    """The bytes under one header: as written, and as read now."""

    def __init__(self, shape: Shape, place: int, written: bytes, read: bytes) -> None:
        self.shape = shape
        self.place = place
        self.written = written
        self.read = read

    @property
    def is_damaged(self) -> bool:
        return self.written != self.read

    def expected(self, kind: Mismatch) -> tuple[Any, ...]:
        pairs = enumerate(zip(self.written, self.read, strict=True))
        wrong = [(at, (a ^ b).bit_count()) for at, (a, b) in pairs if a != b]
        first = wrong[0][0]
        bits = sum(count for _, count in wrong)
        # Half of what lies on zeroes is a header of zeroes.
        found = 0 if kind in (Mismatch.ZEROED, Mismatch.HEADER) else self.number(self.read)
        belongs = -1
        if kind is Mismatch.MISPLACED:
            first, belongs = self.shape.header_at + MISPLACED_BYTE, self.field(self.read, OFFSET)
        return kind, self.place, len(self.written), self.place + first, bits, self.number(self.written), found, belongs

    def number(self, data: bytes) -> int:
        return self.field(data, NUMBERIO[self.shape.layout])

    def field(self, data: bytes, at: slice) -> int:
        return int.from_bytes(data[self.shape.header_at :][at], "little")


class Trial:
    """A disk made ready, damaged in some units, and a job on it."""

    def __init__(self, bench: Bench, shape: Shape, over: Over) -> None:
        self.bench = bench
        self.shape = shape
        bench.prepare(over, **shape.earlier)
        self.before = bench.disk.intended.read_bytes()
        count = SIZE // shape.unit
        # Some way into the job, apart from each other, and not at the beginning of an I/O that has several.
        numbers = range(2, count) if count < 16 else range(14, count, count // 8)
        self.hurt = [shape.start + number * shape.unit for number in numbers]
        self.shift = (2 if count < 16 else 9) * shape.unit
        """How far before them others are that may be hit by what goes astray."""

    def units(self) -> list[Unit]:
        """All that the job wrote, by header."""
        written, read = self.bench.disk.intended.read_bytes(), self.bench.disk.path.read_bytes()
        unit, start = self.shape.unit, self.shape.start
        places = [(place, slice(place, place + unit)) for place in range(start, start + SIZE, unit)]
        return [
            Unit(self.shape, place, written[at], read[at]) for place, at in places if written[at] != self.before[at]
        ]

    def check(self, done: Ran, kind_of: Callable[[Unit], Mismatch]) -> int:
        """Every damaged unit is reported once and right, and no other; how many are."""
        damaged = [unit for unit in self.units() if unit.is_damaged]
        assert sorted(as_tuple(it) for it in done.mismatches) == sorted(
            unit.expected(kind_of(unit)) for unit in damaged
        )
        assert sum(done.counts.values()) == len(damaged)
        return len(damaged)


def as_tuple(it: MismatchRecord) -> tuple[Any, ...]:
    return it.kind, it.offset, it.length, it.first_byte, it.wrong_bits, it.expected, it.found, it.found_offset


def skip_what_is_not_seen(shape: Shape, way: Way) -> None:
    if shape.reads_through_cache and way.is_late:
        pytest.skip("the page cache has not forgotten what was written")


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_damage_is_found_in_its_unit(bench: Bench, fault: Fault, shape: Shape, way: Way) -> None:
    skip_what_is_not_seen(shape, way)
    trial = Trial(bench, shape, fault.over)
    for place in trial.hurt:
        fault.does(bench.disk, shape, place)
    done = bench.verified(way, **shape.options)
    assert trial.check(done, lambda _: fault.kind) >= len(trial.hurt) // 3


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.name != "a backlog at random"], ids=str)
@pytest.mark.parametrize("over", ["older", "zeroes"])
def test_a_stray_write_wrongs_two_units(bench: Bench, over: Over, shape: Shape, way: Way) -> None:
    skip_what_is_not_seen(shape, way)
    trial = Trial(bench, shape, over)
    for place in trial.hurt:
        bench.disk.misdirect(place, shape.unit, place - trial.shift)
    done = bench.verified(way, **shape.options)
    own = Mismatch.STALE if over == "older" else Mismatch.ZEROED
    found = trial.check(done, lambda unit: own if unit.place in trial.hurt else Mismatch.MISPLACED)
    assert found >= len(trial.hurt) // 2
    assert done.counts[Mismatch.MISPLACED]


@pytest.mark.parametrize("way", [*WAYS[:2], WAYS[3]], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"io_size": 3 * SIZE},
        {"rw": "randwrite", "norandommap": 1, "io_size": 3 * SIZE},
        {"rw": "randwrite", "norandommap": 1, "io_size": 3 * SIZE, "verify_header": "fio-2.2"},
        {"bs": 4 * BLOCK, "verify_interval": BLOCK, "io_size": 3 * SIZE},
    ],
    ids=str,
)
def test_a_write_lost_over_another_of_the_same_run_is_stale(bench: Bench, options: dict[str, Any], way: Way) -> None:
    """Both are of one run: only the generation tells them apart."""
    shape = Shape(name="", options=options)
    trial = Trial(bench, shape, "older")
    for place in trial.hurt:
        bench.disk.drop_writes(place, BLOCK, skip=1)
    done = bench.verified(way, **options)
    assert trial.check(done, lambda _: Mismatch.STALE) >= len(trial.hurt) // 2


@pytest.mark.parametrize("shape", CONTENTS, ids=str)
@pytest.mark.parametrize(
    "fault",
    [*FAULTS, Fault(name="flip of the checksum", does=flipped_in_the_checksum, over="older", kind=Mismatch.CHECKSUM)],
    ids=str,
)
def test_damage_is_found_by_every_checksum(bench: Bench, fault: Fault, shape: Shape) -> None:
    trial = Trial(bench, shape, fault.over)
    for place in trial.hurt:
        fault.does(bench.disk, shape, place)
    done = bench.verified(PLAIN, **shape.options)
    assert trial.check(done, lambda _: fault.kind) == len(trial.hurt)

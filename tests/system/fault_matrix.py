"""Every way in which a disk may lie, and what a verified job has to say of it.

`python tests/system/fault_matrix.py` tries all of them and writes the table into docs/reliability.md.
"""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import reliability_page
from engine_runs import DEADLINE_S, KIB, MIB, job_options
from fault_disk import FaultDisk, mounted

from iovigil.engines.job import Job
from iovigil.engines.stats import Mismatch, MismatchRecord, StatsPage

BLOCK = 4 * KIB
BLOCKS = 64
SIZE = BLOCKS * BLOCK
DISK_SIZE = 4 * MIB

AT = 20
"""The block that it happens to."""
VICTIM = 5
"""Where a misdirected write ends up: behind those in flight."""
SOURCE = 40
"""Where a misdirected read comes from."""

PLACE = AT * BLOCK
HEADER = 48
MISPLACED_BYTE = 16
"""Of a block that is right in itself, and says that it belongs elsewhere: the byte where it says so."""
CHECKSUM = 4


Over = Literal["zeroes", "older"]
"""What stands on the disk before: nothing, or a good run with other contents."""

Device = Literal["fuse", "loop"]
"""The file that FUSE serves, or a block device above it."""


class Way(NamedTuple):
    """How the job gets to the disk."""

    engine: str
    is_direct: bool
    device: Device

    @property
    def is_late(self) -> bool:
        """Whether a write has ended when it is in the page cache: an error is then that of an fsync."""
        return self.device == "loop" and not self.is_direct

    def __str__(self) -> str:
        return f"{self.engine}-{'direct' if self.is_direct else 'buffered'}-{self.device}"


DEVICES: tuple[Device, ...] = ("fuse", "loop")
WAYS = [
    Way(engine, is_direct, device)
    for engine, is_direct, device in product(("psync", "libaio", "io_uring"), (True, False), DEVICES)
]


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A mismatch that is to be reported. What is None is taken from the disk itself (see `seen`)."""

    kind: Mismatch
    block: int = AT
    first_byte: int | None = None
    """Within the block."""
    bits: int | None = None
    found: int = 0
    found_offset: int = -1


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault, and what is to be said of it."""

    fault: str
    breaks: Callable[[FaultDisk], None]
    over: Over = "older"
    wrong: tuple[Wrong, ...] = ()
    failure: Callable[[Way], str] = lambda _: ""
    """What the job ends with instead of a mismatch."""
    says: str = ""
    """That in the words of the table."""
    why: str
    options: dict[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("fuse", "loop")

    def __str__(self) -> str:
        return f"{self.fault}, over {self.over}"


def older(block: int) -> int:
    """The generation of a block of the earlier run, which wrote everything twice."""
    return BLOCKS + block + 1


def newer(block: int) -> int:
    """The generation of a block of the run that is watched, which writes in order."""
    return block + 1


CHECKSUM_WRONG = "The header is sound, so it is this block; its data are not."
HEADER_WRONG = "Nothing that the block says of itself can be believed."
STALE = "A good block of this place, but an older one: the write was lost."
ZEROED = "Nothing ever came there."
TORN = "Part of the write is there; the rest is what stood there before."


def flipped(byte: int, bit: int, operation: str) -> Case:
    if byte >= HEADER:
        where = "stored checksum" if byte < HEADER + CHECKSUM else "data"
        kind, why = Mismatch.CHECKSUM, CHECKSUM_WRONG
    else:
        where, kind, why = "header", Mismatch.HEADER, HEADER_WRONG
    return Case(
        fault=f"one bit of byte {byte} ({where}) flips on {operation}",
        breaks=lambda disk: disk.flip(PLACE + byte, bit, operation),
        wrong=(Wrong(kind=kind, first_byte=byte, bits=1, found=newer(AT) if kind is Mismatch.CHECKSUM else 0),),
        why=why,
    )


def flips(*bits: tuple[int, int]) -> Callable[[FaultDisk], None]:
    """Turns over these bits of these bytes when they are read."""

    def breaks(disk: FaultDisk) -> None:
        for byte, bit in bits:
            disk.flip(PLACE + byte, bit)

    return breaks


def zeroes(operation: str) -> Callable[[FaultDisk], None]:
    return lambda disk: disk.zero(PLACE, BLOCK, operation)


def lost(fault: str, breaks: Callable[[FaultDisk], None]) -> list[Case]:
    """What leaves the block as it was."""
    return [
        Case(fault=fault, breaks=breaks, over="older", wrong=(Wrong(kind=Mismatch.STALE, found=older(AT)),), why=STALE),
        Case(fault=fault, breaks=breaks, over="zeroes", wrong=(Wrong(kind=Mismatch.ZEROED),), why=ZEROED),
    ]


OVERS: tuple[tuple[Over, int], ...] = (("older", older(AT)), ("zeroes", 0))
"""What may stand there before, and the generation of that."""


def torn(fault: str, start: int, length: int) -> list[Case]:
    """What leaves part of the block as it was."""
    return [
        Case(
            fault=fault,
            breaks=lambda disk: disk.drop_writes(PLACE + start, length),
            over=over,
            # Whatever header is there is sound, and tells of its write.
            wrong=(Wrong(kind=Mismatch.TORN, found=newer(AT) if start else found),),
            why=TORN,
        )
        for over, found in OVERS
    ]


def misdirected() -> list[Case]:
    def astray(kind: Mismatch, over: Over, found: int) -> Case:
        return Case(
            fault="a write goes to the place of another block",
            breaks=lambda disk: disk.misdirect(PLACE, BLOCK, VICTIM * BLOCK),
            over=over,
            wrong=(
                Wrong(kind=Mismatch.MISPLACED, block=VICTIM, found=newer(AT), found_offset=PLACE),
                Wrong(kind=kind, found=found),
            ),
            why="The victim holds a good block of another place; its own place holds what stood there.",
        )

    return [
        astray(Mismatch.STALE, "older", older(AT)),
        astray(Mismatch.ZEROED, "zeroes", 0),
        Case(
            fault="a read comes from the place of another block",
            breaks=lambda disk: disk.misdirect(PLACE, BLOCK, SOURCE * BLOCK, "read"),
            wrong=(Wrong(kind=Mismatch.MISPLACED, found=newer(SOURCE), found_offset=SOURCE * BLOCK),),
            why="A good block, of another place.",
        ),
        Case(
            fault="the first sector comes from the place of another block",
            breaks=lambda disk: disk.misdirect(PLACE, 512, SOURCE * BLOCK, "read"),
            wrong=(Wrong(kind=Mismatch.TORN, found=newer(SOURCE), found_offset=SOURCE * BLOCK),),
            why="Its header is of another place, and the rest is not.",
        ),
        Case(
            fault="the last sector comes from the place of another block",
            breaks=lambda disk: disk.misdirect(PLACE + 3584, 512, SOURCE * BLOCK + 3584, "read"),
            wrong=(Wrong(kind=Mismatch.TORN, found=newer(AT)),),
            why="Part of the write is there.",
        ),
        Case(
            fault="all but the last sector of a write goes to the place of another block",
            breaks=lambda disk: disk.misdirect(PLACE, 3584, VICTIM * BLOCK),
            over="older",
            wrong=(
                Wrong(kind=Mismatch.TORN, block=VICTIM, found=newer(AT), found_offset=PLACE),
                Wrong(kind=Mismatch.TORN, found=older(AT)),
            ),
            why="Of both places part is what should be there.",
        ),
    ]


def failing(operation: Literal["read", "write"], number: int) -> Case:
    """An error is an error, and no mismatch."""

    def failure(way: Way) -> str:
        if operation == "write" and way.is_late:
            return fsync_failure(errno.EIO)
        told = errno.EIO if way.is_late else number  # a page cache knows but one error of a read
        return f"{operation} at offset {PLACE}, length {BLOCK}: {os.strerror(told)} ({errno.errorcode[told]})"

    def breaks(disk: FaultDisk) -> None:
        (disk.fail_reads if operation == "read" else disk.fail_writes)(PLACE, BLOCK, errno=number)

    return Case(
        fault=f"a {operation} fails with {errno.errorcode[number]}",
        breaks=breaks,
        failure=failure,
        says=f"{errno.errorcode[number]} at its offset"
        + (
            f"; {'EIO ' if number != errno.EIO else ''}of the fsync behind a page cache" if operation == "write" else ""
        ),
        why="An error is no mismatch.",
        options={"iodepth": 1},  # the kernel makes one request of neighbours, and fails all of it
    )


def fsync_failure(number: int) -> str:
    return f"fsync: {os.strerror(number)} ({errno.errorcode[number]})"


def short(operation: Literal["read", "write"], most: int, devices: tuple[str, ...]) -> Case:
    """Less than was asked for is taken up where it ended, where the kernel lets us see it."""

    def failure(way: Way) -> str:
        if operation == "read" or (way.device == "fuse" and way.engine == "psync"):
            return ""
        if way.is_late:
            return fsync_failure(errno.EIO)
        return f"write at offset {PLACE}, length {BLOCK}: {os.strerror(errno.EIO)} (EIO)"

    return Case(
        fault=f"{operation}s transfer {most} bytes at most",
        breaks=lambda disk: disk.shorten(most, PLACE, BLOCK, operation),
        failure=failure,
        says="nothing: it goes on where it ended"
        + ("; EIO where the kernel makes that of it (asynchronous, loop)" if operation == "write" else ""),
        why="A short transfer is allowed, and all of the block is verified.",
        options={"iodepth": 1},
        devices=devices,
    )


CASES = [
    *(
        Case(fault="nothing is wrong", breaks=lambda _: None, over=over, says="nothing", why="Good data are good.")
        for over, _ in OVERS
    ),
    *(
        flipped(byte, bit, "read")
        for byte, bit in ((0, 0), (4, 3), (8, 7), (16, 5), (47, 1), (49, 2), (52, 0), (4095, 7))
    ),
    *(flipped(byte, bit, "write") for byte, bit in ((1, 6), (20, 4), (50, 3), (2345, 5))),
    Case(
        fault="five bits of three bytes flip on read",
        breaks=flips((700, 0), (700, 7), (701, 3), (3000, 1), (3000, 2)),
        wrong=(Wrong(kind=Mismatch.CHECKSUM, first_byte=700, bits=5, found=newer(AT)),),
        why=CHECKSUM_WRONG,
    ),
    Case(
        fault="100 bytes within a sector are read as zeroes",
        breaks=lambda disk: disk.zero(PLACE + 1100, 100),
        wrong=(Wrong(kind=Mismatch.CHECKSUM, found=newer(AT)),),
        why=CHECKSUM_WRONG,
    ),
    *lost("a write is lost", lambda disk: disk.drop_writes(PLACE, BLOCK)),
    *lost("what was written is gone after the flush", lambda disk: disk.age(PLACE, BLOCK, "sync")),
    *lost("a read comes from an old copy", lambda disk: disk.age(PLACE, BLOCK, "read")),
    *(
        Case(
            fault=f"zeroes are {what}",
            breaks=zeroes(operation),
            wrong=(Wrong(kind=Mismatch.ZEROED),),
            why="Nothing but zeroes: what stood there is gone too.",
        )
        for what, operation in (("read", "read"), ("written", "write"))
    ),
    *(case for keep in (512, 1000, 2048) for case in torn(f"a write ends after {keep} bytes", keep, BLOCK - keep)),
    *torn("the first sector of a write is lost", 0, 512),
    *torn("the fourth sector of a write is lost", 1536, 512),
    *misdirected(),
    failing("read", errno.EIO),
    failing("read", errno.ENODATA),
    failing("write", errno.EIO),
    failing("write", errno.ENOSPC),
    Case(
        fault="the flush fails with EIO",
        breaks=lambda disk: disk.fail_syncs(),
        failure=lambda _: fsync_failure(errno.EIO),
        says="EIO of the fsync",
        why="What may not be there is not read back.",
    ),
    short("read", 512, ("fuse", "loop")),
    short("read", 1000, ("fuse",)),  # a loop device above it puts what follows in the wrong place
    short("write", 512, ("fuse", "loop")),
    short("write", 1000, ("fuse", "loop")),
]


class Seen(NamedTuple):
    """What the disk itself says of a block: what was written against what is read now, faults included."""

    first_byte: int
    bits: int


def seen(disk: FaultDisk, block: int) -> Seen:
    with disk.intended.open("rb") as file:
        intended = os.pread(file.fileno(), BLOCK, block * BLOCK)
    with disk.path.open("rb", buffering=0) as file:
        found = os.pread(file.fileno(), BLOCK, block * BLOCK)
    differences = [(at, (a ^ b).bit_count()) for at, (a, b) in enumerate(zip(intended, found, strict=True)) if a != b]
    return Seen(differences[0][0], sum(bits for _, bits in differences)) if differences else Seen(-1, 0)


class Ran(NamedTuple):
    """A job that is over."""

    mismatches: list[MismatchRecord]
    counts: dict[Mismatch, int]
    error: int
    text: str
    page: StatsPage


def ran(paths: Sequence[Path], direct: bool, most: int = DISK_SIZE, **written: Any) -> Ran:
    """Run a job in this process: the devices are ours, and the guard would let nobody write to a raw one.

    `most` is how much of each file it may use.
    """
    options = job_options(direct=int(direct), **written)
    page = StatsPage.create()
    late = threading.Timer(DEADLINE_S, page.request_stop)
    late.start()
    with contextlib.ExitStack() as opened:
        opened.callback(late.cancel)
        files = []
        for path in paths:
            fd = os.open(path, os.O_RDWR | (os.O_DIRECT if direct else 0))
            opened.callback(os.close, fd)
            files.append((fd, min(most, os.lseek(fd, 0, os.SEEK_END))))
        Job(options.native(), page, files).run()
        assert late.is_alive(), f"not over within {DEADLINE_S:g} s"
    counts = {kind: page.mismatch(kind) for kind in Mismatch if page.mismatch(kind)}
    return Ran(list(page.mismatches()), counts, page.error, page.text, page)


class Bench:
    """A fault disk and the loop device above it, made ready for one case after the other."""

    def __init__(self, disk: FaultDisk) -> None:
        self.disk = disk
        self.loop = disk.as_loop_device()

    def path(self, way: Way) -> Path:
        return self.disk.path if way.device == "fuse" else self.loop

    def prepare(self, over: Over, **options: Any) -> None:
        """A good disk that holds zeroes, or an earlier run with these options."""
        self.disk.clear()
        for path in (self.disk.backing, self.disk.intended):
            os.truncate(path, 0)
            os.truncate(path, DISK_SIZE)
        if over == "older":
            written = {"rw": "write", "bs": BLOCK, "size": SIZE, "verify": "crc32c", **options}
            before = ran([self.disk.path], True, **written, io_size=2 * int(written["size"]), do_verify=0)
            assert (before.error, before.counts) == (0, {}), before.text
        subprocess.run(["blockdev", "--flushbufs", str(self.loop)], check=True, timeout=5)

    def verified(self, way: Way, **options: Any) -> Ran:
        written = {"rw": "write", "bs": BLOCK, "size": SIZE, "iodepth": 4, "verify": "crc32c", **options}
        return ran([self.path(way)], way.is_direct, ioengine=way.engine, **written)


@contextlib.contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    with mounted(directory, DISK_SIZE) as disk:
        yield Bench(disk)


def expected(case: Case, disk: FaultDisk) -> list[tuple[Any, ...]]:
    """What is to be reported, in order of offset."""
    answers = []
    for wrong in case.wrong:
        first, bits = seen(disk, wrong.block)
        assert wrong.first_byte in (None, first), f"the disk is wrong at {first}"
        assert wrong.bits in (None, bits), f"{bits} bits of the disk are wrong"
        place = wrong.block * BLOCK
        if wrong.kind is Mismatch.MISPLACED:
            first = MISPLACED_BYTE
        answers.append((wrong.kind, place, place + first, bits, newer(wrong.block), wrong.found, wrong.found_offset))
    return answers


def reported(done: Ran) -> list[tuple[Any, ...]]:
    return [
        (it.kind, it.offset, it.first_byte, it.wrong_bits, it.expected, it.found, it.found_offset)
        for it in sorted(done.mismatches, key=lambda it: it.offset)
    ]


class Trial(NamedTuple):
    """What came of one case, and what was to come of it: both the same where all is well."""

    reported: list[tuple[Any, ...]]
    expected: list[tuple[Any, ...]]
    text: str
    failure: str
    """What the text should be where there is no mismatch."""

    @property
    def is_right(self) -> bool:
        return self.reported == self.expected and (bool(self.expected) or self.text == self.failure)


def tried(bench: Bench, case: Case, way: Way) -> Trial:
    """Break a good disk, run a job on it, and look at the disk itself."""
    bench.prepare(case.over)
    case.breaks(bench.disk)
    done = bench.verified(way, **case.options)
    assert sum(done.counts.values()) == len(done.mismatches)
    return Trial(reported(done), expected(case, bench.disk), done.text, case.failure(way))


def ways_of(case: Case) -> list[Way]:
    return [way for way in WAYS if way.device in case.devices]


Results = dict[str, tuple[int, int]]
"""In how many ways a case came out right, and in how many it was tried."""


def perfect() -> Results:
    return {str(case): (len(ways_of(case)),) * 2 for case in CASES}


def render(results: Results) -> str:
    """The table, in Markdown."""
    right, all_of_them = (sum(column) for column in zip(*results.values(), strict=True))
    lines = [
        f"{len(CASES)} cases, each by psync, libaio and io_uring, past the page cache and through it, on a file that",
        f"FUSE serves and on a loop device above it: {right} of {all_of_them} came out as they should.",
        "",
        "| fault | what stood there before | reported | why | right |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case in CASES:
        over = "an earlier run" if case.over == "older" else "zeroes"
        good, tries = results[str(case)]
        lines.append(f"| {case.fault} | {over} | {said(case)} | {case.why} | {good} of {tries} |")
    return "\n".join(lines)


def said(case: Case) -> str:
    """What is reported, in words."""
    if not case.wrong:
        return case.says
    parts = []
    for wrong in case.wrong:
        words = str(wrong.kind.name).lower()
        if wrong.block == VICTIM:
            words += " at the victim"
        elif len(case.wrong) > 1:
            words += " at its own place"
        if wrong.first_byte is not None:
            words += f", byte {wrong.first_byte}, {wrong.bits} bit{'s' * (wrong.bits != 1)}"
        parts.append(words)
    return "; ".join(parts)


def main() -> int:
    results: Results = {}
    with tempfile.TemporaryDirectory() as directory, bench(Path(directory)) as made:
        for case in CASES:
            trials = {way: tried(made, case, way) for way in ways_of(case)}
            results[str(case)] = (sum(trial.is_right for trial in trials.values()), len(trials))
            for way, trial in trials.items():
                if not trial.is_right:
                    print(f"{case}, {way}:\n  {trial}")
    reliability_page.write("faults", render(results))
    return 0 if results == perfect() else 1


if __name__ == "__main__":
    sys.exit(main())

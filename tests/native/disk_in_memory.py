"""A disk in memory, as an I/O engine in Python, that remembers every I/O."""

import random
import sys
from typing import Any, Final, NamedTuple

from iovigil.engines.plugin import BUSY, READ, TRIM, WRITE, PythonEngine, Request

SIZE_MOST: Final = 1 << 24
IOS_MOST: Final = 60_000
"""More than any job of a test asks for: one that goes on and on ends here with an error."""


class Io(NamedTuple):
    ddir: int
    file: int
    offset: int
    length: int


class Disk:
    """Some files in memory. `whims` (0: none) seeds an asynchronous disk's order, refusals and short transfers."""

    def __init__(self, sizes: list[int], iodepth: int = 1, whims: int = 0, is_moody: bool = False) -> None:
        assert max(sizes) <= SIZE_MOST
        self.sizes = sizes
        self.contents = [bytearray(size) for size in sizes]
        self.iodepth = iodepth
        self.is_asynchronous = iodepth > 1 or bool(whims)
        self.whims = whims
        self.dice = random.Random(whims)
        self.is_moody = is_moody
        self.ios: list[Io] = []
        self.slots: set[int] = set()
        self.shorts = 0
        self.flying: dict[int, tuple[Request, Io]] = {}
        self.rest: dict[int, Io] = {}
        """What is still to come of an I/O that was cut short, by its slot."""
        self.deepest = 0
        self.crossings: list[tuple[Io, Io]] = []
        """I/Os in flight at once that touch the same bytes, one of which changes them."""
        self.faults: list[str] = []

    @property
    def files(self) -> list[tuple[int, int]]:
        """As Job takes them: without descriptors."""
        return [(-1, size) for size in self.sizes]

    @property
    def location(self) -> Any:
        sys.modules[__name__].__dict__["Engine"] = engine_on(self)
        return {"module": __name__, "file": "", "path": []}

    def __repr__(self) -> str:
        return f"Disk({self.sizes}, {self.iodepth}, {self.whims}, {self.is_moody})"

    def takes(self, request: Request) -> Io:
        """Note an I/O, and whatever is wrong with it."""
        io = Io(request.ddir, request.file, request.offset, request.length)
        self.slots.add(request.index)
        expected = self.rest.pop(request.index, None)
        if expected is not None:
            if io != expected:
                self.faults.append(f"{io} instead of the rest, {expected}")
            return io
        self.ios.append(io)
        if len(self.ios) > IOS_MOST:
            raise OSError(61, "no end")
        if io.ddir <= TRIM and not (io.length and io.offset + io.length <= self.sizes[io.file]):
            self.faults.append(f"{io} is not on the disk")
        return io

    def crosses(self, io: Io) -> None:
        for _, other in self.flying.values():
            if (
                {io.ddir, other.ddir} & {WRITE, TRIM}
                and max(io.ddir, other.ddir) <= TRIM
                and io.file == other.file
                and io.offset < other.offset + other.length
                and other.offset < io.offset + io.length
            ):
                self.crossings.append((io, other))

    def does(self, request: Request, io: Io) -> int:
        if io.ddir > TRIM:
            return 0
        done = io.length
        if self.is_moody and io.ddir != TRIM and done > 1 and self.dice.random() < 0.05:
            done = self.dice.randrange(1, done)
            self.shorts += 1
            self.rest[request.index] = Io(io.ddir, io.file, io.offset + done, io.length - done)
        place = slice(io.offset, io.offset + done)
        if io.ddir == READ:
            request.buffer[:done] = self.contents[io.file][place]
        elif io.ddir == WRITE:
            self.contents[io.file][place] = request.buffer[:done]
        else:
            self.contents[io.file][place] = bytes(done)
        return done


class DiskEngine(PythonEngine):
    disk: Disk

    def submit(self, request: Request) -> int | object | None:
        disk = self.disk
        if disk.is_moody and disk.flying and disk.dice.random() < 0.05:
            return BUSY
        io = disk.takes(request)
        disk.crosses(io)
        disk.deepest = max(disk.deepest, len(disk.flying) + 1)
        if not self.is_asynchronous or (disk.is_moody and disk.dice.random() < 0.05):
            return disk.does(request, io)
        disk.flying[request.index] = request, io
        return None

    def collect(self, wanted: int, _timeout_s: float | None) -> list[Request]:
        disk = self.disk
        slots = list(disk.flying)
        if disk.is_moody:
            disk.dice.shuffle(slots)
            slots = slots[: disk.dice.randint(wanted, len(slots))]
        done = []
        for slot in slots:
            request, io = disk.flying.pop(slot)
            request.result = disk.does(request, io)
            done.append(request)
        return done


def engine_on(disk: Disk) -> type[DiskEngine]:
    return type("Engine", (DiskEngine,), {"disk": disk, "is_asynchronous": disk.is_asynchronous})

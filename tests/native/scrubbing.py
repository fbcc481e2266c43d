"""Scrubs of a disk in memory that notes what reaches it in which order, its state included."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from disk_in_memory import Disk, Io

from iovigil.engines.diagnosis import UnitVerifier
from iovigil.engines.job import Job
from iovigil.engines.scrub_state import SLOT_BYTES, ScrubState
from iovigil.engines.spelling import read_options
from iovigil.engines.stats import Mismatch, MismatchRecord, StatsPage

WRITE: Final = 1
SYNC: Final = 3
SECTOR: Final = 512
BLOCK: Final = 2048
BLOCKS: Final = 24
WINDOW: Final = 4
STATE_BYTES: Final = 2 * SLOT_BYTES


class Event(NamedTuple):
    """Something that reached a medium: a write (volatile until the next flush), a flush, or a record of the state."""

    kind: str
    offset: int = 0
    data: bytes = b""


class WatchedDisk(Disk):
    """A disk that notes its writes and flushes, and between them what has become of the state."""

    def __init__(self, contents: bytes, state_fd: int, iodepth: int = 1, whims: int = 0) -> None:
        super().__init__([len(contents)], iodepth, whims)
        self.contents[0][:] = contents
        self.state_fd = state_fd
        self.state = os.pread(state_fd, STATE_BYTES, 0).ljust(STATE_BYTES, b"\0")
        self.events: list[Event] = []
        self.errors: dict[tuple[int, int], int] = {}
        """errno for I/Os of a direction at an offset; of a synchronous disk only, where it is not the engine's own."""

    def note_state(self) -> None:
        state = os.pread(self.state_fd, STATE_BYTES, 0).ljust(STATE_BYTES, b"\0")
        for at in (0, SLOT_BYTES):
            slot = state[at : at + SLOT_BYTES]
            if slot != self.state[at : at + SLOT_BYTES]:
                self.events.append(Event("state", at, slot))
        self.state = state

    def does(self, request: Any, io: Io) -> int:
        self.note_state()
        if error := self.errors.get((io.ddir, io.offset)):
            raise OSError(error, os.strerror(error))
        if io.ddir == WRITE:
            self.events.append(Event("write", io.offset, bytes(request.buffer[: io.length])))
        elif io.ddir >= SYNC:
            self.events.append(Event("flush"))
        return super().does(request, io)


class Scrubbed(NamedTuple):
    """A run that is over."""

    page: StatsPage
    disk: WatchedDisk
    notes: list[str]

    @property
    def mismatches(self) -> list[MismatchRecord]:
        return self.page.mismatches()

    @property
    def wrong(self) -> int:
        return sum(self.page.mismatch(kind) for kind in Mismatch)

    @property
    def figures(self) -> Any:
        return self.page.scrub


@contextmanager
def state_file(contents: bytes = b"") -> Iterator[int]:
    fd = os.memfd_create("state")
    try:
        os.pwrite(fd, contents, 0)
        yield fd
    finally:
        os.close(fd)


def order_of(state_fd: int, **changes: Any) -> dict[str, Any]:
    return {
        "state_fd": state_fd,
        "state_path": "/state",
        "identity": "",
        "n": 3,
        "period_s": 0,
        "every_s": 0,
        "cycles": 1,
        "window_bytes": WINDOW * BLOCK,
        **changes,
    }


def scrub(disk: WatchedDisk, options: dict[str, Any] | None = None, block: int = BLOCK, **changes: Any) -> Scrubbed:
    """Run a scrub to its end."""
    wanted = {"rw": "rw", "bs": block, "size": disk.sizes[0], "iodepth": disk.iodepth, **(options or {})}
    page = StatsPage.create()
    page.release()
    order = order_of(disk.state_fd, **changes)
    job = Job(read_options(wanted).native(), page, disk.files, 1, None, (), disk.location, scrub=order)
    job.run()
    disk.note_state()
    assert not disk.faults
    return Scrubbed(page, disk, job.notes)


def states(fd: int) -> dict[str, Any]:
    return ScrubState(fd).read()


def unit_verifier(state: dict[str, Any]) -> UnitVerifier:
    label = bytes(state["region_id"])
    return UnitVerifier(nonce=state["nonce"], label=label, time_s=state["created_unix"])


def block_of(contents: bytes | bytearray, number: int) -> bytes:
    return bytes(contents[number * BLOCK : (number + 1) * BLOCK])


def torn(old: bytes, new: bytes, taken: Iterable[bool]) -> bytes:
    """The old bytes with some sectors of the new ones."""
    parts = []
    for at, is_new in zip(range(0, len(new), SECTOR), taken, strict=True):
        parts.append((new if is_new else old)[at : at + SECTOR])
    return b"".join(parts)

"""A disk of which every write is known: read from the log of dm-log-writes, and made as any loss of power leaves it.

The log: in units of the sectors that its superblock names, the superblock, then entries; each is one sector, followed
by its data, but that of a mark, which is in the same sector.
"""

import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from scrub_region import SECTOR

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC: Final = 0x6A736677736872
SUPERBLOCK: Final = struct.Struct("<QQQI")
ENTRY: Final = struct.Struct("<QQQQ")


class Entry(NamedTuple):
    """A write, a flush, or a mark."""

    flags: int
    offset: int
    length: int
    data: bytes

    @property
    def is_flush(self) -> bool:
        """Whether it and all before it are on the medium: a write is logged with the next flush, or after its FUA."""
        return bool(self.flags & (FLUSH | FUA))


def read_log(path: Path) -> list[Entry]:
    """All that was recorded, in its order."""
    entries = []
    with path.open("rb") as log:
        magic, version, count, unit = SUPERBLOCK.unpack(log.read(SUPERBLOCK.size))
        if (magic, version) != (MAGIC, 1):
            raise ValueError(f"{path} is no log of dm-log-writes: {magic:#x}, version {version}")
        at = unit
        for _ in range(count):
            log.seek(at)
            sector, sectors, flags, length = ENTRY.unpack(log.read(ENTRY.size))
            at += unit
            data = b""
            if flags & MARK:
                data = log.read(length)
            elif not flags & DISCARD:
                log.seek(at)
                data = log.read(sectors * unit)
                at += sectors * unit
            entries.append(Entry(flags, sector * unit, sectors * unit, data))
    return entries


class Replay:
    """What the disk held at moments that only go forward."""

    def __init__(self, contents: bytes, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.durable = bytearray(contents)
        self.durable_to = 0

    def at(self, cut: int, dice: random.Random | None = None) -> bytes:
        """The disk when the power goes before entry `cut`; `cut` is never less than in the call before.

        Without dice everything up to then is on the medium. With dice any part of what no flush came after is lost, in
        sectors of 512 bytes, and what would come until the next flush may be under way.
        """
        flushed = cut if dice is None else last_flush(self.entries, cut)
        for entry in self.entries[self.durable_to : flushed]:
            put(self.durable, entry)
        self.durable_to = flushed
        contents = bytearray(self.durable)
        if dice:
            until = next_flush(self.entries, cut)
            under_way = list(range(flushed, until))
            dice.shuffle(under_way)
            is_flushing = until < len(self.entries) and dice.random() < 0.25
            for number in under_way:
                put(contents, self.entries[number], None if is_flushing else dice)
            if is_flushing:
                put(contents, self.entries[until], dice)
        return bytes(contents)


def last_flush(entries: Sequence[Entry], cut: int) -> int:
    """Behind the last flush before `cut`."""
    return next((number + 1 for number in range(cut - 1, -1, -1) if entries[number].is_flush), 0)


def next_flush(entries: Sequence[Entry], cut: int) -> int:
    return next((number for number in range(cut, len(entries)) if entries[number].is_flush), len(entries))


def put(contents: bytearray, entry: Entry, dice: random.Random | None = None) -> None:
    """Do what an entry says; with dice any part of it."""
    if entry.flags & MARK:
        return
    data = bytes(entry.length) if entry.flags & DISCARD else entry.data
    share = dice.choice((0.0, 0.5, 1.0)) if dice else 1.0
    if share == 1.0 or not dice:
        contents[entry.offset : entry.offset + len(data)] = data
        return
    for at in range(0, len(data), SECTOR):
        if dice.random() < share:
            contents[entry.offset + at : entry.offset + at + SECTOR] = data[at : at + SECTOR]

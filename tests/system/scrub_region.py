"""The disk that scrubs are tried on while its power goes: where region and state are, and how they are spoilt."""

import os
import random
from pathlib import Path
from typing import Any, Final, NamedTuple

from iovigil.engines.scrub_state import ScrubState
from iovigil.engines.stats import Mismatch

MIB: Final = 1 << 20
SECTOR: Final = 512
BLOCK: Final = 64 << 10
BLOCKS: Final = 256
REGION: Final = BLOCK * BLOCKS
WINDOW: Final = 16
"""Blocks."""
N: Final = 3
STATE_FILE: Final = "state"
ITS_FILE: Final = "region"
OPTIONS: Final[dict[str, Any]] = {"bs": BLOCK, "direct": 1, "ioengine": "libaio", "iodepth": 4}


class Part(NamedTuple):
    """Bytes of a disk that are a device of their own."""

    name: str
    start: int
    length: int


STATE_PART: Final = Part("state", 24 * MIB, 8 * MIB)
DISK_BYTES: Final = 32 * MIB


def layout(*, is_file: bool) -> tuple[Part, Part]:
    """The region, or a filesystem with room for it, and the filesystem of the state."""
    return Part("region", 0, 24 * MIB if is_file else REGION), STATE_PART


def state_in(path: Path) -> dict[str, Any] | None:
    """The record that counts; None where none is there yet."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        return ScrubState(fd).read()
    except ValueError:
        return None
    finally:
        os.close(fd)


def spoil(region: Path, state: dict[str, Any], older: list[list[bytes]], dice: random.Random) -> dict[int, Mismatch]:
    """Put an old block and a wrong bit outside of the window; what is to be found where.

    `older` has what each block has held as far as this function has seen it.
    """
    cursor, end = state["cursor"], state["window_end"]
    settled = [block for block in range(cursor if state["cycle"] == 1 else BLOCKS) if not cursor <= block < end]
    expected = {}
    with region.open("r+b", buffering=0) as file:
        contents = file.read(REGION)
        now = {block: contents[block * BLOCK : (block + 1) * BLOCK] for block in settled}
        stale = [block for block in settled if any(old != now[block] for old in older[block])]
        if stale:
            block = dice.choice(stale)
            old = next(old for old in older[block] if old != now[block])
            os.pwrite(file.fileno(), old, block * BLOCK)
            expected[block] = Mismatch.STALE
        intact = [block for block in settled if block not in expected]
        if intact:
            block = dice.choice(intact)
            data = bytearray(now[block])
            data[dice.randrange(100, BLOCK)] ^= 1 << dice.randrange(8)
            os.pwrite(file.fileno(), data, block * BLOCK)
            expected[block] = Mismatch.CHECKSUM
        os.fsync(file.fileno())
    for block, held in now.items():
        if held not in older[block]:
            older[block].append(held)
    return expected

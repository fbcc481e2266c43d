"""The verify formats that are tried on fio and on ours, and every place of them where a byte can be wrong."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BS: Final = 4096
BLOCKS: Final = 24
"""Of a file; the first and the last are left whole."""

OLD, CURRENT = "fio-2.2", "fio-3.41"
HEADER_BYTES: Final = {OLD: 40, CURRENT: 48}
FIELD_BYTES: Final = {
    "crc32c": 4,
    "crc32c-intel": 4,
    "crc32": 4,
    "crc64": 8,
    "crc16": 2,
    "crc7": 1,
    "md5": 16,
    "sha1": 20,
    "sha256": 64,
    "sha512": 128,
    "sha3-224": 28,
    "sha3-256": 32,
    "sha3-384": 48,
    "sha3-512": 64,
    "xxhash": 4,
    "meta": 0,
    "pattern_hdr": 0,
}
"""{what `verify` says: bytes of its field behind the header}; `null` and `pattern` have no header."""
HEADERLESS: Final = ("null", "pattern")
CHECKSUMS: Final = (*FIELD_BYTES, *HEADERLESS)

HEADER_PLACES: Final = {
    OLD: {
        "magic": 0, "type": 2, "length": 4, "seed": 8, "offset": 16, "seconds": 24, "nanoseconds": 28, "thread": 32,
        "numberio": 34, "header crc": 36,
    },
    CURRENT: {
        "magic": 0, "version": 2, "type": 3, "length": 4, "seed": 8, "offset": 16, "seconds": 24, "nanoseconds": 28,
        "numberio": 32, "thread": 40, "padding": 42, "header crc": 44,
    },
}  # fmt: skip

PATTERN_FILE: Final = bytes(range(7, 248))
PATTERNS: Final = {
    "none": "",
    "constant": "0xdeadbeef",
    "offsets": "%o",
    "mixed": '0x112233%o"ab"-1',
    "file": "'{directory}/pattern'",
    "long": "'{directory}/long-pattern'",
}
"""Spelled as fio does; the files are those of `lay_patterns`."""
LONG_PATTERN: Final = bytes((3 * place + place // 256) % 256 for place in range(512))
"""As long as one of fio 3.33 may be."""

INTERVALS: Final = (0, 512, 1024)
OFFSETS: Final = ("none", "100", "1000", "least", "most")
"""Of the header in its interval: beside numbers, right behind where it would stand, and at the very end."""
ORDERS: Final = ("sequential", "random", "norandommap")


@dataclass(frozen=True)
class Case:
    """A format, and the order in which its blocks are written."""

    checksum: str
    interval: int = 0
    place: str = "none"
    """One of OFFSETS."""
    pattern: str = "none"
    """One of PATTERNS."""
    order: str = "sequential"

    @property
    def name(self) -> str:
        return f"{self.checksum}.i{self.interval}.at-{self.place}.{self.pattern}.{self.order}"

    @property
    def length(self) -> int:
        """Bytes under one header."""
        return self.interval or BS

    def overlay(self, layout: str) -> int:
        """Bytes of header and checksum field."""
        return 0 if self.checksum in HEADERLESS else HEADER_BYTES[layout] + FIELD_BYTES[self.checksum]

    def verify_offset(self, layout: str) -> int:
        overlay = self.overlay(layout)
        named = {"none": 0, "least": overlay, "most": self.length - overlay}
        return named[self.place] if self.place in named else int(self.place)

    def is_possible(self, layout: str) -> bool:
        if self.checksum in ("pattern", "pattern_hdr") and self.pattern == "none":
            return False
        if self.checksum in HEADERLESS and self.place != "none":
            return False  # ours refuses to move a header that is not there
        offset, overlay = self.verify_offset(layout), self.overlay(layout)
        return not offset or overlay <= offset <= self.length - overlay

    @property
    def is_held_to_pattern(self) -> bool:
        """Whether all data is compared with the pattern; where there is a checksum, that alone is looked at."""
        return self.pattern != "none" and self.checksum in ("pattern", "pattern_hdr", "meta")

    @property
    def has_remains_from_fio(self) -> bool:
        """Whether fio 3.33 leaves the header of the block before in the data: where the pattern never changes."""
        return self.place != "none" and self.pattern != "none" and "%o" not in PATTERNS[self.pattern]

    @property
    def is_written_wrong_by_fio(self) -> bool:
        """Whether fio 3.33 takes its own blocks to be damaged."""
        return self.has_remains_from_fio and self.is_held_to_pattern

    def options(self, layout: str, directory: Path) -> dict[str, str]:
        """Of the format, in fio's spelling; `pattern_hdr` has no name in fio 3.33: it is a pattern alone."""
        found = {
            "verify": "" if self.checksum == "pattern_hdr" else self.checksum,
            "verify_pattern": PATTERNS[self.pattern].format(directory=directory),
            "verify_interval": str(self.interval or ""),
            "verify_offset": str(self.verify_offset(layout) or ""),
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Flip:
    """A byte that is wrong, of one interval of one block."""

    what: str
    block: int
    interval_at: int
    """Where the interval begins in the file."""
    at: int
    """Where the byte stands in the file."""
    is_header: bool
    data_at: int = -1
    """Which byte of the data that the checksum is of."""


def flips(case: Case, layout: str) -> list[Flip]:
    """One in each block: every field of the header, the ends of the checksum, first, middle and last data."""
    overlay = case.overlay(layout)
    header = HEADER_PLACES[layout] if overlay else {}
    places = [(name, at, True) for name, at in header.items()]
    if overlay > (size := HEADER_BYTES[layout]):
        places += [("checksum's first byte", size, False), ("checksum's last byte", overlay - 1, False)]
    length = case.length
    middle = (overlay + length) // 2
    places += [("first data", overlay, False), ("middle data", middle, False), ("last data", length - 1, False)]
    made = []
    for number, (name, at, is_header) in enumerate(places):
        block = number + 1
        begins = block * BS + number % (BS // length) * length
        moved = swapped(at, case.verify_offset(layout) if overlay else 0, overlay)
        made.append(Flip(name, block, begins, begins + moved, is_header, at - overlay if at >= overlay else -1))
    assert len(made) <= BLOCKS - 2
    return made


def swapped(at: int, offset: int, overlay: int) -> int:
    """Where a byte of an interval stands on the disk: header and field change places with the data at `offset`."""
    if offset and at < overlay:
        return at + offset
    return at - offset if offset and offset <= at < offset + overlay else at


def is_seen(case: Case, layout: str, flip: Flip) -> bool:
    """Whether the format can tell that this byte is wrong."""
    if case.checksum == "null":
        return False
    if flip.is_header or case.is_held_to_pattern or flip.data_at < 0:
        return True
    if case.checksum == "meta":
        return False
    if case.checksum == "sha512" and layout == OLD:
        # No digest: the field holds the end of the data, and what is behind as much at the beginning.
        length = case.length - case.overlay(layout)
        tail = length % 128
        return tail <= flip.data_at < 128 or flip.data_at >= length - tail
    return True


def flip_in(path: Path, made: Sequence[Flip]) -> None:
    with path.open("r+b") as file:
        for flip in made:
            file.seek(flip.at)
            found = file.read(1)
            file.seek(flip.at)
            file.write(bytes([found[0] ^ 0x10]))


def lay_patterns(directory: Path) -> None:
    (directory / "pattern").write_bytes(PATTERN_FILE)
    (directory / "long-pattern").write_bytes(LONG_PATTERN)


def plain_cases() -> Iterator[Case]:
    """Every checksum with nothing else, and with a pattern that has to be."""
    for checksum in CHECKSUMS:
        yield Case(checksum, pattern="mixed" if checksum in ("pattern", "pattern_hdr") else "none")


def paired_cases() -> list[Case]:
    """So many cases that any two choices that can stand together do so in one of them."""
    choices = (CHECKSUMS, INTERVALS, OFFSETS, tuple(PATTERNS), ORDERS)
    everything = [case for values in itertools.product(*choices) if (case := Case(*values)).is_possible(OLD)]
    random.Random(1).shuffle(everything)
    pairs_of = {case: set(itertools.combinations(enumerate(choices_of(case)), 2)) for case in everything}
    left = set().union(*pairs_of.values())
    found = []
    for wanted in range(10, 0, -1):
        for case in everything:
            if len(pairs_of[case] & left) >= wanted:
                left -= pairs_of[case]
                found.append(case)
    return found


def choices_of(case: Case) -> tuple[str | int, ...]:
    return case.checksum, case.interval, case.place, case.pattern, case.order


def cases(layout: str) -> list[Case]:
    return [case for case in dict.fromkeys([*plain_cases(), *paired_cases()]) if case.is_possible(layout)]

"""What is said of a block that failed verification: the one place that turns a record into words and named values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from iovigil.engines.stats import Mismatch, MismatchRecord, StatsPage

SECTOR: Final = 512
NAMES: Final[Mapping[int, str]] = {int(kind): name.lower() for name, kind in Mismatch.__members__.items()}
"""How labels, fields and outputs spell each kind."""
SUBJECTS: Final[Mapping[str, str]] = {
    "checksum": "block with a wrong checksum",
    "header": "block with a wrong header",
    "misplaced": "misplaced block",
    "stale": "stale block",
    "zeroed": "zeroed block",
    "torn": "torn block",
}


def describe(record: MismatchRecord, disk: str = "", dumps: Sequence[str] = ()) -> str:
    """The mismatch in one line; `dumps` are the files that it was written to."""
    where = f" on disk {disk}" if disk else ""
    parts = [
        f"data corruption: {SUBJECTS[NAMES[record.kind]]}{where} at offset {record.offset}, length {record.length}: "
        f"{nature(record)}",
        *details(record),
    ]
    if dumps:
        parts.append(f"dumped to {' and '.join(dumps)}")
    elif record.is_dumped:
        parts.append("dumped")
    return "; ".join(parts)


def nature(record: MismatchRecord) -> str:
    """What kind of wrong it is, for people."""
    match record.kind:
        case Mismatch.CHECKSUM:
            return f"its contents do not fit it{generations(record, ', ')}"
        case Mismatch.HEADER:
            return "its header is not one of ours, or not of this job"
        case Mismatch.MISPLACED:
            return belonging(record)
        case Mismatch.STALE if record.found:
            return f"{generations(record)} (a write was lost)"
        case Mismatch.STALE:
            return f"{generations(record, after='; ')}an older state is there (a write or a trim was lost)"
        case Mismatch.ZEROED:
            return f"{generations(record, after='; ')}nothing but zeroes is there"
        case Mismatch.TORN:
            return f"{generations(record, after='; ')}{tear(record)} (a write was cut short)"


def generations(record: MismatchRecord, before: str = "", after: str = "") -> str:
    """Which write was expected and which was found, as far as that is known; nothing where neither is."""
    if record.expected and record.found and record.expected != record.found:
        return f"{before}generation {record.expected} expected, {record.found} found{after}"
    if record.expected:
        return f"{before}generation {record.expected} expected{after}"
    return f"{before}generation {record.found} found{after}" if record.found else ""


def belonging(record: MismatchRecord) -> str:
    if record.found_offset >= 0 and record.found_offset != record.offset:
        return f"a good block that belongs at offset {record.found_offset}"
    return "a good block of another disk or of an earlier life of this file"


def tear(record: MismatchRecord) -> str:
    # Of random bytes one in 256 is right by chance, so that the first wrong one may stand a little behind the tear.
    sectors = (first_byte_in_block(record) or 0) // SECTOR
    if not sectors:
        return "some of its sectors are as written, others are something else"
    are = "sector is" if sectors == 1 else f"{sectors} sectors are"
    return f"its first {are} as written, what follows is not, or not all of it"


def details(record: MismatchRecord) -> list[str]:
    parts = []
    if record.first_byte >= 0:
        parts.append(f"first wrong byte {record.first_byte} (byte {first_byte_in_block(record)} of the block)")
    if record.wrong_bits >= 0:
        parts.append(f"{record.wrong_bits} wrong {'bit' if record.wrong_bits == 1 else 'bits'}")
    return parts


def first_byte_in_block(record: MismatchRecord) -> int | None:
    return record.first_byte - record.offset if record.first_byte >= 0 else None


def values(record: MismatchRecord) -> dict[str, Any]:
    """The mismatch by name, as JSON and the history have it; what is not known is None."""
    return {
        "kind": NAMES[record.kind],
        "offset": record.offset,
        "length": record.length,
        "first_byte": record.first_byte if record.first_byte >= 0 else None,
        "first_byte_in_block": first_byte_in_block(record),
        "wrong_bits": record.wrong_bits if record.wrong_bits >= 0 else None,
        "expected_generation": record.expected or None,
        "found_generation": record.found or None,
        "found_offset": record.found_offset if record.found_offset >= 0 else None,
        "is_dumped": record.is_dumped,
        "file": record.file,
    }


def counts(page: StatsPage) -> dict[str, int]:
    """{kind: blocks}, every kind, also those that did not occur."""
    return {name: page.mismatch(kind) for kind, name in NAMES.items()}


def in_words(counted: Mapping[str, int]) -> str:
    """12 blocks: 10 stale, 2 zeroed."""
    total = sum(counted.values())
    kinds = ", ".join(f"{number} {kind}" for kind, number in counted.items() if number)
    return f"{total} {'block' if total == 1 else 'blocks'}: {kinds}"


def describe_page(page: StatsPage) -> str:
    """The first mismatch of a run, and how many there are; empty where there is none."""
    counted = counts(page)
    total = sum(counted.values())
    if not total:
        return ""
    records = page.mismatches()
    if not records:
        return f"data corruption: {in_words(counted)}"
    return describe(records[0]) + (f"; {in_words(counted)} in all" if total > 1 else "")

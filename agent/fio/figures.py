"""The figures of a finished run that every form of its output shows."""

import enum
import errno
from collections.abc import Mapping
from typing import Final

from iovigil.engines.stats import Counter, Mismatch, StatsPage

DIRECTIONS: Final[Mapping[str, int]] = {"read": 0, "write": 1, "trim": 2}
SYNC: Final = 3


def runtime_ms(page: StatsPage, ddir: int) -> int:
    return rounded_up_ms(page.runtime_ns(ddir))


def job_runtime_ms(page: StatsPage) -> int:
    """How long the job measured; of a job that was killed, how long its longest direction did."""
    if page.ended_ns > page.epoch_ns > 0:
        return rounded_up_ms(page.ended_ns - page.epoch_ns)
    return max(runtime_ms(page, ddir) for ddir in DIRECTIONS.values())


def rounded_up_ms(ns: int) -> int:
    """fio rounds microseconds up, so that a job which did anything has a runtime to divide by."""
    return (ns // 1000 + 999) // 1000


def bytes_per_second(page: StatsPage, ddir: int) -> int:
    ms = runtime_ms(page, ddir)
    return page.counter(Counter.BYTES, ddir) * 1000 // ms if ms else 0


def ios_per_second(page: StatsPage, ddir: int) -> float:
    ms = runtime_ms(page, ddir)
    return page.counter(Counter.IOS, ddir) * 1000 / ms if ms else 0.0


def verified_bytes(page: StatsPage) -> int:
    return sum(page.counter(Counter.VERIFIED_BYTES, ddir) for ddir in DIRECTIONS.values())


def mismatches(page: StatsPage) -> dict[str, int]:
    """{kind: blocks}, every kind, also those that did not occur."""
    return {name_of(kind): page.mismatch(kind) for kind in Mismatch}


def errors(page: StatsPage) -> dict[str, dict[str, int]]:
    """{direction: {name of errno: I/Os}}, without the directions that had none."""
    found = {
        name: {error_name(number): n for number, n in page.errors(ddir).items()}
        for name, ddir in [*DIRECTIONS.items(), ("sync", SYNC)]
    }
    return {name: by_name for name, by_name in found.items() if by_name}


def name_of(member: enum.Enum) -> str:
    """How outputs spell a run state or a kind of mismatch."""
    return str(member.name).lower()


def error_name(number: int) -> str:
    """The symbol of an errno; the stats page counts those beyond its table as 0."""
    return errno.errorcode.get(number, f"errno {number}") if number else "other"


def percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0

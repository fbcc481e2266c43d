"""The figures of a finished run that every form of its output shows."""

import enum
import errno
from collections.abc import Mapping
from typing import Final

from iovigil.agent.fio.groups import added
from iovigil.agent.ledger import Failure, RunResult
from iovigil.engines.latency import Histogram
from iovigil.engines.stats import Counter, RateSamples, StatsPage

Directions = tuple[int, ...]
"""Directions of data that are shown as one."""
READ: Final[Directions] = (0,)
WRITE: Final[Directions] = (1,)
TRIM: Final[Directions] = (2,)
MIXED: Final[Directions] = (0, 1, 2)
DIRECTIONS: Final[Mapping[str, int]] = {"read": 0, "write": 1, "trim": 2}
SYNC: Final = 3

# A run that never began has no errno of its own, yet a script that reads nothing but `error` must see it.
ERROR_OF_FAILURE: Final[Mapping[Failure, int]] = {
    Failure.IO_ERROR: errno.EIO,
    Failure.VERIFY: errno.EILSEQ,
    Failure.RATE_MIN: errno.EIO,
    Failure.TIMEOUT: errno.ETIMEDOUT,
    Failure.CRASH: errno.ECHILD,
    Failure.REFUSED: errno.EPERM,
    Failure.SETUP: errno.EINVAL,
    Failure.GONE: errno.ENODEV,
}


def error_of(result: RunResult) -> int:
    """errno of the failure; 0 only for a run that succeeded."""
    if result.failure is None:
        return result.page.error
    return result.page.error or result.page.first_error or ERROR_OF_FAILURE[result.failure]


def total(page: StatsPage, counter: Counter, ddirs: Directions) -> int:
    return sum(page.counter(counter, ddir) for ddir in ddirs)


def histogram(page: StatsPage, kind: int, ddirs: Directions) -> Histogram:
    merged = Histogram()
    for ddir in ddirs:
        merged.merge(page.histogram(kind, ddir))
    return merged


def bw_samples(page: StatsPage, ddirs: Directions) -> RateSamples:
    return added(page.bw_samples(ddir) for ddir in ddirs)


def iops_samples(page: StatsPage, ddirs: Directions) -> RateSamples:
    return added(page.iops_samples(ddir) for ddir in ddirs)


def runtime_ms(page: StatsPage, ddirs: Directions) -> int:
    return rounded_up_ms(max(page.runtime_ns(ddir) for ddir in ddirs))


def job_runtime_ms(page: StatsPage) -> int:
    """How long the job measured, a group all its jobs together; of a killed job, how long its longest direction did."""
    if measured_ns := getattr(page, "measured_ns", 0):
        return rounded_up_ms(measured_ns)
    if page.ended_ns > page.epoch_ns > 0:
        return rounded_up_ms(page.ended_ns - page.epoch_ns)
    return runtime_ms(page, MIXED)


def rounded_up_ms(ns: int) -> int:
    """fio rounds microseconds up, so that a job which did anything has a runtime to divide by."""
    return (ns // 1000 + 999) // 1000


def bytes_per_second(page: StatsPage, ddirs: Directions) -> int:
    ms = runtime_ms(page, ddirs)
    return total(page, Counter.BYTES, ddirs) * 1000 // ms if ms else 0


def ios_per_second(page: StatsPage, ddirs: Directions) -> float:
    ms = runtime_ms(page, ddirs)
    return total(page, Counter.IOS, ddirs) * 1000 / ms if ms else 0.0


def verified_bytes(page: StatsPage) -> int:
    return total(page, Counter.VERIFIED_BYTES, MIXED)


def errors(page: StatsPage) -> dict[str, dict[str, int]]:
    """{direction: {name of errno: I/Os}}, without the directions that had none."""
    found = {
        name: {error_name(number): n for number, n in page.errors(ddir).items()}
        for name, ddir in [*DIRECTIONS.items(), ("sync", SYNC)]
    }
    return {name: by_name for name, by_name in found.items() if by_name}


def name_of(member: enum.Enum) -> str:
    """How outputs spell a run state."""
    return str(member.name).lower()


def error_name(number: int) -> str:
    """The symbol of an errno; the stats page counts those beyond its table as 0."""
    return errno.errorcode.get(number, f"errno {number}") if number else "other"


def percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0

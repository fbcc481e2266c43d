"""The throughput of all jobs together, in the form of fio's agg-read_bw.log and its siblings."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

FILES = ("agg-read_bw.log", "agg-write_bw.log", "agg-trim_bw.log")
"""By direction; they lie where `iovigil run` was started."""
INTERVAL_S = 0.5


class Sample(NamedTuple):
    """How far all jobs had come at one moment."""

    time_ms: int
    """Since the first of them started."""
    transferred: tuple[int, int, int]
    """Bytes read, written and trimmed until then."""


def texts(samples: Sequence[Sample]) -> tuple[str, str, str]:
    """What each of FILES holds: `time_ms, KiB/s, ddir, 0, 0` for each interval, idle directions too, as in fio.

    The first sample is where counting starts and has no line.
    """
    return line_by_line(samples, 0), line_by_line(samples, 1), line_by_line(samples, 2)


def line_by_line(samples: Sequence[Sample], ddir: int) -> str:
    lines = []
    for before, after in pairwise(samples):
        # A job that ended takes its counters along only if its page was dropped: never a negative rate.
        transferred = max(after.transferred[ddir] - before.transferred[ddir], 0)
        passed_ms = after.time_ms - before.time_ms
        if passed_ms > 0:
            lines.append(f"{after.time_ms}, {transferred * 1000 // (passed_ms * 1024)}, {ddir}, 0, 0\n")
    return "".join(lines)

"""Reads the logs of a run, and computes from every I/O in them what the results should say."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fio_formats import bucket, bucket_value

DDIRS = ("read", "write", "trim")


@dataclass(frozen=True)
class Line:
    """One line of a throughput, I/O rate or latency log; what the log does not hold is 0."""

    time_ms: int
    value: int
    most: int
    """The second value, of log_window_value=both."""
    ddir: int
    bs: int
    offset: int
    priority: int
    issue_ns: int


def read_log(path: Path, offset: bool = False, both: bool = False, issue_time: bool = False) -> list[Line]:
    """All lines of a log that was written with these options. ValueError where one has not their form."""
    lines = []
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        fields = text.split(", ")
        if len(fields) != 5 + offset + both + issue_time:
            raise ValueError(f"{path}:{number}: {text!r} has {len(fields)} fields")
        values = iter([int(field, 0) for field in fields])
        line = Line(
            time_ms=next(values),
            value=next(values),
            most=next(values) if both else 0,
            ddir=next(values),
            bs=next(values),
            offset=next(values) if offset else 0,
            priority=next(values),
            issue_ns=next(values) if issue_time else 0,
        )
        lines.append(line)
    return lines


def values(lines: Sequence[Line], ddir: int) -> list[int]:
    return [line.value for line in lines if line.ddir == ddir]


@dataclass(frozen=True)
class Summary:
    """What fio's JSON says of one latency of one direction."""

    count: int
    minimum: int
    maximum: int
    mean: float
    stddev: float
    bins: dict[int, int]
    """Samples by the middle of their bucket."""
    samples: tuple[int, ...]
    """All of them, ascending."""

    def percentile(self, wanted: float) -> int:
        """The true one: the sample at or below which that many per cent are."""
        return self.samples[max(math.ceil(wanted / 100 * self.count), 1) - 1]


def summarise(latencies: Sequence[int]) -> Summary:
    bins: dict[int, int] = {}
    for value in latencies:
        middle = bucket_value(bucket(value))
        bins[middle] = bins.get(middle, 0) + 1
    return Summary(
        count=len(latencies),
        minimum=min(latencies),
        maximum=max(latencies),
        mean=statistics.fmean(latencies),
        stddev=statistics.stdev(latencies) if len(latencies) > 1 else 0.0,
        bins=bins,
        samples=tuple(sorted(latencies)),
    )


def disagreements(summary: Summary, reported: Mapping[str, Any]) -> list[str]:
    """Where a `clat_ns`, `slat_ns` or `lat_ns` of the JSON is not what the log says; a percentile may be 1/128 off.

    N of `slat_ns` without percentiles is not in fio's JSON, nor are the bins outside json+: what is not there is not
    compared.
    """
    wrong = []
    for name, found in (("N", summary.count), ("min", summary.minimum), ("max", summary.maximum)):
        if reported.get(name, found) != found:
            wrong.append(f"{name}: {reported[name]} is reported, {found} was logged")
    for name, expected in (("mean", summary.mean), ("stddev", summary.stddev)):
        if not math.isclose(reported[name], expected, rel_tol=1e-5, abs_tol=0.01):
            wrong.append(f"{name}: {reported[name]} is reported, {expected} was logged")
    for name, percentile in reported.get("percentile", {}).items():
        true = summary.percentile(float(name))
        if abs(percentile - true) > true / 128 + 1:
            wrong.append(f"percentile {name}: {percentile} is reported, {true} was logged")
    if "bins" in reported:
        bins = {int(middle): count for middle, count in reported["bins"].items()}
        if bins != summary.bins:
            wrong.append(f"bins: {sorted(bins.items() ^ summary.bins.items())} differ")
    return wrong


@dataclass(frozen=True)
class HistogramLine:
    """One line of a histogram log."""

    time_ms: int
    ddir: int
    bs: int
    counts: tuple[int, ...]


def read_histogram_log(path: Path) -> list[HistogramLine]:
    lines = []
    for text in path.read_text().splitlines():
        time_ms, ddir, bs, *counts = map(int, text.split(", "))
        lines.append(HistogramLine(time_ms, ddir, bs, tuple(counts)))
    return lines


def summed(lines: Sequence[HistogramLine], ddir: int) -> dict[int, int]:
    """What all intervals together counted, by the middle of the bucket; for a log that merged no buckets."""
    bins: dict[int, int] = {}
    for line in lines:
        for index, count in enumerate(line.counts):
            if line.ddir == ddir and count:
                bins[bucket_value(index)] = bins.get(bucket_value(index), 0) + count
    return bins

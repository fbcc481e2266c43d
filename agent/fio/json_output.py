"""The result of a run as a JSON document in fio's schema, with what fio does not tell under one key of our own."""

import errno
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import iovigil
from iovigil.agent.fio import figures
from iovigil.agent.fio.figures import DIRECTIONS, SYNC
from iovigil.agent.ledger import Failure, RunResult
from iovigil.engines.latency import Histogram
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, StatsPage

PERCENTILES: Final = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
LADDER: Final = (2, 4, 10, 20, 50, 100, 250, 500, 750, 1000)
NS_PER_UNIT: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000}
LONGEST_STEP_MS: Final = 2000

# A run that never began has no errno of its own, yet a script that reads nothing but `error` must see it.
ERROR_OF_FAILURE: Final[Mapping[Failure, int]] = {
    Failure.IO_ERROR: errno.EIO,
    Failure.VERIFY: errno.EILSEQ,
    Failure.RATE_MIN: errno.EIO,
    Failure.TIMEOUT: errno.ETIMEDOUT,
    Failure.CRASH: errno.ECHILD,
    Failure.REFUSED: errno.EPERM,
    Failure.SETUP: errno.EINVAL,
}


def render(
    result: RunResult,
    global_options: Mapping[str, str],
    job_options: Mapping[str, str],
    with_bins: bool = False,
) -> str:
    """The document as text: its outer braces alone on their lines, as readers of fio's output expect."""
    return (
        json.dumps(document(result, global_options, job_options, with_bins), indent=2, separators=(",", " : ")) + "\n"
    )


def document(
    result: RunResult,
    global_options: Mapping[str, str],
    job_options: Mapping[str, str],
    with_bins: bool = False,
) -> dict[str, Any]:
    """The document: options are shown as the user spelled them; `with_bins` makes it json+."""
    ended = result.ended_unix
    return {
        "fio version": f"iovigil-{iovigil.__version__}",
        "timestamp": int(ended),
        "timestamp_ms": int(ended * 1000),
        "time": time.ctime(ended),
        **({"global options": dict(global_options)} if global_options else {}),
        "jobs": [job(result, job_options, with_bins)],
        "disk_util": [],
    }


def job(result: RunResult, job_options: Mapping[str, str], with_bins: bool) -> dict[str, Any]:
    page = result.page
    runtime_ms = figures.job_runtime_ms(page)
    usage = page.usage
    return {
        "jobname": result.options.name,
        "groupid": 0,
        "job_start": int(result.started_unix * 1000),
        "error": error_of(result),
        "eta": 0,
        "elapsed": math.ceil(result.duration_s),
        "job options": dict(job_options),
        **{name: direction(page, ddir, with_bins) for name, ddir in DIRECTIONS.items()},
        "sync": {
            "total_ios": page.counter(Counter.IOS, SYNC),
            "lat_ns": latency(page.histogram(Latency.LAT, SYNC), True, with_bins),
        },
        "job_runtime": runtime_ms,
        "usr_cpu": percentage(usage.user_s * 1000, runtime_ms),
        "sys_cpu": percentage(usage.system_s * 1000, runtime_ms),
        "ctx": usage.context_switches,
        "majf": usage.major_faults,
        "minf": usage.minor_faults,
        "iodepth_level": shares(("1", "2", "4", "8", "16", "32", ">=64"), page.depth_levels()),
        "iodepth_submit": shares(("0", "4", "8", "16", "32", "64", ">=64"), page.submits()),
        "iodepth_complete": shares(("0", "4", "8", "16", "32", "64", ">=64"), page.completes()),
        **latency_distribution(page),
        **passed_over(result.options, page),
        "latency_depth": result.options.iodepth,
        "latency_target": 0,
        "latency_target_ns": 0,
        "latency_percentile": 100.0,
        "latency_window": 0,
        "latency_window_us": 0,
        "iovigil": additions(result),
    }


def error_of(result: RunResult) -> int:
    """errno of the failure; 0 only for a run that succeeded."""
    if result.failure is None:
        return result.page.error
    return result.page.error or ERROR_OF_FAILURE[result.failure]


def direction(page: StatsPage, ddir: int, with_bins: bool) -> dict[str, Any]:
    done_bytes = page.counter(Counter.BYTES, ddir)
    bw_bytes = figures.bytes_per_second(page, ddir)
    bw, iops = page.bw_samples(ddir), page.iops_samples(ddir)
    return {
        "io_bytes": done_bytes,
        "io_kbytes": done_bytes >> 10,
        "bw_bytes": bw_bytes,
        "bw": bw_bytes >> 10,
        "iops": decimals(figures.ios_per_second(page, ddir)),
        "runtime": figures.runtime_ms(page, ddir),
        "total_ios": page.counter(Counter.IOS, ddir),
        "short_ios": page.counter(Counter.SHORT_IOS, ddir),
        "drop_ios": 0,
        "slat_ns": latency(page.histogram(Latency.SLAT, ddir), False, with_bins),
        "clat_ns": latency(page.histogram(Latency.CLAT, ddir), True, with_bins),
        "lat_ns": latency(page.histogram(Latency.LAT, ddir), False, with_bins),
        "bw_min": round(bw.minimum),
        "bw_max": round(bw.maximum),
        "bw_agg": min(percentage(bw.mean * 1024, bw_bytes), 100.0),
        "bw_mean": decimals(bw.mean),
        "bw_dev": decimals(bw.stddev),
        "bw_samples": bw.samples,
        "iops_min": round(iops.minimum),
        "iops_max": round(iops.maximum),
        "iops_mean": decimals(iops.mean),
        "iops_stddev": decimals(iops.stddev),
        "iops_samples": iops.samples,
    }


def latency(histogram: Histogram, with_percentiles: bool, with_bins: bool) -> dict[str, Any]:
    """One latency; fio gives percentiles and bins of clat alone, and only where there are samples."""
    count = histogram.count
    summary: dict[str, Any] = {
        "min": histogram.min_ns,
        "max": histogram.max_ns,
        "mean": decimals(histogram.mean_ns),
        "stddev": decimals(histogram.stddev_ns),
        "N": count,
    }
    if count and with_percentiles:
        summary["percentile"] = {f"{p:.6f}": histogram.quantile_ns(p / 100) for p in PERCENTILES}
        if with_bins:
            summary["bins"] = {str(middle_ns): n for middle_ns, n in histogram.bins().items()}
    return summary


def latency_distribution(page: StatsPage) -> dict[str, dict[str, float]]:
    """fio's latency_ns, _us and _ms: the share of I/Os below each step and not below the one before."""
    total = Histogram()
    for ddir in DIRECTIONS.values():
        total.merge(page.histogram(Latency.LAT, ddir))
    steps = [(unit, str(step), step * ns) for unit, ns in NS_PER_UNIT.items() for step in LADDER]
    steps.append(("ms", str(LONGEST_STEP_MS), LONGEST_STEP_MS * NS_PER_UNIT["ms"]))
    distribution: dict[str, dict[str, float]] = {f"latency_{unit}": {} for unit in NS_PER_UNIT}
    below_before = 0
    for (unit, step, _), below in zip(steps, total.cumulative([bound_ns for _, _, bound_ns in steps]), strict=True):
        distribution[f"latency_{unit}"][step] = percentage(below - below_before, total.count)
        below_before = below
    distribution["latency_ms"][f">={LONGEST_STEP_MS}"] = percentage(total.count - below_before, total.count)
    return distribution


def passed_over(options: JobOptions, page: StatsPage) -> dict[str, int]:
    if options.continue_on_error == "none":
        return {}
    return {"total_err": page.total_errors, "first_error": page.first_error}


def additions(result: RunResult) -> dict[str, Any]:
    """What fio's schema has no place for."""
    page = result.page
    return {
        "engine": result.engine,
        "state": figures.name_of(page.state),
        "is_complete": page.is_complete,
        "failure": result.failure,
        "message": result.message,
        "verified_bytes": figures.verified_bytes(page),
        "unverified_bytes": page.unverified_bytes,
        "mismatches": figures.mismatches(page),
        "first_mismatches": [
            {**record._asdict(), "kind": figures.name_of(record.kind)} for record in page.mismatches()
        ],
        "errors": figures.errors(page),
    }


def shares(names: Sequence[str], counts: Sequence[int]) -> dict[str, float]:
    total = sum(counts)
    return {name: percentage(count, total) for name, count in zip(names, counts, strict=True)}


def percentage(part: float, whole: float) -> float:
    return decimals(figures.percent(part, whole))


def decimals(value: float) -> float:
    return round(float(value), 6)

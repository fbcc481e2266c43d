"""The results of a session as a JSON document in fio's schema, with what fio does not tell under a key of our own."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import iovigil
from iovigil.agent import mismatch_text
from iovigil.agent.fio import figures
from iovigil.agent.fio.figures import DIRECTIONS, MIXED, SYNC, Directions
from iovigil.agent.fio.groups import Entry, reported
from iovigil.agent.ledger import RunResult
from iovigil.engines.latency import Histogram
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, MismatchRecord, StatsPage

LADDER: Final = (2, 4, 10, 20, 50, 100, 250, 500, 750, 1000)
NS_PER_UNIT: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000}
LONGEST_STEP_MS: Final = 2000

Json = dict[str, Any]


def render(document: Json) -> str:
    """The document as text: its outer braces alone on their lines, as readers of fio's output expect."""
    return json.dumps(document, indent=2, separators=(",", " : ")) + "\n"


def document(
    entries: Sequence[Entry],
    global_options: Mapping[str, str],
    *,
    with_bins: bool = False,
    disk_util: Sequence[Json] = (),
    intervals: Sequence[Json] = (),
    cpu_idleness: Json | None = None,
) -> Json:
    """The document: options are shown as the user spelled them; `with_bins` makes it json+.

    What --status-interval and SIGUSR1 asked for in between stands under `intervals`: one document, whatever happens.
    """
    return {
        "fio version": f"iovigil-{iovigil.__version__}",
        **moment(entries),
        **({"global options": dict(global_options)} if global_options else {}),
        "jobs": [job(entry, with_bins) for entry in reported(entries)],
        **({"cpu_idleness": cpu_idleness} if cpu_idleness is not None else {}),
        "disk_util": list(disk_util),
        **({"intervals": list(intervals)} if intervals else {}),
    }


def interval(entries: Sequence[Entry], with_bins: bool = False) -> Json:
    """What was done up to a moment of the run: an element of `intervals`."""
    return {**moment(entries), "jobs": [job(entry, with_bins) for entry in reported(entries)]}


def moment(entries: Sequence[Entry]) -> Json:
    ended = max((entry.result.ended_unix for entry in entries), default=time.time())
    return {"timestamp": int(ended), "timestamp_ms": int(ended * 1000), "time": time.ctime(ended)}


def job(entry: Entry, with_bins: bool) -> Json:
    result, options = entry.result, entry.plan.options
    page = result.page
    runtime_ms = figures.job_runtime_ms(page)
    usage = page.usage
    return {
        "jobname": options.name,
        "groupid": entry.plan.group,
        "job_start": int(result.started_unix * 1000),
        "error": figures.error_of(result),
        "eta": 0,
        "elapsed": math.ceil(result.duration_s),
        "job options": dict(entry.plan.written),
        **dict(directions(options, page, with_bins)),
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
        **passed_over(options, page),
        # The depth that latency_target has arrived at, where the job looks for one.
        "latency_depth": page.latency_depth or options.iodepth,
        "latency_target": options.latency_target,
        "latency_target_ns": options.latency_target * 1000,
        "latency_percentile": options.latency_percentile,
        "latency_window": options.latency_window,
        "latency_window_us": options.latency_window,
        **({"desc": options.description} if options.description else {}),
        **({"steadystate": entry.steady.as_json()} if entry.steady is not None else {}),
        "iovigil": additions(entry),
    }


def directions(options: JobOptions, page: StatsPage, with_bins: bool) -> Iterator[tuple[str, Json]]:
    """Reads, writes, trims and syncs; all data as one instead (unified_rw_reporting=mixed), or beside (both)."""
    if options.unified_rw_reporting != "mixed":
        for name, ddir in DIRECTIONS.items():
            yield name, direction(options, page, (ddir,), with_bins)
        with_percentiles = options.clat_percentiles or options.lat_percentiles
        sync = page.histogram(Latency.LAT, SYNC)
        yield (
            "sync",
            {
                "total_ios": page.counter(Counter.IOS, SYNC),
                "lat_ns": latency(sync, options.percentile_list if with_percentiles else (), with_bins),
            },
        )
    if options.unified_rw_reporting != "none":
        yield "mixed", direction(options, page, MIXED, with_bins)


def direction(options: JobOptions, page: StatsPage, ddirs: Directions, with_bins: bool) -> Json:
    done_bytes = figures.total(page, Counter.BYTES, ddirs)
    bw_bytes = figures.bytes_per_second(page, ddirs)
    bw, iops = figures.bw_samples(page, ddirs), figures.iops_samples(page, ddirs)
    latencies = {
        f"{figures.name_of(kind)}_ns": latency(
            figures.histogram(page, kind, ddirs), options.percentile_list if is_wanted else (), with_bins
        )
        for kind, is_wanted in (
            (Latency.SLAT, options.slat_percentiles),
            (Latency.CLAT, options.clat_percentiles),
            (Latency.LAT, options.lat_percentiles),
        )
    }
    return {
        "io_bytes": done_bytes,
        "io_kbytes": done_bytes >> 10,
        "bw_bytes": bw_bytes,
        "bw": bw_bytes >> 10,
        "iops": decimals(figures.ios_per_second(page, ddirs)),
        "runtime": figures.runtime_ms(page, ddirs),
        "total_ios": figures.total(page, Counter.IOS, ddirs),
        "short_ios": figures.total(page, Counter.SHORT_IOS, ddirs),
        "drop_ios": 0,
        **latencies,
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


def latency(histogram: Histogram, percentiles: Sequence[float], with_bins: bool) -> Json:
    """One latency; percentiles, and bins beside them, only where they are wanted and there are samples."""
    count = histogram.count
    summary: Json = {
        "min": histogram.min_ns,
        "max": histogram.max_ns,
        "mean": decimals(histogram.mean_ns),
        "stddev": decimals(histogram.stddev_ns),
        "N": count,
    }
    if count and percentiles:
        summary["percentile"] = {f"{p:.6f}": histogram.quantile_ns(p / 100) for p in percentiles}
        if with_bins:
            summary["bins"] = {str(middle_ns): n for middle_ns, n in histogram.bins().items()}
    return summary


def latency_distribution(page: StatsPage) -> dict[str, dict[str, float]]:
    """fio's latency_ns, _us and _ms: the share of I/Os below each step and not below the one before."""
    total = figures.histogram(page, Latency.LAT, MIXED)
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


def additions(entry: Entry) -> Json:
    """What fio's schema has no place for."""
    result, page = entry.result, entry.result.page
    options = entry.plan.options
    added: Json = {
        "engine": result.engine,
        "state": figures.name_of(page.state),
        "is_complete": page.is_complete,
        "failure": result.failure,
        "message": result.message,
        "signal": result.signal,
        "verified_bytes": figures.verified_bytes(page),
        "unverified_bytes": page.unverified_bytes,
        "mismatches": mismatch_text.counts(page),
        "first_mismatches": [mismatch(record, result) for record in page.mismatches()],
        "errors": figures.errors(page),
    }
    if any(options.rate) or any(options.rate_iops):
        # From when an I/O should have started to its end: what a user would have waited.
        added["response_ns"] = {
            name: latency(page.histogram(Latency.RESPONSE, ddir), options.percentile_list, with_bins=False)
            for name, ddir in DIRECTIONS.items()
        }
        added["dropped_ios"] = {name: page.counter(Counter.DROPPED_IOS, ddir) for name, ddir in DIRECTIONS.items()}
    if len(entry.members) > 1:
        added["jobs"] = len(entry.members)
        added["failed_jobs"] = [outcome(member) for member in entry.members if member.failure is not None]
    return added


def mismatch(record: MismatchRecord, result: RunResult) -> Json:
    """A bad block by name, what is not known as null, and a line for people; docs/mismatches.md has the names."""
    ended_ns = result.page.ended_ns
    found_unix = result.ended_unix - (ended_ns - record.found_ns) / 1e9 if record.found_ns and ended_ns else None
    return {
        **mismatch_text.values(record),
        "found_unix": round(found_unix, 3) if found_unix is not None else None,
        "text": mismatch_text.describe(record),
    }


def outcome(result: RunResult) -> Json:
    """How one job of a group ended."""
    return {
        "error": figures.error_of(result),
        "failure": result.failure,
        "message": result.message,
        "signal": result.signal,
    }


def shares(names: Sequence[str], counts: Sequence[int]) -> dict[str, float]:
    total = sum(counts)
    return {name: percentage(count, total) for name, count in zip(names, counts, strict=True)}


def percentage(part: float, whole: float) -> float:
    return decimals(figures.percent(part, whole))


def decimals(value: float) -> float:
    return round(float(value), 6)

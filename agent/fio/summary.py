"""The results of a session for people, at most 80 columns wide but for the last lines, which are as fio has them."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from iovigil.agent import mismatch_text
from iovigil.agent.fio import figures
from iovigil.agent.fio.figures import DIRECTIONS, MIXED, SYNC, Directions
from iovigil.agent.fio.groups import Entry, reported
from iovigil.agent.ledger import Failure, RunResult
from iovigil.agent.steady_state import SteadyState
from iovigil.engines.latency import Histogram
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, StatsPage

COLUMNS: Final = 80
LABEL_WIDTH: Final = 10
QUANTILES: Final = {"p50": 0.50, "p99": 0.99, "p99.9": 0.999}
CELL_WIDTH: Final = 11
# From the moment a rate meant an I/O to start stands last: only jobs with a rate have it.
LATENCIES: Final = {Latency.SLAT: "slat", Latency.CLAT: "clat", Latency.LAT: "lat", Latency.RESPONSE: "resp"}
DEPTH_NAMES: Final = ("1", "2", "4", "8", "16", "32", "64+")

BYTE_UNITS: Final = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
TIME_UNITS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000}
COUNT_UNITS: Final = {"G": 10**9, "M": 10**6, "k": 10**3}

FAILURE_WORDS: Final[Mapping[Failure, str]] = {
    Failure.IO_ERROR: "I/O error",
    Failure.VERIFY: "data corruption",
    Failure.RATE_MIN: "slower than the minimum rate",
    Failure.TIMEOUT: "did not end in time",
    Failure.CRASH: "the worker died",
    Failure.REFUSED: "target refused",
    Failure.SETUP: "could not start",
    Failure.GONE: "the device has gone",
}


def render(entries: Sequence[Entry]) -> str:
    """The summary as text: each job or group, then the totals of each group of jobs in fio's form."""
    shown = reported(entries)
    text = "\n".join("".join(f"{line}\n" for line in lines(entry)) for entry in shown)
    if len(entries) > 1:
        text += "".join(f"{line}\n" for line in status(shown))
    return text


def lines(entry: Entry) -> Iterator[str]:
    result = entry.result
    page = result.page
    yield from headline(entry)
    for name, ddirs in directions(entry.plan.options):
        if figures.total(page, Counter.IOS, ddirs) or any(page.errors(ddir) for ddir in ddirs):
            yield from direction(page, name, ddirs)
    if page.counter(Counter.IOS, SYNC):
        yield from wrapped("sync", f"{page.counter(Counter.IOS, SYNC)} times")
        yield from latency_table({"lat": page.histogram(Latency.LAT, SYNC)})
    if any(page.depth_levels()):
        yield from wrapped("depth", depths(page))
        yield from wrapped("cpu", cpu(page))
    if entry.steady is not None:
        yield from wrapped("steady", steadiness(entry.steady))
    for name, by_errno in figures.errors(page).items():
        yield from wrapped("errors", f"{name}: " + ", ".join(f"{n} {error}" for error, n in by_errno.items()))
    yield from verification(page)
    yield from warnings(result)
    for member in entry.members:
        yield from verdict(member)


def headline(entry: Entry) -> Iterator[str]:
    options = entry.plan.options
    depth = f", iodepth {options.iodepth}" if options.iodepth > 1 else ""
    where = f" on {entry.targets}" if entry.targets else ""
    jobs = f" ({len(entry.members)} jobs)" if len(entry.members) > 1 else ""
    text = f"{options.name}{jobs}: {options.rw}, {amount(options.max_bs)}{depth}, {entry.result.engine}{where}"
    yield from textwrap.wrap(text, COLUMNS, subsequent_indent="  ", break_on_hyphens=False)
    if options.description:
        yield from wrapped("about", options.description)


def directions(options: JobOptions) -> Iterator[tuple[str, Directions]]:
    if options.unified_rw_reporting != "mixed":
        yield from ((name, (ddir,)) for name, ddir in DIRECTIONS.items())
    if options.unified_rw_reporting != "none":
        yield "mixed", MIXED


def direction(page: StatsPage, name: str, ddirs: Directions) -> Iterator[str]:
    size, ios = figures.total(page, Counter.BYTES, ddirs), figures.total(page, Counter.IOS, ddirs)
    runtime_ns = max(page.runtime_ns(ddir) for ddir in ddirs)
    # Not in fio's whole milliseconds: over a short job they would contradict the time beside them.
    iops, rate = (n * 1e9 / runtime_ns if runtime_ns else 0.0 for n in (ios, size))
    done = f"{amount(size)} in {duration(runtime_ns)}, {ios} I/Os"
    yield from wrapped(name, f"{count(iops)} IOPS, {amount(rate)}/s ({done})")
    yield from latency_table({name: figures.histogram(page, kind, ddirs) for kind, name in LATENCIES.items()})


def steadiness(state: SteadyState) -> str:
    told = state.as_json()
    return f"{told['ss']} {'attained' if state.is_attained else 'not attained'}, was {told['criterion']}"


def status(entries: Sequence[Entry]) -> Iterator[str]:
    """What each group of jobs moved, in the words by which scripts find it in fio's output."""
    for group in dict.fromkeys(entry.plan.group for entry in entries):
        members = [entry for entry in entries if entry.plan.group == group]
        yield ""
        yield f"Run status group {group} (all jobs):"
        for name, ddirs in directions(members[0].plan.options):
            moving = [entry.result.page for entry in members if figures.runtime_ms(entry.result.page, ddirs)]
            if moving:
                yield group_line(name, moving, ddirs)


def group_line(name: str, pages: Sequence[StatsPage], ddirs: Directions) -> str:
    runs_ms = [figures.runtime_ms(page, ddirs) for page in pages]
    rates = [figures.bytes_per_second(page, ddirs) for page in pages]
    size = sum(figures.total(page, Counter.BYTES, ddirs) for page in pages)
    least, most = min(rates), max(rates)
    return (
        f"{name.upper():>7}: bw={both_units(size * 1000 / max(runs_ms), '/s')}, "
        f"{binary(least)}/s-{binary(most)}/s ({decimal(least)}/s-{decimal(most)}/s), "
        f"io={both_units(size)}, run={min(runs_ms)}-{max(runs_ms)}msec"
    )


def both_units(value: float, per: str = "") -> str:
    return f"{binary(value)}{per} ({decimal(value)}{per})"


def binary(value: float) -> str:
    return four_digits(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def decimal(value: float) -> str:
    return four_digits(value, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))


def four_digits(value: float, step: int, units: Sequence[str]) -> str:
    """The value in the smallest unit that leaves it at most four digits, as fio writes it."""
    for unit in units[:-1]:
        if value < 9999.5:
            return f"{value:.0f}{unit}" if unit == units[0] or value >= 99.95 else f"{digits(value)}{unit}"
        value /= step
    return f"{value:.0f}{units[-1]}"


def latency_table(histograms: Mapping[str, Histogram]) -> Iterator[str]:
    """A row for each histogram that has samples."""
    if not any(histogram.count for histogram in histograms.values()):
        return
    yield row("", ["mean", *QUANTILES, "max"])
    for name, histogram in histograms.items():
        if histogram.count:
            quantiles_ns = [histogram.quantile_ns(q) for q in QUANTILES.values()]
            yield row(name, [duration(ns) for ns in (histogram.mean_ns, *quantiles_ns, histogram.max_ns)])


def row(name: str, cells: list[str]) -> str:
    return f"    {name:<{LABEL_WIDTH - 4}}" + "".join(f"{cell:>{CELL_WIDTH}}" for cell in cells)


def depths(page: StatsPage) -> str:
    levels = page.depth_levels()
    shares = {name: figures.percent(n, sum(levels)) for name, n in zip(DEPTH_NAMES, levels, strict=True) if n}
    return ", ".join(f"{name}: {share:.1f}%" for name, share in shares.items())


def cpu(page: StatsPage) -> str:
    usage, runtime_ms = page.usage, figures.job_runtime_ms(page)
    user, system = (figures.percent(s * 1000, runtime_ms) for s in (usage.user_s, usage.system_s))
    return f"user {user:.1f}%, system {system:.1f}%, {count(usage.context_switches)} context switches"


def verification(page: StatsPage) -> Iterator[str]:
    """What was read back and checked, and what was wrong with it."""
    checked, unchecked = figures.verified_bytes(page), page.unverified_bytes
    wrong = {kind: n for kind, n in mismatch_text.counts(page).items() if n}
    if checked or unchecked or wrong:
        yield from wrapped("verify", f"{amount(checked)} checked{'' if wrong else ', no mismatch'}")
    if wrong:
        yield from wrapped("", f"DATA CORRUPTION in {mismatch_text.in_words(wrong)}")
        records = page.mismatches()
        for record in records:
            yield from wrapped("", mismatch_text.describe(record).removeprefix("data corruption: "))
        if (more := sum(wrong.values()) - len(records)) > 0:
            yield from wrapped("", f"and {more} more")


def warnings(result: RunResult) -> Iterator[str]:
    page = result.page
    if page.unverified_bytes:
        yield from wrapped("warning", f"{amount(page.unverified_bytes)} written but not read back for lack of time")
    if page.total_errors and result.options.continue_on_error != "none":
        yield from wrapped("warning", f"{page.total_errors} errors were passed over (continue_on_error)")
    for name, ddir in DIRECTIONS.items():
        if page.counter(Counter.SHORT_IOS, ddir):
            yield from wrapped("warning", f"{page.counter(Counter.SHORT_IOS, ddir)} {name}s were short")


def verdict(result: RunResult) -> Iterator[str]:
    if result.failure is not None:
        yield from wrapped("FAILED", cause(result))
    elif result.message:
        yield from wrapped("note", result.message)


def cause(result: RunResult) -> str:
    """Why a failed run failed."""
    if result.failure is None:
        return ""
    words = FAILURE_WORDS[result.failure]
    if result.message.startswith(words):
        return result.message
    return f"{words}: {result.message}" if result.message else words


def wrapped(label: str, text: str) -> Iterator[str]:
    """A labelled line, continued under its own text."""
    yield from textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=f"  {label:<{LABEL_WIDTH - 2}}",
        subsequent_indent=" " * LABEL_WIDTH,
        break_on_hyphens=False,
    )


def amount(size: float) -> str:
    """A number of bytes: 4 KiB, 1.50 MiB."""
    return scaled(size, BYTE_UNITS, "B")


def duration(ns: float) -> str:
    """A time: 812 ns, 1.25 ms."""
    return scaled(ns, TIME_UNITS, "ns")


def count(value: float) -> str:
    """A count or a rate: 812, 4214k."""
    return digits(value) if value < 10_000 else scaled(value, COUNT_UNITS, "").replace(" ", "")


def scaled(value: float, units: Mapping[str, int], smallest: str) -> str:
    """The value in the largest unit it reaches, with three digits."""
    unit, worth = next(((unit, worth) for unit, worth in units.items() if value >= worth), (smallest, 1))
    return f"{digits(value / worth)} {unit}".rstrip()


def digits(value: float) -> str:
    """Three digits, and no fraction where there is none."""
    if value == int(value) or value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"

"""The line on a terminal that shows how far a running job is."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from iovigil.agent.fio import figures, summary
from iovigil.agent.fio.figures import DIRECTIONS
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Mismatch, StatsPage

SAMPLES_KEPT: Final = 5  # at four a second the rates are those of the last second


class Sample(NamedTuple):
    at_s: float
    ios: int
    bytes: int


class ProgressLine:
    """Shows one job; `update` whenever there is something new, between entering and leaving the context."""

    def __init__(self, options: JobOptions, console: Console, now_s: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._now_s = now_s
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[rates]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, rates="")

    def __enter__(self) -> "ProgressLine":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, page: StatsPage) -> None:
        now_s = self._now_s()
        self._samples.append(Sample(now_s, total(page, Counter.IOS), total(page, Counter.BYTES)))
        share = share_done(self._options, page, now_s)
        self._progress.update(
            self._task,
            description=figures.name_of(page.state).replace("_", " "),
            total=None if share is None else 1.0,
            completed=share or 0.0,
            rates=self.rates(page),
            refresh=True,
        )

    def rates(self, page: StatsPage) -> str:
        """Rates since the oldest sample kept, and what went wrong since the start."""
        first, last = self._samples[0], self._samples[-1]
        elapsed_s = last.at_s - first.at_s
        # A child begun anew with another engine counts from zero again.
        ios, size = (
            max(0, now - before) / elapsed_s if elapsed_s else 0.0
            for before, now in zip(first[1:], last[1:], strict=True)
        )
        parts = [f"{summary.count(round(ios))} IOPS", f"{size / (1 << 20):.1f} MiB/s"]
        if errors := sum(sum(page.errors(ddir).values()) for ddir in DIRECTIONS.values()):
            parts.append(f"{errors} errors")
        if mismatches := sum(page.mismatch(kind) for kind in Mismatch):
            parts.append(f"{mismatches} mismatches")
        return ", ".join(parts)


def total(page: StatsPage, counter: Counter) -> int:
    return sum(page.counter(counter, ddir) for ddir in DIRECTIONS.values())


def share_done(options: JobOptions, page: StatsPage, now_s: float) -> float | None:
    """How much of the job is done, 0 to 1; None where its options set no bound."""
    shares = []
    if options.runtime:
        elapsed_us = (now_s * 1e9 - page.first_io_ns) / 1000 if page.first_io_ns else 0.0
        shares.append(elapsed_us / (options.longest_us or 1))
    region = options.io_size or options.size
    if region and not options.time_based:
        expected = region * options.loops * (2 if options.reads_back else 1)
        shares.append(total(page, Counter.BYTES) / expected)
    if options.number_ios:
        shares.append(total(page, Counter.IOS) / options.number_ios)
    return min(1.0, max(0.0, *shares)) if shares else None

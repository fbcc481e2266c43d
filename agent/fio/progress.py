"""The line on a terminal that shows how far running jobs are."""

import time
from collections import Counter as Counted
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

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


class Watched(Protocol):
    """What the line asks of a job."""

    @property
    def options(self) -> JobOptions: ...
    @property
    def page(self) -> StatsPage: ...
    @property
    def is_active(self) -> bool: ...
    @property
    def has_ended(self) -> bool: ...


class ProgressLine:
    """Shows all jobs as one; `update` whenever there is something new, between entering and leaving the context."""

    def __init__(self, jobs: Sequence[Watched], console: Console, now_s: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
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

    def update(self) -> None:
        now_s = self._now_s()
        pages = [job.page for job in self._jobs]
        ios, size = (sum(total(page, counter) for page in pages) for counter in (Counter.IOS, Counter.BYTES))
        self._samples.append(Sample(now_s, ios, size))
        share = self.share(now_s)
        self._progress.update(
            self._task,
            description=self.state(),
            total=None if share is None else 1.0,
            completed=share or 0.0,
            rates=self.rates(pages),
            refresh=True,
        )

    def state(self) -> str:
        """What most of the active jobs do, and how many of how many those are."""
        active = [job for job in self._jobs if job.is_active]
        states = Counted(figures.name_of(job.page.state).replace("_", " ") for job in active)
        what = states.most_common(1)[0][0] if states else "waiting"
        return f"{what} {len(active)}/{len(self._jobs)}" if len(self._jobs) > 1 else what

    def share(self, now_s: float) -> float | None:
        """How much of all jobs is done, 0 to 1; None where the options of one set no bound."""
        shares = [1.0 if job.has_ended else share_done(job.options, job.page, now_s) for job in self._jobs]
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if known and len(known) == len(shares) else None

    def rates(self, pages: Sequence[StatsPage]) -> str:
        """Rates since the oldest sample kept, and what went wrong since the start."""
        first, last = self._samples[0], self._samples[-1]
        elapsed_s = last.at_s - first.at_s
        # A child begun anew with another engine counts from zero again.
        ios, size = (
            max(0, now - before) / elapsed_s if elapsed_s else 0.0
            for before, now in zip(first[1:], last[1:], strict=True)
        )
        parts = [f"{summary.count(round(ios))} IOPS", f"{size / (1 << 20):.1f} MiB/s"]
        if errors := sum(sum(page.errors(ddir).values()) for page in pages for ddir in DIRECTIONS.values()):
            parts.append(f"{errors} errors")
        if mismatches := sum(page.mismatch(kind) for page in pages for kind in Mismatch):
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
    if region > 0 and not options.time_based:
        expected = region * options.loops * (2 if options.reads_back else 1)
        shares.append(total(page, Counter.BYTES) / expected)
    if options.number_ios:
        shares.append(total(page, Counter.IOS) / options.number_ios)
    return min(1.0, max(0.0, *shares)) if shares else None

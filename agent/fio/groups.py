"""Several jobs shown as one result: the sum of a group, as group_reporting wants it."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from iovigil.agent.ledger import RunResult
from iovigil.agent.session.plan import PlannedJob
from iovigil.agent.steady_state import SteadyState
from iovigil.engines.latency import Histogram
from iovigil.engines.stats import MismatchRecord, RateSamples, StatsPage, Usage


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One result as outputs show it: of a job, or of all jobs of a group."""

    plan: PlannedJob
    """The job's, or the first one's of the group."""
    result: RunResult
    steady: SteadyState | None = None
    members: tuple[RunResult, ...] = field(default_factory=tuple)
    """What it is the sum of; the result alone where it is of one job."""

    @property
    def targets(self) -> str:
        """What it worked on, for people."""
        return ", ".join(self.plan.options.filename) or ", ".join(self.plan.paths)


def entry_of(plan: PlannedJob, result: RunResult, steady: SteadyState | None = None) -> Entry:
    return Entry(plan=plan, result=result, steady=steady, members=(result,))


def reported(entries: Sequence[Entry]) -> list[Entry]:
    """What is shown: neighbours of a group with group_reporting as one, and none of a job with stats=0."""
    shown: list[list[Entry]] = []
    for entry in entries:
        options = entry.plan.options
        if not options.stats:
            continue
        is_of_last = bool(shown) and shown[-1][0].plan.group == entry.plan.group
        if options.group_reporting and is_of_last and shown[-1][0].plan.options.group_reporting:
            shown[-1].append(entry)
        else:
            shown.append([entry])
    return [merged(together) for together in shown]


def merged(entries: Sequence[Entry]) -> Entry:
    """The sum of several results, under the name and the options of the first."""
    first = entries[0]
    if len(entries) == 1:
        return first
    results = [entry.result for entry in entries]
    failed = next((result for result in results if result.failure is not None), results[0])
    noted = next((result.message for result in results if result.message), "")
    result = replace(
        first.result,
        # It reads as a page does; outputs use nothing else.
        page=cast("StatsPage", GroupPage([result.page for result in results], failed.page)),
        started_unix=min(result.started_unix for result in results),
        ended_unix=max(result.ended_unix for result in results),
        failure=failed.failure,
        message=failed.message or noted,
        exit_status=failed.exit_status,
        signal=failed.signal,
    )
    return Entry(plan=first.plan, result=result, steady=first.steady, members=tuple(results))


class GroupPage:
    """The pages of several jobs, read as one.

    Counts and samples of rates add up, for the jobs ran beside each other; a direction's time is that of the job
    that took longest. Words are those of the first job that failed.
    """

    def __init__(self, pages: Sequence[StatsPage], telling: StatsPage) -> None:
        self._pages = pages
        self._telling = telling

    def __getattr__(self, name: str) -> Any:
        return getattr(self._telling, name)  # error, text, state

    def counter(self, counter: int, ddir: int) -> int:
        return sum(page.counter(counter, ddir) for page in self._pages)

    def errors(self, ddir: int) -> dict[int, int]:
        total: Counter[int] = Counter()
        for page in self._pages:
            total.update(page.errors(ddir))
        return dict(total)

    def mismatch(self, kind: int) -> int:
        return sum(page.mismatch(kind) for page in self._pages)

    def histogram(self, kind: int, ddir: int) -> Histogram:
        merged = Histogram()
        for page in self._pages:
            merged.merge(page.histogram(kind, ddir))
        return merged

    def depth_levels(self) -> list[int]:
        return columns(page.depth_levels() for page in self._pages)

    def submits(self) -> list[int]:
        return columns(page.submits() for page in self._pages)

    def completes(self) -> list[int]:
        return columns(page.completes() for page in self._pages)

    @property
    def total_errors(self) -> int:
        return sum(page.total_errors for page in self._pages)

    @property
    def unverified_bytes(self) -> int:
        return sum(page.unverified_bytes for page in self._pages)

    def runtime_ns(self, ddir: int) -> int:
        return max(page.runtime_ns(ddir) for page in self._pages)

    def bw_samples(self, ddir: int) -> RateSamples:
        return added(page.bw_samples(ddir) for page in self._pages)

    def iops_samples(self, ddir: int) -> RateSamples:
        return added(page.iops_samples(ddir) for page in self._pages)

    def mismatches(self) -> list[MismatchRecord]:
        return [record for page in self._pages for record in page.mismatches()]

    @property
    def usage(self) -> Usage:
        usages = [page.usage for page in self._pages]
        return Usage(
            sum(usage.user_s for usage in usages),
            sum(usage.system_s for usage in usages),
            sum(usage.context_switches for usage in usages),
            sum(usage.major_faults for usage in usages),
            sum(usage.minor_faults for usage in usages),
            max(usage.max_rss_bytes for usage in usages),
        )

    @property
    def measured_ns(self) -> int:
        """The jobs' own times together: what CPU times are a share of."""
        return sum(max(page.ended_ns - page.epoch_ns, 0) for page in self._pages if page.epoch_ns)

    @property
    def first_error(self) -> int:
        return next((page.first_error for page in self._pages if page.first_error), 0)

    @property
    def is_complete(self) -> bool:
        return all(page.is_complete for page in self._pages)

    @property
    def spawned_ns(self) -> int:
        return min(page.spawned_ns for page in self._pages)

    @property
    def epoch_ns(self) -> int:
        return min((page.epoch_ns for page in self._pages if page.epoch_ns), default=0)

    @property
    def first_io_ns(self) -> int:
        return min((page.first_io_ns for page in self._pages if page.first_io_ns), default=0)

    @property
    def ended_ns(self) -> int:
        return max(page.ended_ns for page in self._pages)


def columns(rows: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]


def added(several: Iterable[RateSamples]) -> RateSamples:
    """Samples of jobs that ran at the same time, as those of all of them together."""
    present = [samples for samples in several if samples.samples]
    if not present:
        return RateSamples(0, 0.0, 0.0, 0.0, 0.0)
    return RateSamples(
        sum(samples.samples for samples in present),
        sum(samples.minimum for samples in present),
        sum(samples.maximum for samples in present),
        math.fsum(samples.mean for samples in present),
        math.sqrt(math.fsum(samples.stddev**2 for samples in present)),
    )

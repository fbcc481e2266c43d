"""A stats page whose every figure a test sets by hand; the real one is written by a job alone."""

from dataclasses import dataclass, field
from typing import Any

from iovigil.agent.fio.groups import Entry, entry_of
from iovigil.agent.ledger import RunResult
from iovigil.agent.session.plan import PlannedJob
from iovigil.agent.steady_state import SteadyState
from iovigil.engines.latency import Histogram
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import MismatchRecord, RateSamples, RunState, ScrubFigures, Usage

NO_SAMPLES = RateSamples(0, 0.0, 0.0, 0.0, 0.0)
NO_USAGE = Usage(0.0, 0.0, 0, 0, 0, 0)


@dataclass
class FakePage:
    counters: dict[tuple[int, int], int] = field(default_factory=dict)
    histograms: dict[tuple[int, int], Histogram] = field(default_factory=dict)
    runtimes_ns: dict[int, int] = field(default_factory=dict)
    errors_by_ddir: dict[int, dict[int, int]] = field(default_factory=dict)
    mismatch_counts: dict[int, int] = field(default_factory=dict)
    records: list[MismatchRecord] = field(default_factory=list)
    depth: list[int] = field(default_factory=lambda: [0] * 7)
    bw: dict[int, RateSamples] = field(default_factory=dict)
    iops: dict[int, RateSamples] = field(default_factory=dict)
    state: RunState = RunState.EXITED
    error: int = 0
    first_error: int = 0
    total_errors: int = 0
    is_complete: bool = True
    text: str = ""
    unverified_bytes: int = 0
    inherited_bytes: int = 0
    latency_depth: int = 0
    epoch_ns: int = 0
    first_io_ns: int = 0
    spawned_ns: int = 0
    ended_ns: int = 0
    usage: Usage = NO_USAGE
    scrub: ScrubFigures | None = None

    def packed(self) -> "FakePage":
        return self

    def page(self) -> "FakePage":
        return self

    def counter(self, counter: int, ddir: int) -> int:
        return self.counters.get((counter, ddir), 0)

    def errors(self, ddir: int) -> dict[int, int]:
        return self.errors_by_ddir.get(ddir, {})

    def mismatch(self, kind: int) -> int:
        return self.mismatch_counts.get(kind, 0)

    def mismatches(self) -> list[MismatchRecord]:
        return self.records

    def histogram(self, kind: int, ddir: int) -> Histogram:
        return self.histograms.get((kind, ddir), Histogram())

    def runtime_ns(self, ddir: int) -> int:
        return self.runtimes_ns.get(ddir, 0)

    def depth_levels(self) -> list[int]:
        return self.depth

    def submits(self) -> list[int]:
        return self.depth

    def completes(self) -> list[int]:
        return self.depth

    def bw_samples(self, ddir: int) -> RateSamples:
        return self.bw.get(ddir, NO_SAMPLES)

    def iops_samples(self, ddir: int) -> RateSamples:
        return self.iops.get(ddir, NO_SAMPLES)


def histogram_of(*values_ns: int) -> Histogram:
    histogram = Histogram()
    for value_ns in values_ns:
        histogram.record(value_ns)
    return histogram


def entry_for(
    page: Any,
    options: JobOptions | None = None,
    *,
    group: int = 0,
    written: dict[str, str] | None = None,
    steady: SteadyState | None = None,
    **fields: Any,
) -> Entry:
    """What outputs show of a job with such a page."""
    options = options or JobOptions(name="probe")
    plan = PlannedJob(number=1, clone=0, group=group, options=options, written=written or {})
    return entry_of(plan, result_of(page, options, **fields), steady)


def result_of(page: Any, options: JobOptions | None = None, **fields: Any) -> RunResult:
    options = options or JobOptions(name="probe")
    defaults = {"engine": options.ioengine, "started_unix": 1000.0, "ended_unix": 1001.5}
    return RunResult(disk="d", probe=options.name, options=options, page=page, **{**defaults, **fields})

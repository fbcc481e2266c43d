"""What the history keeps of a run: the outcome, what was measured, and what the child said."""

from dataclasses import dataclass, field

from iovigil.agent import mismatch_text
from iovigil.agent.ledger import RunResult
from iovigil.agent.metrics.io import error_name
from iovigil.agent.metrics.operations import NAMES, READ, SYNC, WRITE
from iovigil.engines.latency import Histogram
from iovigil.engines.options import SPECS, JobOptions
from iovigil.engines.spelling import spell_option
from iovigil.engines.stats import Counter, Latency, StatsPage

QUANTILES = {"0.5": 0.5, "0.99": 0.99, "0.999": 0.999, "max": 1.0}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run that is over, as it is remembered."""

    id: int = 0
    """Its place in the history, later runs having higher ones; 0 before it is there."""
    name: str
    """disk/probe/unix time: as logs and mismatches name the run."""
    disk: str
    probe: str
    started_unix: float
    duration_s: float
    engine: str
    failure: str = ""
    """The Failure's value; empty for a success."""
    message: str = ""
    messages: tuple[str, ...] = ()
    """The last lines the child said."""
    exit_status: int | None = None
    signal: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    """Of the job, as fio spells them: rw, bs and what differs from fio's defaults."""
    ios: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    """I/Os that returned an error; these three are by operation."""
    errnos: dict[str, int] = field(default_factory=dict)
    """The same I/Os by what they returned, such as EIO."""
    latency_s: dict[str, dict[str, float]] = field(default_factory=dict)
    """{operation: {"0.5": ..., "0.99": ..., "0.999": ..., "max": ...}}, of operations that had an I/O."""
    verified_bytes: int = 0
    mismatches: dict[str, int] = field(default_factory=dict)
    """{kind: blocks}, of kinds that were found."""

    @property
    def is_success(self) -> bool:
        return not self.failure


def record_of(name: str, result: RunResult, messages: tuple[str, ...] = ()) -> RunRecord:
    page = result.page
    return RunRecord(
        name=name,
        disk=result.disk,
        probe=result.probe,
        started_unix=round(result.started_unix, 3),
        duration_s=round(result.duration_s, 3),
        engine=result.engine,
        failure=result.failure or "",
        message=result.message,
        messages=messages,
        exit_status=result.exit_status,
        signal=result.signal,
        options=written(result.options),
        ios=by_operation(page, Counter.IOS),
        bytes=by_operation(page, Counter.BYTES),
        errors={name: sum(found.values()) for ddir, name in NAMES.items() if (found := page.errors(ddir))},
        errnos=errnos(page),
        latency_s=latencies(page),
        verified_bytes=sum(page.counter(Counter.VERIFIED_BYTES, ddir) for ddir in (READ, WRITE)),
        mismatches={kind: blocks for kind, blocks in mismatch_text.counts(page).items() if blocks},
    )


def written(options: JobOptions) -> dict[str, str]:
    return {
        name: spell_option(name, getattr(options, name))
        for name, spec in SPECS.items()
        if name != "name" and (name in ("rw", "bs") or getattr(options, name) != spec.default)
    }


def by_operation(page: StatsPage, counter: Counter) -> dict[str, int]:
    return {name: number for ddir, name in NAMES.items() if (number := page.counter(counter, ddir))}


def errnos(page: StatsPage) -> dict[str, int]:
    total: dict[str, int] = {}
    for ddir in NAMES:
        for number, times in page.errors(ddir).items():
            total[error_name(number)] = total.get(error_name(number), 0) + times
    return total


def latencies(page: StatsPage) -> dict[str, dict[str, float]]:
    histograms = {name: page.histogram(Latency.CLAT, ddir) for ddir, name in NAMES.items() if ddir != SYNC}
    return {name: quantiles(histogram) for name, histogram in histograms.items() if histogram.count}


def quantiles(histogram: Histogram) -> dict[str, float]:
    return {label: histogram.quantile_ns(q) / 1e9 for label, q in QUANTILES.items()}

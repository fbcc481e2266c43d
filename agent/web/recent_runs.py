"""The last runs in memory: what finished since the agent started, up to a bound, for an agent without a history."""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from iovigil.agent.ledger import Ledger, RunResult
from iovigil.agent.metrics.io import error_name
from iovigil.agent.metrics.operations import NAMES, fallible, transfers
from iovigil.agent.mismatch_text import counts
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency

KEPT: Final = 2000
QUANTILES: Final = {"0.5": 0.5, "0.99": 0.99, "0.999": 0.999, "max": 1.0}
DEFAULTS: Final = JobOptions()


@dataclass(frozen=True, kw_only=True)
class RecentRun:
    """One finished run."""

    id: int
    name: str
    disk: str
    probe: str
    started_unix: float
    duration_s: float
    engine: str = "psync"
    failure: str = ""
    message: str = ""
    messages: tuple[str, ...] = ()
    exit_status: int | None = None
    signal: int | None = None
    options: dict[str, object] = field(default_factory=dict)
    ios: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    errnos: dict[str, int] = field(default_factory=dict)
    latency_s: dict[str, dict[str, float]] = field(default_factory=dict)
    verified_bytes: int = 0
    mismatches: dict[str, int] = field(default_factory=dict)


class RecentRuns:
    """Runs in the order in which they were noted."""

    def __init__(self, kept: int = KEPT) -> None:
        self._runs: deque[RecentRun] = deque(maxlen=kept)
        self._numbers = itertools.count(1)
        self._noted: dict[tuple[str, str], RunResult] = {}

    def add(self, run: RecentRun) -> None:
        self._runs.append(run)

    def note(self, ledger: Ledger) -> None:
        """Take in the last run of every account that is not known yet."""
        for key, entry in ledger.probes.items():
            if entry.last is not None and self._noted.get(key) is not entry.last:
                self._noted[key] = entry.last
                self.add(record_of(next(self._numbers), entry.last))
        for key in self._noted.keys() - ledger.probes.keys():
            del self._noted[key]  # else an account that is gone would keep the page of its last run

    async def latest(
        self,
        disk: str | None = None,
        probe: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
        *,
        is_failed: bool = False,
    ) -> Sequence[RecentRun]:
        runs = (
            run
            for run in reversed(self._runs)
            if disk in (None, run.disk)
            and probe in (None, run.probe)
            and (before_id is None or run.id < before_id)
            and (run.failure or not is_failed)
        )
        return list(itertools.islice(runs, limit))

    async def run(self, id: int) -> RecentRun | None:  # noqa: A002 - the field's own name
        return next((run for run in reversed(self._runs) if run.id == id), None)


def record_of(number: int, result: RunResult) -> RecentRun:
    page, options = result.page, result.options
    moved = {NAMES[ddir]: ddir for ddir in transfers(options)}
    written: dict[str, object] = {
        name: value
        for name, value in msgspec.structs.asdict(options).items()
        if value != getattr(DEFAULTS, name) and isinstance(value, bool | int | float | str | tuple)
    }
    return RecentRun(
        id=number,
        name=f"{result.disk}/{result.probe}/{result.started_unix:.3f}",
        disk=result.disk,
        probe=result.probe,
        started_unix=result.started_unix,
        duration_s=result.duration_s,
        engine=result.engine,
        failure=result.failure or "",
        message=result.message,
        messages=(result.message,) if result.message else (),
        exit_status=result.exit_status,
        signal=result.signal,
        options=written,
        ios={name: page.counter(Counter.IOS, ddir) for name, ddir in moved.items()},
        bytes={name: page.counter(Counter.BYTES, ddir) for name, ddir in moved.items()},
        errors={NAMES[ddir]: sum(page.errors(ddir).values()) for ddir in fallible(options)},
        errnos=errnos(result),
        latency_s=latencies(result),
        verified_bytes=sum(page.counter(Counter.VERIFIED_BYTES, ddir) for ddir in moved.values()),
        mismatches={kind: number for kind, number in counts(page).items() if number},
    )


def errnos(result: RunResult) -> dict[str, int]:
    """The errors of its I/Os by their names."""
    total: dict[str, int] = {}
    for ddir in fallible(result.options):
        for number, times in result.page.errors(ddir).items():
            total[error_name(number)] = total.get(error_name(number), 0) + times
    return total


def latencies(result: RunResult) -> dict[str, dict[str, float]]:
    """Quantiles of the completion latency by operation, of those that completed something."""
    told = {}
    for ddir in transfers(result.options):
        histogram = result.page.histogram(Latency.CLAT, ddir)
        if histogram.count:
            told[NAMES[ddir]] = {name: histogram.quantile_ns(q) / 1e9 for name, q in QUANTILES.items()}
    return told

"""The books: what every probe has done on every disk so far. Metrics and pages read them; the supervisor writes."""

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final

from iovigil.agent.config import ScrubSettings
from iovigil.agent.output_account import OutputAccount
from iovigil.agent.quarantine import Quarantines
from iovigil.agent.slowdown.standing import Standing
from iovigil.agent.start_delay import StartDelays
from iovigil.agent.web_account import WebAccount
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Mismatch, PackedPage, StatsPage


class Failure(enum.StrEnum):
    """Why a run failed: its first cause."""

    IO_ERROR = "io_error"
    VERIFY = "verify"
    RATE_MIN = "rate_min"
    TIMEOUT = "timeout"
    CRASH = "crash"
    REFUSED = "refused"
    SETUP = "setup"
    GONE = "gone"  # the device was removed, or the server of a file system has died, while it was open


class Skip(enum.StrEnum):
    """Why a planned run was not started."""

    OVERLAP = "overlap"  # the probe's own previous run still holds the disk
    CONCURRENCY = "concurrency"  # another probe holds the disk, or all workers are taken, or those of its controller
    PRESSURE = "pressure"  # the host waited for other I/O
    WINDOW = "window"  # planned outside of the probe's windows
    PAUSED = "paused"  # somebody paused it
    BLACKOUT = "blackout"  # the blackout file was there
    STUCK = "stuck"  # an abandoned child still holds the disk
    QUARANTINED = "quarantined"  # its I/O did not come back, and it is not yet to be tried again
    ABSENT = "absent"  # the disk is not there
    STANDBY = "standby"  # the disk is asleep, and is not to be woken
    MISSED = "missed"  # the agent or the machine slept through it


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How one run ended."""

    disk: str
    probe: str
    options: JobOptions
    engine: str
    started_unix: float
    ended_unix: float
    failure: Failure | None = None
    message: str = ""
    """One line for people: what went wrong and what to do."""
    exit_status: int | None = None
    signal: int | None = None

    @property
    def is_success(self) -> bool:
        return self.failure is None

    @property
    def duration_s(self) -> float:
        return self.ended_unix - self.started_unix


@dataclass(frozen=True, kw_only=True)
class RunResult(RunOutcome):
    """One finished (or abandoned) run."""

    page: StatsPage
    """A private copy of the run's last state."""


@dataclass(frozen=True, kw_only=True)
class LastRun(RunOutcome):
    """A RunResult that is kept until the next one."""

    packed: PackedPage

    @classmethod
    def of(cls, result: RunResult) -> "LastRun":
        told = {each.name: getattr(result, each.name) for each in fields(RunOutcome)}
        return cls(**told, packed=result.page.packed())

    @property
    def page(self) -> StatsPage:
        """The run's last state, unpacked at each call."""
        return self.packed.page()


@dataclass(kw_only=True)
class ProbeEntry:
    """The account of one probe on one disk."""

    disk: str
    probe: str
    options: JobOptions
    interval_s: float
    timeout_s: float
    scrub: ScrubSettings | None = None
    """What makes the probe a scrub; None for a job."""
    engine: str
    """The engine in use: the configured one, or the one fallen back to."""
    packed_totals: PackedPage = field(default_factory=PackedPage)
    """Sum of all finished runs; another one after each."""
    live: StatsPage | None = None
    """The page of the run in progress."""
    runs: int = 0
    failures: dict[Failure, int] = field(default_factory=lambda: dict.fromkeys(Failure, 0))
    skips: dict[Skip, int] = field(default_factory=lambda: dict.fromkeys(Skip, 0))
    last_skip: Skip | None = None
    last_skip_unix: float = 0.0
    is_paused: bool = False
    longest_gap_s: float = 0.0
    """Between two planned starts: the interval, or more where windows keep starts out; 0 before there is a plan."""
    fallbacks: int = 0
    """Runs that had to use another engine than the configured one."""
    last: RunResult | LastRun | None = None
    last_success_unix: float = 0.0
    """When the last successful run ended; 0 if none did."""
    last_mismatch_unix: float = 0.0
    """When the last mismatch was found, also before a restart of the agent; 0 if none is known."""
    pending_bytes: int = 0
    """Written by the last run and not read back: the next begins with it."""
    unverified_bytes: int = 0
    """Written, and never read back."""
    stuck: StatsPage | None = None
    """The page of an abandoned run whose child is still there: its oldest I/O goes on ageing."""
    hung_since_s: float | None = None
    """When the I/O began for which the disk is in quarantine, on CLOCK_BOOTTIME; None when there is none."""
    slowdown: Standing = Standing()  # noqa: RUF009 - immutable
    """Against its own past."""

    def skip(self, reason: Skip, now_unix: float, times: int = 1) -> None:
        """Book planned starts that did not take place."""
        self.skips[reason] += times
        self.last_skip, self.last_skip_unix = reason, now_unix

    def begin(self, page: StatsPage) -> None:
        self.live = page

    def finish(self, result: RunResult) -> None:
        """Book a finished run; the caller keeps or closes the live page."""
        self.live = None
        self.add(result.page)
        self.runs += 1
        if result.failure is not None:
            self.failures[result.failure] += 1
        else:
            self.last_success_unix = result.ended_unix
        # Who looks at the page while the run is under way knows it better.
        if self.last_mismatch_unix < result.started_unix and any(result.page.mismatch(kind) for kind in Mismatch):
            self.last_mismatch_unix = result.ended_unix
        self.last = LastRun.of(result)

    def add(self, page: StatsPage) -> None:
        """Add what is on a page to the totals."""
        totals = self.totals
        totals.add(page)
        self.packed_totals = totals.packed()

    @property
    def totals(self) -> StatsPage:
        """Sum of all finished runs, in memory of its own: to add to it is to change nothing here."""
        return self.packed_totals.page()

    def view(self) -> StatsPage:
        """Totals with the run in progress added: never less than at the last call."""
        view = self.totals
        if self.live is not None:
            view.add(self.live)
        return view

    def state(self) -> tuple[object, ...] | None:
        """All of it, by value, to be compared; None while something goes on by itself: a child's page, an age."""
        if self.live is not None or self.stuck is not None or self.hung_since_s is not None:
            return None
        return by_value(PROBE_FIELDS(self))

    def oldest_inflight_s(self) -> float:
        pages = [page for page in (self.live, self.stuck) if page is not None]
        outstanding_s = max((page.oldest_inflight_ns() for page in pages), default=0) / 1e9
        if self.hung_since_s is None:
            return outstanding_s
        return max(outstanding_s, time.clock_gettime(time.CLOCK_BOOTTIME) - self.hung_since_s)


@dataclass(kw_only=True)
class DiskEntry:
    """The account of one configured disk."""

    name: str
    target: str = ""
    """What jobs on it open: `file` or `device`."""
    path: str = ""
    """Which one that is; a disk of another path is another disk, unless `key` says otherwise."""
    key: str = ""
    """What tells a selected device from any other, by whatever path; empty where the path does."""
    is_present: bool = False
    is_stuck: bool = False
    """Whether it does not answer, as far as is known."""
    held_by: int = 0
    """The pid of an abandoned child that still waits for it; 0 when there is none."""
    is_quarantined: bool = False
    quarantines: int = 0
    """How often it was put into quarantine."""
    quarantine_end_unix: float = 0.0
    """When it is tried again; 0 without a quarantine, and while an abandoned child is still there."""
    identity: dict[str, str] = field(default_factory=dict)
    """Labels of disk_info, as disks/identity has them."""

    @property
    def place(self) -> str:
        """What the disk is the same by after a restart."""
        return self.key or self.path

    def state(self) -> tuple[object, ...]:
        """All of it, by value, to be compared."""
        return by_value(DISK_FIELDS(self))


PROBE_FIELDS: Final[Callable[[ProbeEntry], tuple[object, ...]]] = attrgetter(*(f.name for f in fields(ProbeEntry)))
DISK_FIELDS: Final[Callable[[DiskEntry], tuple[object, ...]]] = attrgetter(*(f.name for f in fields(DiskEntry)))


def by_value(values: tuple[object, ...]) -> tuple[object, ...]:
    """What stays as it is when dictionaries among these change; nothing else of an account changes in its place."""
    return tuple([value.copy() if type(value) is dict else value for value in values])


@dataclass(kw_only=True)
class Ledger:
    """Every account of the configuration in force."""

    disks: dict[str, DiskEntry] = field(default_factory=dict)
    probes: dict[tuple[str, str], ProbeEntry] = field(default_factory=dict)
    last_reload_successful: bool = True
    last_reload_unix: float = field(default_factory=time.time)
    workers_running: int = 0
    workers_abandoned: int = 0
    start_delays: StartDelays = field(default_factory=StartDelays)
    quarantines: Quarantines = field(default_factory=Quarantines)
    slow_disks_ratio: float = 0.0
    """Share of the disks that are slow at once."""
    is_blackout: bool = False
    is_backing_off: bool = False
    web: WebAccount = field(default_factory=WebAccount)
    textfile: OutputAccount = field(default_factory=OutputAccount)
    otlp: OutputAccount = field(default_factory=OutputAccount)
    counting_since_unix: float = field(default_factory=time.time)
    """No counter has counted anything before."""

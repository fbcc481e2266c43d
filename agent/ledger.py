"""The books: what every probe has done on every disk so far. Metrics and pages read them; the supervisor writes."""

import enum
import time
from dataclasses import dataclass, field

from iovigil.agent.config import ScrubSettings
from iovigil.agent.slowdown.standing import Standing
from iovigil.agent.start_delay import StartDelays
from iovigil.agent.web_account import WebAccount
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Mismatch, StatsPage


class Failure(enum.StrEnum):
    """Why a run failed: its first cause."""

    IO_ERROR = "io_error"
    VERIFY = "verify"
    RATE_MIN = "rate_min"
    TIMEOUT = "timeout"
    CRASH = "crash"
    REFUSED = "refused"
    SETUP = "setup"


class Skip(enum.StrEnum):
    """Why a planned run was not started."""

    OVERLAP = "overlap"  # the probe's own previous run still holds the disk
    CONCURRENCY = "concurrency"  # another probe holds the disk, or all workers are taken, or those of its controller
    PRESSURE = "pressure"  # the host waited for other I/O
    WINDOW = "window"  # planned outside of the probe's windows
    PAUSED = "paused"  # somebody paused it
    BLACKOUT = "blackout"  # the blackout file was there
    STUCK = "stuck"  # an abandoned child still holds the disk
    ABSENT = "absent"  # the disk is not there
    STANDBY = "standby"  # the disk is asleep, and is not to be woken
    MISSED = "missed"  # the agent or the machine slept through it


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One finished (or abandoned) run."""

    disk: str
    probe: str
    options: JobOptions
    engine: str
    page: StatsPage
    """A private copy of the run's last state."""
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
    totals: StatsPage = field(default_factory=StatsPage.private)
    """Sum of all finished runs."""
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
    last: RunResult | None = None
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
        self.totals.add(result.page)
        self.runs += 1
        if result.failure is not None:
            self.failures[result.failure] += 1
        else:
            self.last_success_unix = result.ended_unix
        # Who looks at the page while the run is under way knows it better.
        if self.last_mismatch_unix < result.started_unix and any(result.page.mismatch(kind) for kind in Mismatch):
            self.last_mismatch_unix = result.ended_unix
        self.last = result

    def view(self) -> StatsPage:
        """Totals with the run in progress added: never less than at the last call."""
        if self.live is None:
            return self.totals
        view = self.totals.copy()
        view.add(self.live)
        return view

    def oldest_inflight_s(self) -> float:
        pages = [page for page in (self.live, self.stuck) if page is not None]
        return max((page.oldest_inflight_ns() for page in pages), default=0) / 1e9


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
    identity: dict[str, str] = field(default_factory=dict)
    """Labels of disk_info, as disks/identity has them."""

    @property
    def place(self) -> str:
        """What the disk is the same by after a restart."""
        return self.key or self.path


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
    slow_disks_ratio: float = 0.0
    """Share of the disks that are slow at once."""
    is_blackout: bool = False
    is_backing_off: bool = False
    web: WebAccount = field(default_factory=WebAccount)

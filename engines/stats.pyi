import enum
from os import PathLike
from typing import Any, NamedTuple, Self, final

from iovigil.engines.latency import Histogram

class RunState(enum.IntFlag):
    """fio's run states; a job never goes back past INITIALIZED."""

    NOT_CREATED = 0
    CREATED = 1
    INITIALIZED = 2
    RAMP = 3
    SETTING_UP = 4
    RUNNING = 5
    PRE_READING = 6
    VERIFYING = 7
    FSYNCING = 8
    FINISHING = 9
    EXITED = 10
    REAPED = 11

class Counter(enum.IntFlag):
    """What is counted per data direction."""

    IOS = 0
    BYTES = 1
    SHORT_IOS = 2
    VERIFIED_BYTES = 3
    DROPPED_IOS = 4

class Latency(enum.IntFlag):
    SLAT = 0
    CLAT = 1
    LAT = 2
    RESPONSE = 3

class Mismatch(enum.IntFlag):
    """What was wrong with a block that failed verification."""

    CHECKSUM = 0
    HEADER = 1
    MISPLACED = 2
    STALE = 3
    ZEROED = 4
    TORN = 5

class MismatchRecord(NamedTuple):
    """Where and how a block was wrong; offsets and lengths in bytes of the target."""

    kind: Mismatch
    offset: int
    length: int
    first_byte: int
    """Offset of the first wrong byte; -1 where it cannot be told."""
    expected: int
    """Generation (numberio) this run wrote there; 0 when not known."""
    found: int
    wrong_bits: int = -1
    """Against what should be there; -1 where that is not known."""
    found_offset: int = -1
    """Where a misplaced block belongs; -1 where it does not say."""
    found_ns: int = 0
    """When it was read, on CLOCK_MONOTONIC."""
    is_dumped: bool = False
    """Whether verify_dump has written it to a file."""
    file: int = 0
    """Which of the job's targets, from 0."""

class RateSamples(NamedTuple):
    """Rates over windows of bwavgtime or iopsavgtime: KiB/s or I/Os per second."""

    samples: int
    minimum: float
    maximum: float
    mean: float
    stddev: float

class ScrubFigures(NamedTuple):
    """Where a scrub stands; times are Unix times in seconds."""

    region_bytes: int
    cursor_bytes: int
    """How far this cycle is."""
    cycle: int
    """From 1, which writes every block for the first time."""
    cycle_begun_unix: int
    cycles_completed: int
    last_ended_unix: int
    """When the last complete cycle ended; 0 before."""
    oldest_unix: int
    """The block longest unread was read, or first written, no earlier than this."""
    unknown_blocks: int
    """Blocks that could not be written: what they hold is not known."""

class Usage(NamedTuple):
    """What the child itself cost, io-wq threads included."""

    user_s: float
    system_s: float
    context_switches: int
    major_faults: int
    minor_faults: int
    max_rss_bytes: int

@final
class PackedPage:
    """A stats page that is kept and not added to; those of equal pages are equal."""

    def page(self) -> StatsPage:
        """The page, in private memory of its own."""
    def __len__(self) -> int:
        """Bytes that it takes."""
    def __hash__(self) -> int: ...

@final
class StatsPage:
    """Counters and histograms of one job, or the sum of several."""

    @classmethod
    def create(cls, path: str | PathLike[str] | None = None) -> Self:
        """A page in shared memory, ready to be handed to a child. Raises OSError.

        With a `path`, which has to be in memory and not be there yet, it outlives the agent.
        """
    @classmethod
    def attach(cls, fd: int) -> Self:
        """The page behind a descriptor, which now belongs to this object. ValueError if it is none of ours."""
    @classmethod
    def private(cls) -> Self:
        """An empty page in private memory, to add others to."""
    def close(self) -> None: ...
    def fileno(self) -> int: ...
    def copy(self) -> StatsPage:
        """A private copy of the present moment; a phase that was running is taken as ended now."""
    def packed(self) -> PackedPage:
        """The page of the present moment, to be kept: a few KB instead of the whole layout."""
    def add(self, other: StatsPage) -> None:
        """Add the counters, histograms and times of another page; state, text and records stay.

        Where a scrub stands is taken over: it is no sum.
        """
    def sums(self) -> dict[str, Any]:
        """What counters and histograms are made of, by names and in builtin types: fit to be kept."""
    def add_sums(self, sums: dict[str, Any]) -> None:
        """Add what `sums` returned; names that are not known any more are left out.

        Raises LookupError, TypeError, ValueError or OverflowError where it is nothing of the kind; some of it may have
        been added then.
        """
    def counter(self, counter: int, ddir: int) -> int: ...
    def errors(self, ddir: int) -> dict[int, int]:
        """{errno: I/Os that returned it}; 0 stands for an errno beyond the table."""
    def mismatch(self, kind: int) -> int: ...
    def histogram(self, kind: int, ddir: int) -> Histogram: ...
    def runtime_ns(self, ddir: int) -> int:
        """Time spent in phases of this direction, the running one included while the job lives."""
    def oldest_inflight_ns(self) -> int:
        """Age of the oldest I/O handed to the engine and not come back; 0 when there is none."""
    def mismatches(self) -> list[MismatchRecord]:
        """The first mismatches of the run, in the order they were found."""
    def depth_levels(self) -> list[int]: ...
    def submits(self) -> list[int]: ...
    def completes(self) -> list[int]: ...
    def bw_samples(self, ddir: int) -> RateSamples: ...
    def iops_samples(self, ddir: int) -> RateSamples: ...
    def calibrate(self, source: tuple[int, int, int, int]) -> None:
        """Write the agent's clock (see `Clock.source`) where the child will read it."""
    def request_stop(self) -> None:
        """Ask the job to end as soon as its I/O in flight has come back."""
    def release(self) -> None:
        """Let the job start, as soon as it is ready."""
    @property
    def is_released(self) -> bool: ...
    @property
    def is_stopped(self) -> bool: ...
    @property
    def state(self) -> RunState: ...
    @state.setter
    def state(self, value: int) -> None: ...
    @property
    def error(self) -> int:
        """errno of the fatal error, 0 without."""
    @property
    def first_error(self) -> int:
        """errno of the first error that continue_on_error passed over, 0 without."""
    @property
    def total_errors(self) -> int: ...
    @property
    def is_complete(self) -> bool:
        """Whether the job came to its own end; false after a kill."""
    @property
    def text(self) -> str:
        """What went wrong, for people; empty when nothing did."""
    @text.setter
    def text(self, value: str) -> None: ...
    @property
    def unverified_bytes(self) -> int: ...
    @property
    def inherited_bytes(self) -> int:
        """Written by a run before, and handed to this one to read back."""

    @property
    def latency_depth(self) -> int:
        """The iodepth that the search for latency_target has come to; 0 without one."""
    @property
    def scrub(self) -> ScrubFigures | None:
        """Where a scrub stands; None where there is none."""
    @property
    def spawned_ns(self) -> int: ...
    @spawned_ns.setter
    def spawned_ns(self, value: int) -> None: ...
    @property
    def first_io_ns(self) -> int: ...
    @property
    def epoch_ns(self) -> int: ...
    @property
    def ended_ns(self) -> int: ...
    @property
    def usage(self) -> Usage: ...

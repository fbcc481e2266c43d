"""What the API is made of: the answers, the queries and the orders, as Structs that the OpenAPI document follows."""

import enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from iovigil.agent.pauses import LATEST_UNIX

LARGEST_PAGE = 500
LONGEST_REASON = 200


def told(text: str) -> Meta:
    return Meta(description=text)


Unix = Annotated[float, told("Seconds since 1970.")]
Instant = Annotated[float, Meta(gt=0, le=LATEST_UNIX)]
Limit = Annotated[int, Meta(ge=1, le=LARGEST_PAGE, description="Most entries to return.")]
Cursor = Annotated[str, Meta(max_length=300, description="The next_cursor of the page before.")]
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class State(enum.StrEnum):
    """How a probe stands on a disk; the worst comes first."""

    STUCK = "stuck"
    FAILED = "failed"
    ABSENT = "absent"
    SKIPPED = "skipped"
    PAUSED = "paused"
    RUNNING = "running"
    WAITING = "waiting"
    NEW = "new"
    OK = "ok"


class Base(msgspec.Struct, kw_only=True):
    """Every answer: all fields are always there."""


class LastRun(Base):
    """The last run of a probe on a disk since the agent started."""

    started_unix: Unix
    ended_unix: Unix
    duration_s: float
    failure: Annotated[str | None, told("Why it failed; null after success.")]
    message: Annotated[str, told("One line for people.")]
    latency_s: Annotated[
        dict[str, dict[str, float]], told("By operation: the quantiles 0.5, 0.99, 0.999 and max, in seconds.")
    ]


class Probe(Base):
    """A probe on a disk."""

    probe: str
    state: State
    reason: Annotated[str, told("Why it stands so, in words; may be empty.")]
    phase: Annotated[str | None, told("What the run under way is doing, in fio's word.")]
    rw: str
    engine: str
    interval_s: float
    timeout_s: float
    oldest_inflight_s: Annotated[float, told("Age of the oldest I/O that has not come back; 0 when there is none.")]
    runs: int
    failures: Annotated[dict[str, int], told("Failed runs by cause.")]
    skips: Annotated[dict[str, int], told("Planned starts that were not made, by reason.")]
    last_run: LastRun | None
    last_success_unix: Unix | None
    last_mismatch_unix: Unix | None
    last_skip: str | None
    last_skip_unix: Unix | None
    next_unix: Unix | None
    due_unix: Annotated[float | None, told("A planned start that has come and waits.")]


class Disk(Base):
    """A disk of the configuration, with every probe on it."""

    name: str
    state: Annotated[State, told("The worst of its probes.")]
    target: Annotated[str, told("What jobs on it open: file or device.")]
    path: str
    is_present: bool
    is_stuck: Annotated[bool, told("Whether it does not answer, as far as is known.")]
    held_by: Annotated[int | None, told("The child that waits for it and does not end, by its process id.")]
    is_quarantined: Annotated[bool, told("Whether an I/O did not come back: nothing starts but a trial now and then.")]
    quarantine_end_unix: Annotated[float | None, told("When it is tried again; null while a child still holds it.")]
    identity: Annotated[dict[str, str], told("device, model, serial, wwn and so on, as far as they are known.")]
    probes: list[Probe]


class Disks(Base):
    """Every disk of the configuration in force."""

    disks: list[Disk]


class RunSummary(Base):
    """A finished run."""

    id: int
    name: str
    disk: str
    probe: str
    started_unix: Unix
    duration_s: float
    engine: str
    failure: str | None
    message: str
    latency_s: dict[str, dict[str, float]]


class Run(RunSummary):
    """A finished run, with all that is kept of it."""

    messages: Annotated[list[str], told("What the run said, a line each.")]
    exit_status: int | None
    signal: int | None
    options: Annotated[dict[str, Any], told("The job's options as far as they were written.")]
    ios: dict[str, int]
    bytes: dict[str, int]
    errors: Annotated[dict[str, int], told("I/Os that returned an error, by operation.")]
    errnos: Annotated[dict[str, int], told("The same I/Os by what they returned.")]
    verified_bytes: int
    mismatches: Annotated[dict[str, int], told("Blocks that failed verification, by kind.")]


class Runs(Base):
    """A page of finished runs, newest first."""

    runs: list[RunSummary]
    next_cursor: Annotated[str | None, told("Asks for the runs before these; null at the end.")]


class Turn(Base):
    """When a probe starts on a disk."""

    disk: str
    probe: str
    interval_s: float
    state: State
    reason: str
    next_unix: Unix | None
    due_unix: Unix | None
    last_skip: str | None
    last_skip_unix: Unix | None


class Paused(Base):
    """What is not to run; names may be patterns, and `*` is every one."""

    disk: str
    probe: str
    until_unix: Annotated[float | None, told("When it ends by itself; null is never.")]
    reason: str


class Schedule(Base):
    """The plan, the next start first, and what is paused of it."""

    turns: list[Turn]
    pauses: list[Paused]


class Mismatch(Base):
    """A block that failed verification."""

    run: str
    number: int
    found_unix: Unix
    disk: str
    probe: str
    path: str
    identity: str
    kind: str
    offset: int
    length: int
    first_byte: int | None
    wrong_bits: int | None
    expected_generation: int | None
    found_generation: int | None
    found_offset: int | None
    dumps: Annotated[list[str], told("Files that the block was written to.")]
    text: str


class Mismatches(Base):
    """A page of mismatches, newest first."""

    mismatches: list[Mismatch]
    next_cursor: Annotated[str | None, told("Asks for the mismatches before these; null at the end.")]


class Agent(Base):
    """The agent itself."""

    version: str
    host: str
    started_unix: Unix
    is_control_enabled: bool
    last_reload_successful: bool
    last_reload_unix: Unix
    workers_running: int
    workers_abandoned: int
    disks: int
    probes: int
    states: Annotated[dict[str, int], told("Probes on disks, by state.")]


class Started(Base):
    """A run that has begun."""

    disk: str
    probe: str


class Pauses(Base):
    """What is paused now."""

    pauses: list[Paused]


class Order(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a request brings: nothing else is taken."""


class NoQuery(Order):
    """No parameters."""


class RunsQuery(Order):
    """Which runs."""

    disk: Annotated[Name | None, told("Of this disk alone.")] = None
    probe: Annotated[Name | None, told("Of this probe alone.")] = None
    failed: Annotated[bool, told("Only those that failed.")] = False
    limit: Limit = 50
    cursor: Cursor | None = None


class MismatchesQuery(Order):
    """Which mismatches."""

    disk: Annotated[Name | None, told("Of this disk alone.")] = None
    limit: Limit = 50
    cursor: Cursor | None = None


class PauseOrder(Order):
    """What to pause: everything where nothing is said."""

    disk: Annotated[Name, told("A disk, or a pattern; * is every one.")] = "*"
    probe: Annotated[Name, told("A probe, or a pattern; * is every one.")] = "*"
    until_unix: Annotated[Instant | None, told("When it ends by itself.")] = None
    reason: Annotated[str, Meta(max_length=LONGEST_REASON, description="Why, for whoever reads it.")] = ""


class ResumeOrder(Order):
    """What to resume: everything where nothing is said."""

    disk: Annotated[Name, told("A disk, or a pattern; * is every one.")] = "*"
    probe: Annotated[Name, told("A probe, or a pattern; * is every one.")] = "*"


class RunOrder(Order):
    """What to run now."""

    disk: Name
    probe: Name

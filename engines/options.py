"""JobOptions: every option of a job once, under fio's name, with its type, default, limits, unit and help."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

KIB: Final = 1024
SECOND_US: Final = 1_000_000
MAX_IODEPTH: Final = 4096
MAX_INT64: Final = (1 << 63) - 1
LONGEST_TIME_US: Final = 1000 * 86_400 * SECOND_US  # fits in 64 bits of nanoseconds a hundred times over

Direction = Literal["read", "write", "randread", "randwrite", "rw", "randrw"]
ContinueOnError = Literal["none", "read", "write", "io", "verify", "all"]
VerifyHeader = Literal["fio-3.41", "fio-2.2"]


class OptionError(ValueError):
    """An option that cannot be; the text says what was found and what is allowed."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option
        self.reason = reason


class JobOptionsError(OptionError):
    """Everything that is wrong with the options of one job; the text has a line for each."""

    def __init__(self, errors: Sequence[OptionError]) -> None:
        super().__init__(errors[0].option, errors[0].reason)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def option(
    text: str, unit: str = "", ge: int = 0, le: int | None = None, plain: int = 1, is_native: bool = True
) -> Meta:
    """Describe an option: help, unit in which it is held, limits, worth of a bare number in that unit.

    An option that is not native does not travel to the child. The limits stand in `extra` because msgspec's own
    take neither a pair nor 64 bits; `spelling` keeps them.
    """
    if le is None:
        le = LONGEST_TIME_US if unit == "us" else MAX_INT64
    return Meta(description=text, extra={"unit": unit, "plain": plain, "is_native": is_native, "ge": ge, "le": le})


PerDirection = tuple[int, int]
"""One value for reads and one for writes."""


class JobOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one job does to one target.

    Sizes are bytes and times microseconds; `spelling` takes them as fio spells them.
    """

    name: Annotated[str, option("Name of the job, for people.", is_native=False)] = "job"
    ioengine: Annotated[str, option("How I/O reaches the kernel: a module of engines/io.")] = "psync"
    rw: Annotated[Direction, option("Direction of the I/O, sequential or random.")] = "read"
    rwmixread: Annotated[int, option("Share of reads in a mixed job.", unit="%", ge=0, le=100)] = 50
    bs: Annotated[int, option("Length of one I/O.", unit="bytes", ge=1, le=1 << 30)] = 4 * KIB
    iodepth: Annotated[int, option("I/Os kept in flight by an asynchronous engine.", ge=1, le=MAX_IODEPTH)] = 1
    size: Annotated[int, option("Length of the region the job works on; 0 is all of the target.", "bytes", ge=0)] = 0
    offset: Annotated[int, option("Where that region starts in the target.", unit="bytes", ge=0)] = 0
    io_size: Annotated[int, option("Bytes to transfer in one loop; 0 is the region once.", unit="bytes", ge=0)] = 0
    number_ios: Annotated[int, option("I/Os after which the job ends; 0 is no bound.", ge=0)] = 0
    direct: Annotated[bool, option("Bypass the page cache (O_DIRECT).")] = False
    invalidate: Annotated[bool, option("Drop the target's cached pages before the job starts.")] = True
    overwrite: Annotated[
        bool, option("Allow writes into an existing file that iovigil did not create.", is_native=False)
    ] = False
    time_based: Annotated[bool, option("Go round until runtime is over, however small the region.")] = False
    runtime: Annotated[int, option("End after this time; 0 is no bound.", "us", ge=0, plain=SECOND_US)] = 0
    ramp_time: Annotated[int, option("Run this long before measuring begins.", "us", ge=0, plain=SECOND_US)] = 0
    loops: Annotated[int, option("Times to repeat the job.", ge=1)] = 1
    rate: Annotated[PerDirection, option("Upper bound of throughput; 0 is no bound.", unit="bytes/s", ge=0)] = (0, 0)
    rate_iops: Annotated[PerDirection, option("Upper bound of I/Os per second; 0 is no bound.", ge=0)] = (0, 0)
    rate_min: Annotated[
        PerDirection, option("Fail when throughput stays below; 0 is no bound.", unit="bytes/s", ge=0)
    ] = (0, 0)
    rate_iops_min: Annotated[PerDirection, option("Fail when I/Os per second stay below; 0 is no bound.", ge=0)] = (
        0,
        0,
    )
    ratecycle: Annotated[
        int, option("Window over which the minimum rates are judged.", unit="us", ge=1000, plain=1000)
    ] = SECOND_US
    thinktime: Annotated[int, option("Pause after every thinktime_blocks I/Os.", unit="us", ge=0)] = 0
    thinktime_spin: Annotated[int, option("Part of thinktime spent on the CPU.", unit="us", ge=0)] = 0
    thinktime_blocks: Annotated[int, option("I/Os between two pauses.", ge=1)] = 1
    fsync: Annotated[int, option("fsync after this many writes; 0 is never.", ge=0)] = 0
    fdatasync: Annotated[int, option("fdatasync after this many writes; 0 is never.", ge=0)] = 0
    end_fsync: Annotated[bool, option("fsync when the write phase ends.")] = False
    norandommap: Annotated[bool, option("Draw random offsets freely instead of visiting each block once.")] = False
    randseed: Annotated[int, option("Seed of all random choices.", ge=0, le=(1 << 64) - 1)] = 0x89
    randrepeat: Annotated[bool, option("The same choices in every run; 0 adds a seed drawn at start.")] = True
    scramble_buffers: Annotated[bool, option("Change 16 bytes of every sector written, against deduplication.")] = True
    verify: Annotated[Literal["none", "crc32c"], option("Checksum that every block carries.")] = "none"
    verify_header: Annotated[VerifyHeader, option("Header layout to write; all known ones are read.")] = "fio-3.41"
    do_verify: Annotated[bool, option("Read back and check what the job wrote.")] = True
    verify_fatal: Annotated[bool, option("End the job at the first mismatch.")] = False
    continue_on_error: Annotated[ContinueOnError, option("Errors to count and pass over.")] = "none"
    fill_device: Annotated[bool, option("Write until the target is full; ENOSPC is then the end, not an error.")] = (
        False
    )

    @property
    def does_read(self) -> bool:
        return self.rw in ("read", "randread", "rw", "randrw")

    @property
    def does_write(self) -> bool:
        return self.rw in ("write", "randwrite", "rw", "randrw")

    @property
    def is_random(self) -> bool:
        return self.rw.startswith("rand")

    @property
    def reads_back(self) -> bool:
        """Whether a verify phase follows the write phase."""
        return self.does_write and self.verify != "none" and self.do_verify

    @property
    def longest_us(self) -> int:
        """The longest a run may take by its own options, 0 when they set no bound.

        A run that reads back writes for at most half its runtime; checking what was written
        may then take as long again as the writing and half of it more.
        """
        if not self.runtime:
            return 0
        return self.ramp_time + self.runtime + (self.runtime // 2 if self.reads_back else 0)

    def native(self) -> dict[str, Any]:
        """The form that goes to the child: builtin types only, so that it needs no library to read it."""
        return {name: getattr(self, name) for name, spec in SPECS.items() if spec.is_native}


class OptionSpec(msgspec.Struct, frozen=True):
    """What `option` said of a field, and what its annotation says."""

    name: str
    kind: Any
    text: str
    unit: str
    plain: int
    is_native: bool
    ge: int
    le: int
    default: Any

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()


def read_specs() -> dict[str, OptionSpec]:
    """Derive the table of options from JobOptions."""
    specs = {}
    hints = get_type_hints(JobOptions, include_extras=True)
    for field in msgspec.structs.fields(JobOptions):
        kind, meta = get_args(hints[field.name])
        extra = meta.extra
        specs[field.name] = OptionSpec(
            name=field.name,
            kind=kind,
            text=meta.description,
            unit=extra["unit"],
            plain=extra["plain"],
            is_native=extra["is_native"],
            ge=extra["ge"],
            le=extra["le"],
            default=field.default,
        )
    return specs


SPECS: Final[Mapping[str, OptionSpec]] = read_specs()

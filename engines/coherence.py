"""Whether the options of one job make sense together."""

from collections.abc import Iterator
from typing import Final

from iovigil.engines.options import MAX_INT64, JobOptions, OptionError
from iovigil.engines.quantities import spell_size, spell_time

SECTOR_BYTES: Final = 512
VERIFY_HEADER_BYTES: Final = 64
"""Room that the header of a verified block and its checksum need, in every layout."""
MAX_BUFFER_BYTES: Final = 4 << 30
DIRECTIONS: Final = ("reads", "writes", "trims")


def check(options: JobOptions) -> tuple[OptionError, ...]:
    """Return everything about `options` that contradicts itself, or that is not built yet."""
    return (
        *check_times(options),
        *check_region(options),
        *check_rates(options),
        *check_writes(options),
        *check_verify(options),
    )


def check_times(options: JobOptions) -> Iterator[OptionError]:
    if options.time_based and not options.runtime:
        yield OptionError("runtime", "is missing: a time_based job needs one, such as 30s")
    elif options.ramp_time and not options.runtime:
        yield OptionError("ramp_time", "needs a runtime, such as 30s, that begins when it is over")
    if options.thinktime_spin > options.thinktime:
        found, most = spell_time(options.thinktime_spin), spell_time(options.thinktime)
        yield OptionError("thinktime_spin", f"{found} is more than all of thinktime ({most})")


def check_region(options: JobOptions) -> Iterator[OptionError]:
    bs = spell_size(options.min_bs)
    for name in ("size", "io_size"):
        length = getattr(options, name)
        if 0 < length < options.min_bs:
            yield OptionError(name, f"{spell_size(length)} is less than one I/O (bs is {bs})")
    if options.iodepth * options.max_bs > MAX_BUFFER_BYTES:
        found, most = spell_size(options.iodepth * options.max_bs), spell_size(MAX_BUFFER_BYTES)
        yield OptionError("iodepth", f"times bs makes {found} of buffers: at most {most}")
    if options.offset + options.size > MAX_INT64:
        yield OptionError("size", f"ends beyond {MAX_INT64}, counted from offset")
    if not options.direct:
        return
    for name, value in (("bs", options.min_bs), ("offset", max(options.offset, 0))):
        if value % SECTOR_BYTES:
            found = spell_size(value)
            yield OptionError(name, f"{found} is not a multiple of {SECTOR_BYTES}, as direct=1 needs")
    if options.size > options.min_bs and options.size % options.min_bs:
        yield OptionError("size", f"{spell_size(options.size)} is not a multiple of bs ({bs}), as direct=1 needs")


def check_rates(options: JobOptions) -> Iterator[OptionError]:
    for upper, lower, spell in (("rate", "rate_min", spell_size), ("rate_iops", "rate_iops_min", str)):
        for direction, most, least in zip(DIRECTIONS, getattr(options, upper), getattr(options, lower), strict=True):
            if 0 < most < least:
                reason = f"{spell(least)} for {direction} is above {upper} ({spell(most)}): it could never be kept"
                yield OptionError(lower, reason)
                break
    for bytes_name, ios_name in (("rate", "rate_iops"), ("rate_min", "rate_iops_min")):
        if any(getattr(options, bytes_name)) and any(getattr(options, ios_name)):
            yield OptionError(ios_name, f"excludes {bytes_name}: give one of them")


def check_writes(options: JobOptions) -> Iterator[OptionError]:
    if options.does_write:
        return
    for name in ("fsync", "fdatasync", "end_fsync", "fill_device"):
        if getattr(options, name):
            yield OptionError(name, f"is for jobs that write; rw is {options.rw}")


def check_verify(options: JobOptions) -> Iterator[OptionError]:
    if options.verify == "none":
        return
    if options.min_bs < VERIFY_HEADER_BYTES:
        yield OptionError("bs", f"{options.min_bs} has no room for a verify header: at least {VERIFY_HEADER_BYTES}")
    if options.fill_device:
        yield OptionError("fill_device", "together with verify is not supported yet")

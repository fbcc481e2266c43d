"""Whether the options of one job make sense together."""

from collections.abc import Iterator
from typing import Final

from iovigil.engines.checksum_types import FIELD_SIZES
from iovigil.engines.options import MAX_INT64, SPECS, JobOptions, OptionError
from iovigil.engines.quantities import spell_size, spell_time

SECTOR_BYTES: Final = 512
HEADER_BYTES: Final = {"fio-3.41": 48, "fio-2.2": 40}
HEADERLESS: Final = ("pattern", "null")
PATTERNED: Final = ("pattern", "pattern_hdr")
MAX_BUFFER_BYTES: Final = 4 << 30
DIRECTIONS: Final = ("reads", "writes", "trims")
LOGS: Final = ("write_bw_log", "write_iops_log", "write_lat_log")
OF_LOGS: Final = ("log_avg_msec", "log_window_value", "log_offset", "log_issue_time")
OF_HISTOGRAMS: Final = ("log_hist_msec", "log_hist_coarseness")
OF_REPLAY: Final = (
    "replay_no_stall", "replay_time_scale", "replay_scale", "replay_align", "replay_redirect", "replay_skip",
)  # fmt: skip
OF_TRIMS: Final = ("trim_backlog", "trim_backlog_batch")
OF_VERIFY: Final = (
    "verify_backlog", "verify_async", "verify_only", "verify_state_load", "trim_percentage", "verify_offset",
    "verify_pattern",
)  # fmt: skip


class Inapplicable(OptionError):
    """An option that has nothing to act on in this job; among the defaults of many jobs that is no mistake."""


def check(options: JobOptions) -> tuple[OptionError, ...]:
    """Return everything about `options` that contradicts itself, or that is not built yet."""
    return (
        *check_times(options),
        *check_region(options),
        *check_lengths(options),
        *check_direct(options),
        *check_zones(options),
        *check_choices(options),
        *check_depth(options),
        *check_rates(options),
        *check_latency(options),
        *check_steady_state(options),
        *check_writes(options),
        *check_contents(options),
        *check_verify(options),
        *check_trims(options),
        *check_replay(options),
        *check_logs(options),
        *check_process(options),
        *check_engine(options),
    )


def is_given(options: JobOptions, name: str) -> bool:
    return bool(getattr(options, name) != SPECS[name].default)


def belongs(options: JobOptions, owner: str, names: tuple[str, ...]) -> Iterator[OptionError]:
    """What is given of options that mean nothing without another."""
    if not is_given(options, owner):
        for name in names:
            if is_given(options, name):
                yield Inapplicable(name, f"means nothing without {owner}")


def check_times(options: JobOptions) -> Iterator[OptionError]:
    if options.time_based and not options.runtime:
        yield OptionError("runtime", "is missing: a time_based job needs one, such as 30s")
    elif options.ramp_time and not options.runtime:
        yield OptionError("ramp_time", "needs a runtime, such as 30s, that begins when it is over")
    if options.thinktime_spin > options.thinktime:
        found, most = spell_time(options.thinktime_spin), spell_time(options.thinktime)
        yield OptionError("thinktime_spin", f"{found} is more than all of thinktime ({most})")
    yield from belongs(options, "thinktime", ("thinktime_iotime",))


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
    if -options.offset - options.size > 100:
        yield OptionError("size", f"{-options.size}% of the target, from {-options.offset}% on, is more than there is")


def check_lengths(options: JobOptions) -> Iterator[OptionError]:
    for direction, bounds, split in zip(DIRECTIONS, options.bsrange, options.bssplit, strict=True):
        if any(bounds) and split:
            yield OptionError("bssplit", f"excludes bsrange, both for {direction}: give one of them")
            return


def check_direct(options: JobOptions) -> Iterator[OptionError]:
    """What O_DIRECT needs of lengths and places."""
    if not options.direct:
        return
    if options.bs_unaligned:
        yield OptionError("bs_unaligned", f"excludes direct=1, which needs multiples of {SECTOR_BYTES}")
    lengths = sorted({size for sizes in sizes_of(options) for size in sizes})
    for name, values in (("bs", lengths), ("offset", [max(options.offset, 0)]), ("blockalign", options.blockalign)):
        for value in values:
            if value % SECTOR_BYTES:
                yield OptionError(name, f"{spell_size(value)} is not a multiple of {SECTOR_BYTES}, as direct=1 needs")
                break
    if options.size > options.min_bs and options.size % options.min_bs:
        bs = spell_size(options.min_bs)
        yield OptionError("size", f"{spell_size(options.size)} is not a multiple of bs ({bs}), as direct=1 needs")


def sizes_of(options: JobOptions) -> Iterator[tuple[int, ...]]:
    """The lengths that an I/O may be made of, for each direction that the job uses."""
    for is_used, bounds, split in zip(options.uses, options.lengths, options.bssplit, strict=True):
        if is_used:
            yield tuple(size for size, _ in split) if split else bounds


def check_zones(options: JobOptions) -> Iterator[OptionError]:
    if options.zonemode == "none":
        if options.zonesize:
            yield OptionError("zonesize", "needs zonemode=strided")
        for name in ("zonerange", "zoneskip"):
            if is_given(options, name):
                yield Inapplicable(name, "means nothing without zonemode=strided")
    elif not options.zonesize:
        yield OptionError("zonesize", "is missing: zonemode=strided needs the bytes to transfer in a zone")
    elif options.zonesize < options.max_bs:
        found, least = spell_size(options.zonesize), spell_size(options.max_bs)
        yield OptionError("zonesize", f"{found} is less than one I/O (bs is {least})")
    elif 0 < options.zonerange < options.max_bs:
        found, least = spell_size(options.zonerange), spell_size(options.max_bs)
        yield OptionError("zonerange", f"{found} is less than one I/O (bs is {least})")


def check_choices(options: JobOptions) -> Iterator[OptionError]:
    distribution = options.random_distribution[0]
    if options.random_generator == "lfsr" and distribution != "random":
        yield OptionError(
            "random_generator", f"lfsr visits each block once, which {distribution} does not: leave it out"
        )


def check_depth(options: JobOptions) -> Iterator[OptionError]:
    least, most = options.iodepth_batch_complete_min, options.iodepth_batch_complete_max
    if most and least > most:
        yield OptionError("iodepth_batch_complete_min", f"{least} is above iodepth_batch_complete_max ({most})")
    for name in ("iodepth_batch_complete_min", "iodepth_low"):
        if getattr(options, name) > options.iodepth:
            found = getattr(options, name)
            yield Inapplicable(name, f"{found} is above iodepth ({options.iodepth}): so many are never in flight")


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
    if options.rate_process == "poisson" and not any((*options.rate, *options.rate_iops)):
        yield Inapplicable("rate_process", "means nothing without rate or rate_iops")


def check_latency(options: JobOptions) -> Iterator[OptionError]:
    if options.latency_target and not options.latency_window:
        yield OptionError("latency_window", "is missing: latency_target is judged over a time, such as 5s")
    yield from belongs(options, "latency_target", ("latency_window", "latency_percentile", "latency_run"))
    if options.gtod_reduce or options.disable_clat:
        cause = "gtod_reduce" if options.gtod_reduce else "disable_clat"
        for name in ("latency_target", "max_latency"):
            if is_given(options, name):
                yield OptionError(name, f"needs the latencies that {cause} leaves out")


def check_steady_state(options: JobOptions) -> Iterator[OptionError]:
    duration = options.steadystate_duration
    if options.steadystate[0] and not duration:
        yield OptionError("steadystate_duration", "is missing: steadystate is judged over a time, such as 10s")
    yield from belongs(options, "steadystate", ("steadystate_duration", "steadystate_ramp_time"))
    if 0 < duration < 2 * options.steadystate_check_interval:
        found, least = spell_time(duration), spell_time(2 * options.steadystate_check_interval)
        yield OptionError("steadystate_duration", f"{found} has no room for two samples: at least {least}")


def check_writes(options: JobOptions) -> Iterator[OptionError]:
    if options.does_write:
        return
    for name in ("fsync", "fdatasync", "sync_file_range", "end_fsync", "fill_device"):
        if is_given(options, name):
            yield Inapplicable(name, f"is for jobs that write; rw is {options.rw}")


def check_contents(options: JobOptions) -> Iterator[OptionError]:
    if options.zero_buffers:
        for name in ("buffer_pattern", "refill_buffers"):
            if is_given(options, name):
                yield OptionError(name, "excludes zero_buffers: give one of them")
    yield from belongs(options, "buffer_compress_percentage", ("buffer_compress_chunk",))


def check_verify(options: JobOptions) -> Iterator[OptionError]:
    if options.verify == "none":
        yield from belongs(options, "verify", OF_VERIFY)
        return
    room = verify_header_bytes(options)
    if options.min_bs <= room:
        yield OptionError("bs", f"{options.min_bs} has no room for a verify header: at least {room + 1}")
    elif options.common_bs <= room:
        common = f"reads and writes have {options.common_bs} bytes in common, which is what stands under one header"
        yield OptionError("bs", f"{common}: at least {room + 1}")
    if options.fill_device:
        yield OptionError("fill_device", "together with verify is not supported yet")
    if options.verify_only and not options.does_write:
        yield Inapplicable("verify_only", f"is for jobs that write: it stands for their writes; rw is {options.rw}")
    if options.verify_only and options.time_based:
        yield OptionError("verify_only", "excludes time_based: it checks what one run wrote")
    if options.verify_only and options.trim_percentage and options.iodepth > 1:
        reason = "together with trim_percentage is for iodepth=1: deeper, which blocks were trimmed is not known"
        yield OptionError("verify_only", reason)
    if options.verify_only and options.does_read and options.does_write and any((*options.rate, *options.rate_iops)):
        reason = "is not for a job that reads and writes at a rate: when it did which hung on the disk's speed"
        yield OptionError("verify_only", reason)
    yield from check_state(options)
    yield from belongs(options, "verify_backlog", ("verify_backlog_batch",))
    yield from belongs(options, "verify_async", ("verify_async_cpus",))
    if options.bs_unaligned and any(least != most for least, most in options.lengths):
        yield OptionError("bs_unaligned", "excludes verify, whose headers stand at multiples of the least bs")
    if 0 < options.verify_interval <= room:
        reason = f"{options.verify_interval} has no room for a header: at least {room + 1}"
        yield OptionError("verify_interval", reason)
    else:
        yield from check_units(options)
        yield from check_header_place(options, room)
        yield from check_old_sha512(options)
    yield from belongs(options, "verify_pattern", ("verify_pattern_interval",))
    if options.verify in PATTERNED and not options.verify_pattern[0]:
        yield OptionError("verify_pattern", f"is missing: verify={options.verify} compares with it")


def check_old_sha512(options: JobOptions) -> Iterator[OptionError]:
    """Its field is a copy of data that short blocks do not have: fio up to 3.38 refuses its own."""
    if (options.verify, options.verify_header) != ("sha512", "fio-2.2"):
        return
    unit, least = unit_bytes(options), 296
    if unit < least:
        yield OptionError("verify", f"sha512 with verify_header=fio-2.2 takes units of at least {least}, not {unit}")


def unit_bytes(options: JobOptions) -> int:
    """What stands under one header."""
    return min(options.verify_interval or MAX_INT64, options.common_bs)


def verify_header_bytes(options: JobOptions) -> int:
    """Room that the header of a unit and its checksum take."""
    return 0 if options.verify in HEADERLESS else HEADER_BYTES[options.verify_header] + FIELD_SIZES[options.verify]


def check_header_place(options: JobOptions, room: int) -> Iterator[OptionError]:
    """Header and data change places under verify_offset: they may not overlap."""
    if not options.verify_offset:
        return
    if options.verify in HEADERLESS:
        yield Inapplicable("verify_offset", f"moves the header, and verify={options.verify} has none")
        return
    unit = unit_bytes(options)
    if not room <= options.verify_offset <= unit - room:
        reason = f"{options.verify_offset} is not in {room}..{unit - room}: header and checksum take {room} bytes"
        yield OptionError("verify_offset", f"{reason} of the {spell_size(unit)} under them")


def check_state(options: JobOptions) -> Iterator[OptionError]:
    """The file that one job leaves for another that checks."""
    if options.verify_state_load and options.does_write and not options.verify_only:
        reason = f"is for jobs that check what another wrote: with verify_only=1, or reading; rw is {options.rw}"
        yield Inapplicable("verify_state_load", reason)
    elif options.verify_state_load and options.time_based:
        yield OptionError("verify_state_load", "excludes time_based: it checks what one run wrote")
    if options.verify_policy != "none":
        if not options.does_write:
            yield Inapplicable("verify_policy", f"is for jobs that write; rw is {options.rw}")
        elif not options.verify_state_save:
            yield Inapplicable("verify_policy", "means nothing without verify_state_save")


def check_units(options: JobOptions) -> Iterator[OptionError]:
    """Every verified I/O has to hold whole units, of one header each."""
    checked = 1 if options.does_write else 0
    sizes = [size for size, _ in options.bssplit[checked]] or [options.lengths[checked][0]]
    # As in fio, an interval that is longer than an I/O is as long as it.
    unit = min(options.verify_interval or MAX_INT64, *sizes)
    owner = "verify_interval" if options.verify_interval and unit == options.verify_interval else "the least bs"
    for size in sizes:
        if size % unit:
            yield OptionError("bs", f"{spell_size(size)} is not a multiple of {owner} ({spell_size(unit)})")
            return
    if options.blockalign[checked] % unit:
        found = spell_size(options.blockalign[checked])
        yield OptionError("blockalign", f"{found} is not a multiple of {owner} ({spell_size(unit)}), as verify needs")
    if not options.is_random and options.sequence % unit:
        found = spell_size(abs(options.sequence))
        yield OptionError(
            "rw", f"a stride of {found} is not a multiple of {owner} ({spell_size(unit)}), as verify needs"
        )


def check_trims(options: JobOptions) -> Iterator[OptionError]:
    if options.trim_percentage and not options.does_write:
        yield Inapplicable("trim_percentage", f"is for jobs that write: it trims what they wrote; rw is {options.rw}")
    yield from belongs(options, "trim_percentage", OF_TRIMS)


def check_replay(options: JobOptions) -> Iterator[OptionError]:
    yield from belongs(options, "read_iolog", OF_REPLAY)
    align = options.replay_align
    if align & (align - 1):
        yield OptionError("replay_align", f"{spell_size(align)} is not a power of 2")


def check_logs(options: JobOptions) -> Iterator[OptionError]:
    if not any(getattr(options, name) for name in (*LOGS, "write_hist_log")):
        for name in OF_LOGS:
            if is_given(options, name):
                yield Inapplicable(name, "means nothing without a log, such as write_lat_log")
    yield from belongs(options, "write_hist_log", OF_HISTOGRAMS)
    if options.write_hist_log and not options.log_hist_msec:
        yield OptionError("log_hist_msec", "is missing: write_hist_log needs to know how often, such as 1s")


def check_process(options: JobOptions) -> Iterator[OptionError]:
    yield from belongs(options, "cgroup", ("cgroup_weight", "cgroup_nodelete"))
    yield from belongs(options, "cpus_allowed", ("cpus_allowed_policy",))
    yield from belongs(options, "flow", ("flow_sleep",))
    for name in ("iomem_align", "hugepage_size"):
        value = getattr(options, name)
        if value & (value - 1):
            yield OptionError(name, f"{spell_size(value)} is not a power of 2")
    if options.wait_for and options.wait_for == options.name:
        yield OptionError("wait_for", f"{options.name} is the job itself: it would wait for ever")


def check_engine(options: JobOptions) -> Iterator[OptionError]:
    for name, spec in SPECS.items():
        if spec.engines and options.ioengine not in spec.engines and is_given(options, name):
            known = " or ".join(f"ioengine={engine}" for engine in spec.engines)
            yield Inapplicable(name, f"is for {known}; this job has {options.ioengine}")
    if options.hipri and not options.direct:
        yield OptionError("hipri", "needs direct=1: only I/O past the page cache can be polled for")
    if options.uncached and options.direct:
        yield OptionError("uncached", "excludes direct=1, which has no pages to drop")
    yield from belongs(options, "hipri", ("hipri_percentage",))
    yield from belongs(options, "sqthread_poll", ("sqthread_poll_cpu",))
    if options.ioengine == "cpuio" and not options.cpuload:
        yield OptionError("cpuload", "is missing: ioengine=cpuio needs the share of CPU time to burn, such as 80")

"""JobOptions: every option of a job once, under fio's name, with its type, default, limits, unit and help."""

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

KIB: Final = 1024
MIB: Final = 1 << 20
SECOND_US: Final = 1_000_000
MAX_IODEPTH: Final = 4096
MAX_FILES: Final = 1024
MAX_BS: Final = 1 << 30
MAX_INT64: Final = (1 << 63) - 1
MAX_UINT64: Final = (1 << 64) - 1
LONGEST_TIME_US: Final = 1000 * 86_400 * SECOND_US  # fits in 64 bits of nanoseconds a hundred times over

ContinueOnError = Literal["none", "read", "write", "io", "verify", "all"]
Verify = Literal[
    "none", "crc32c", "crc32", "crc64", "crc16", "crc7", "md5", "sha1", "sha256", "sha512",
    "sha3-224", "sha3-256", "sha3-384", "sha3-512", "xxhash", "meta", "pattern", "pattern_hdr", "null",
]  # fmt: skip
VerifyHeader = Literal["fio-3.41", "fio-2.2"]
UsedBy = Literal["loop", "child", "engine", "target", "session", "output"]

PerDirection = tuple[int, int, int]
"""One value each for reads, writes and trims."""
Range = tuple[int, int]
"""Least and most."""
RangePerDirection = tuple[Range, Range, Range]
"""Ranges for reads, writes and trims; (0, 0) is none."""
Split = tuple[tuple[int, int], ...]
"""(block size, share in per cent), the shares making 100."""
SplitPerDirection = tuple[Split, Split, Split]
"""Splits for reads, writes and trims; () is none."""
Distribution = tuple[str, float, float, tuple[tuple[float, float], ...]]
"""Name, its parameter (theta, power or deviation), centre as a share of the region (-1: none), zones.

A zone is (share of the I/Os in per cent, length: per cent of the region for zoned, bytes for zoned_abs).
"""
Numbers = tuple[int, ...]
Decimals = tuple[float, ...]
Names = tuple[str, ...]
VerifyPattern = tuple[bytes, tuple[int, ...]]
"""A pattern of bytes, and where in it 8 of them are replaced by an offset."""
ErrorLists = tuple[Numbers, Numbers, Numbers]
"""errno values for reads, writes and verify."""
Service = tuple[str, float]
"""How files take turns, and after how many I/Os; of a distribution its parameter. 0 is the order's own."""
Deviation = tuple[str, float, bool]
"""steadystate: criterion ("" is none), limit, whether the limit is in per cent."""

TRAVELLING: Final = ("loop", "child", "engine")
"""What `used_by` says of the options that the child is told."""
NO_RANGE: Final[RangePerDirection] = ((0, 0), (0, 0), (0, 0))
NO_SPLIT: Final[SplitPerDirection] = ((), (), ())
UNIFORM: Final[Distribution] = ("random", 0.0, -1.0, ())


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
    text: str,
    unit: str = "",
    ge: int = 0,
    le: int | None = None,
    plain: int = 1,
    used_by: UsedBy = "loop",
    engines: Names = (),
) -> Meta:
    """Describe an option: help, unit in which it is held, limits, worth of a bare number in that unit.

    `used_by` says where it travels: to the native loop (then `job_options` has a field of its name), to the child's
    set-up, to the I/O engine (then `engines` names those that know it); what the guard is asked (target), how
    `iovigil run` arranges jobs (session) and shows results (output) stays with the agent. The limits stand in `extra`
    because msgspec's own take neither a tuple nor 64 bits; `spelling` keeps them.
    """
    if le is None:
        le = LONGEST_TIME_US if unit == "us" else MAX_INT64
    return Meta(
        description=text,
        extra={"unit": unit, "plain": plain, "used_by": used_by, "engines": engines, "ge": ge, "le": le},
    )


class JobOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one job does to its target.

    Sizes are bytes and times microseconds; `spelling` takes them as fio spells them. A negative size, io_size or
    offset is a share of the target in per cent.
    """

    # What and where.
    name: Annotated[str, option("Name of the job, for people.", used_by="session")] = "job"
    description: Annotated[str, option("Text shown with the results.", used_by="output")] = ""
    ioengine: Annotated[str, option("How I/O reaches the kernel: a module of engines/io.", used_by="child")] = "psync"
    rw: Annotated[
        str, option("Direction, sequential or random; `:N` for N I/Os per new offset, or a stride.", used_by="child")
    ] = "read"
    filename: Annotated[Names, option("Devices and files to work on, separated by colons.", used_by="target")] = ()
    directory: Annotated[str, option("Where files without a name of their own are made.", used_by="target")] = ""
    filename_format: Annotated[
        str, option("Names of those files: $jobname, $jobnum and $filenum are replaced.", used_by="target")
    ] = "$jobname.$jobnum.$filenum"
    nrfiles: Annotated[int, option("Files that share the job's size.", ge=1, le=MAX_FILES, used_by="target")] = 1
    filesize: Annotated[int, option("Length of each file; 0 shares size among them.", "bytes", used_by="target")] = 0
    file_service_type: Annotated[Service, option("How files take turns, and after how many I/Os.", used_by="child")] = (
        "roundrobin",
        0.0,
    )
    overwrite: Annotated[
        bool, option("Allow writes into an existing file that iovigil did not create.", used_by="target")
    ] = False
    allow_file_create: Annotated[bool, option("Create files that are not there.", used_by="target")] = True
    create_only: Annotated[bool, option("Lay the files out, do no I/O.", used_by="session")] = False
    create_serialize: Annotated[bool, option("Lay out one job's files at a time.", used_by="session")] = True
    unlink: Annotated[bool, option("Remove the files that the job created when it is over.", used_by="session")] = False
    pre_read: Annotated[bool, option("Read the target once before the job starts.", used_by="child")] = False
    size: Annotated[
        int, option("Length of the region the job works on; 0 is all of the target, 20% a share of it.", "bytes", -100)
    ] = 0
    offset: Annotated[int, option("Where that region starts in the target.", "bytes", -100)] = 0
    offset_increment: Annotated[
        int, option("Added to offset for each clone of the job (numjobs).", "bytes", -100, used_by="session")
    ] = 0
    offset_align: Annotated[int, option("Round an offset given in per cent down to this.", unit="bytes")] = 0
    io_size: Annotated[int, option("Bytes to transfer in one loop; 0 is the region once.", "bytes", -100)] = 0
    number_ios: Annotated[int, option("I/Os after which the job ends; 0 is no bound.")] = 0
    fill_device: Annotated[bool, option("Write until the target is full; ENOSPC is then the end, not an error.")] = (
        False
    )

    # Length and direction of an I/O.
    bs: Annotated[PerDirection, option("Length of one I/O.", "bytes", 1, MAX_BS, used_by="child")] = (4 * KIB,) * 3
    bsrange: Annotated[
        RangePerDirection, option("Lengths drawn between two bounds.", "bytes", 1, MAX_BS, used_by="child")
    ] = NO_RANGE
    bssplit: Annotated[
        SplitPerDirection, option("Lengths and their shares: 4k/60:64k/40.", "bytes", 1, MAX_BS, used_by="child")
    ] = NO_SPLIT
    bs_unaligned: Annotated[bool, option("Let lengths of a range be no multiple of its least.")] = False
    bs_is_seq_rand: Annotated[
        bool, option("bs has one value for sequential and one for random I/O.", used_by="child")
    ] = False
    blockalign: Annotated[
        PerDirection, option("Random offsets are multiples of this; 0 is the least bs.", "bytes", 0, MAX_BS)
    ] = (0, 0, 0)
    rwmixread: Annotated[int, option("Share of reads in a mixed job.", unit="%", le=100)] = 50
    iodepth: Annotated[int, option("I/Os kept in flight by an asynchronous engine.", ge=1, le=MAX_IODEPTH)] = 1
    iodepth_batch_submit: Annotated[
        int, option("I/Os submitted at once; 0 is as many as there are.", le=MAX_IODEPTH)
    ] = 0
    iodepth_batch_complete_min: Annotated[int, option("Completions waited for; 0 only looks.", le=MAX_IODEPTH)] = 1
    iodepth_batch_complete_max: Annotated[
        int, option("Completions taken at once; 0 leaves it to the engine.", le=MAX_IODEPTH)
    ] = 0
    iodepth_low: Annotated[
        int, option("A full queue drains to this before it is filled again; 0 keeps it full.", le=MAX_IODEPTH)
    ] = 0
    serialize_overlap: Annotated[bool, option("Hold an I/O back while one in flight touches the same bytes.")] = False

    # Which offset comes next.
    norandommap: Annotated[bool, option("Draw random offsets freely instead of visiting each block once.")] = False
    softrandommap: Annotated[bool, option("Go on without a map where there is no memory for one.")] = False
    random_distribution: Annotated[
        Distribution,
        option("random, zipf:theta, pareto:power, normal:deviation, zoned:… or zoned_abs:….", used_by="child"),
    ] = UNIFORM
    random_generator: Annotated[
        Literal["auto", "tausworthe", "tausworthe64", "lfsr"],
        option("What random offsets are drawn with; auto is our own permutation.", used_by="child"),
    ] = "auto"
    percentage_random: Annotated[PerDirection, option("Share of a random job's I/Os that are random.", "%", 0, 100)] = (
        100,
        100,
        100,
    )
    rw_sequencer: Annotated[
        Literal["sequential", "identical"], option("What rw=rand…:N does between new offsets.", used_by="child")
    ] = "sequential"
    randseed: Annotated[int, option("Seed of all random choices.", le=MAX_UINT64)] = 0x89
    randrepeat: Annotated[bool, option("The same choices in every run; 0 adds a seed drawn at start.")] = True
    allrandrepeat: Annotated[bool, option("As randrepeat, and seeds of contents too.")] = False
    zonemode: Annotated[Literal["none", "strided"], option("Work in zones of the region.", used_by="child")] = "none"
    zonesize: Annotated[int, option("Bytes to transfer in a zone before going to the next.", "bytes")] = 0
    zonerange: Annotated[int, option("Length of a zone; 0 is zonesize.", "bytes")] = 0
    zoneskip: Annotated[int, option("Bytes left out between zones.", "bytes")] = 0

    # How the target is opened, and synced.
    direct: Annotated[bool, option("Bypass the page cache (O_DIRECT).")] = False
    sync: Annotated[
        Literal["none", "sync", "dsync"], option("Open with O_SYNC or O_DSYNC: every write waits.", used_by="target")
    ] = "none"
    invalidate: Annotated[bool, option("Drop the target's cached pages before the job starts.")] = True
    fadvise_hint: Annotated[
        Literal["auto", "none", "random", "sequential"],
        option("What the kernel is told of the access pattern; auto goes by rw.", used_by="child"),
    ] = "auto"
    fsync: Annotated[int, option("fsync after this many writes; 0 is never.")] = 0
    fdatasync: Annotated[int, option("fdatasync after this many writes; 0 is never.")] = 0
    sync_file_range: Annotated[
        tuple[Names, int],
        option("flags:N: sync_file_range after N writes, with wait_before, write, wait_after.", used_by="child"),
    ] = ((), 0)
    end_fsync: Annotated[bool, option("fsync when the write phase ends.")] = False
    fsync_on_close: Annotated[bool, option("fsync when the target is closed.")] = False

    # How long.
    time_based: Annotated[bool, option("Go round until runtime is over, however small the region.")] = False
    runtime: Annotated[int, option("End after this time; 0 is no bound.", "us", plain=SECOND_US)] = 0
    ramp_time: Annotated[int, option("Run this long before measuring begins.", "us", plain=SECOND_US)] = 0
    loops: Annotated[int, option("Times to repeat the job.", ge=1)] = 1

    # How fast.
    rate: Annotated[PerDirection, option("Upper bound of throughput; 0 is no bound.", unit="bytes/s")] = (0, 0, 0)
    rate_iops: Annotated[PerDirection, option("Upper bound of I/Os per second; 0 is no bound.")] = (0, 0, 0)
    rate_process: Annotated[
        Literal["linear", "poisson"],
        option("Even gaps between I/Os, or random ones as of many users.", used_by="child"),
    ] = "linear"
    rate_ignore_thinktime: Annotated[bool, option("Do not make up for time spent thinking.")] = False
    rate_min: Annotated[PerDirection, option("Fail when throughput stays below; 0 is no bound.", unit="bytes/s")] = (
        0,
        0,
        0,
    )
    rate_iops_min: Annotated[PerDirection, option("Fail when I/Os per second stay below; 0 is no bound.")] = (0, 0, 0)
    ratecycle: Annotated[
        int, option("Window over which the minimum rates are judged.", unit="us", ge=1000, plain=1000)
    ] = SECOND_US
    thinktime: Annotated[int, option("Pause after every thinktime_blocks I/Os.", unit="us")] = 0
    thinktime_spin: Annotated[int, option("Part of thinktime spent on the CPU.", unit="us")] = 0
    thinktime_blocks: Annotated[int, option("I/Os between two pauses.", ge=1)] = 1
    thinktime_blocks_type: Annotated[
        Literal["complete", "issue"], option("What thinktime_blocks counts.", used_by="child")
    ] = "complete"
    thinktime_iotime: Annotated[
        int, option("Pause after so long of I/O; 0 goes by thinktime_blocks.", "us", plain=SECOND_US)
    ] = 0
    flow: Annotated[
        int, option("Weight against the other jobs of the flow; 0 is none.", ge=0, le=1000, used_by="child")
    ] = 0
    flow_id: Annotated[int, option("Which flow.", used_by="session")] = 0
    flow_sleep: Annotated[int, option("Sleep this long while the others are behind.", unit="us")] = 0
    latency_target: Annotated[
        int, option("Find the greatest iodepth that keeps this latency; 0 is off.", unit="us")
    ] = 0
    latency_window: Annotated[int, option("Time over which that is judged.", unit="us")] = 0
    latency_percentile: Annotated[float, option("Share of I/Os that must keep it.", unit="%", ge=0, le=100)] = 100.0
    latency_run: Annotated[bool, option("Go on adjusting after an answer is found.")] = False
    max_latency: Annotated[PerDirection, option("Fail the job when an I/O takes longer; 0 is no bound.", unit="us")] = (
        0,
        0,
        0,
    )

    # Contents.
    scramble_buffers: Annotated[bool, option("Change 16 bytes of every sector written, against deduplication.")] = True
    refill_buffers: Annotated[bool, option("New random contents for every write.")] = False
    zero_buffers: Annotated[bool, option("Write zeroes.")] = False
    buffer_pattern: Annotated[
        bytes, option('Write this over and over: "text", 0xhex or a number.', used_by="child")
    ] = b""
    buffer_compress_percentage: Annotated[int, option("How far contents can be compressed.", "%", le=100)] = 0
    buffer_compress_chunk: Annotated[int, option("Stretch over which that holds; 0 is 512.", "bytes", le=MAX_BS)] = 0
    dedupe_percentage: Annotated[int, option("Share of blocks that repeat an earlier one.", "%", le=100)] = 0

    # Trust.
    verify: Annotated[Verify, option("Checksum that every block carries.", used_by="child")] = "none"
    verify_header: Annotated[
        VerifyHeader, option("Header layout to write; all known ones are read.", used_by="child")
    ] = "fio-3.41"
    verify_interval: Annotated[int, option("Bytes under one header; 0 is the least bs.", "bytes", 0, MAX_BS)] = 0
    verify_offset: Annotated[
        int, option("Where in the unit the header stands.", "bytes", 0, MAX_BS, used_by="child")
    ] = 0
    verify_pattern: Annotated[
        VerifyPattern, option("Contents under verify: as buffer_pattern, and %o is the offset.", used_by="child")
    ] = (b"", ())
    verify_pattern_interval: Annotated[
        int, option("Begin verify_pattern anew so often; 0 is once a block.", "bytes", 0, MAX_BS, used_by="child")
    ] = 0
    do_verify: Annotated[bool, option("Read back and check what the job wrote.")] = True
    verify_only: Annotated[bool, option("Write nothing: check what an earlier run of the same job wrote.")] = False
    experimental_verify: Annotated[bool, option("As in fio; the write log has made it the same.")] = False
    verify_backlog: Annotated[int, option("Check after so many writes; 0 is when all are done.")] = 0
    verify_backlog_batch: Annotated[int, option("Blocks to check then; 0 is verify_backlog.")] = 0
    verify_async: Annotated[int, option("Threads that check blocks beside the loop.", le=64)] = 0
    verify_async_cpus: Annotated[Numbers, option("CPUs for those threads; none is any.", used_by="child")] = ()
    verify_fatal: Annotated[bool, option("End the job at the first mismatch.")] = False
    verify_dump: Annotated[bool, option("Write a block that failed, and what it should be, to files.")] = False
    verify_state_save: Annotated[
        bool, option("Tell in a file what was written, for a job that checks it later.", used_by="child")
    ] = True
    verify_state_load: Annotated[bool, option("Check only what such a file says was written.", used_by="child")] = False
    verify_policy: Annotated[
        Literal["none", "fsynced"],
        option("fsynced: what was not followed by an fsync is not told of in that file.", used_by="child"),
    ] = "none"
    trim_percentage: Annotated[int, option("Share of written blocks that are trimmed.", "%", le=100)] = 0
    trim_verify_zero: Annotated[bool, option("Check that trimmed blocks read as zeroes.")] = True
    trim_backlog: Annotated[int, option("Trim after so many writes.")] = 0
    trim_backlog_batch: Annotated[int, option("Blocks to trim then; 0 is trim_backlog.")] = 0
    continue_on_error: Annotated[ContinueOnError, option("Errors to count and pass over.", used_by="child")] = "none"
    ignore_error: Annotated[
        ErrorLists, option("errno values passed over, for reads, writes and verify: EIO:ENOSPC,EIO.", used_by="child")
    ] = ((), (), ())

    # Replay and record.
    read_iolog: Annotated[str, option("Replay the I/O of this log.", used_by="child")] = ""
    write_iolog: Annotated[str, option("Record the I/O to this log.", used_by="child")] = ""
    replay_no_stall: Annotated[bool, option("Replay as fast as may be, not as timed.", used_by="child")] = False
    replay_time_scale: Annotated[
        int, option("Stretch the times of a replay.", "%", ge=1, le=10_000, used_by="child")
    ] = 100
    replay_scale: Annotated[int, option("Divide the offsets of a replay by this.", ge=1, used_by="child")] = 1
    replay_align: Annotated[
        int, option("Round the offsets of a replay down to this; 0 leaves them.", "bytes", used_by="child")
    ] = 0
    replay_redirect: Annotated[str, option("Replay everything on this target.", used_by="target")] = ""
    replay_skip: Annotated[Names, option("Directions of a replay to leave out.", used_by="child")] = ()

    # Logs.
    write_bw_log: Annotated[str, option("Log throughput to NAME_bw.N.log.", used_by="child")] = ""
    write_iops_log: Annotated[str, option("Log I/O rates to NAME_iops.N.log.", used_by="child")] = ""
    write_lat_log: Annotated[str, option("Log latencies to NAME_lat, _clat and _slat.N.log.", used_by="child")] = ""
    write_hist_log: Annotated[str, option("Log histograms to NAME_clat_hist.N.log.", used_by="child")] = ""
    per_job_logs: Annotated[bool, option("A log for each job; 0 gives all the same name.", used_by="child")] = True
    log_avg_msec: Annotated[
        int, option("Log averages over this time; 0 logs every I/O.", "us", plain=1000, used_by="child")
    ] = 0
    log_window_value: Annotated[
        Literal["avg", "max", "both"], option("What of a window is logged.", used_by="child")
    ] = "avg"
    log_hist_msec: Annotated[int, option("Log histograms this often.", "us", plain=1000, used_by="child")] = 0
    log_hist_coarseness: Annotated[int, option("Merge 2^N buckets.", le=6, used_by="child")] = 0
    log_offset: Annotated[bool, option("Log offsets too.", used_by="child")] = False
    log_issue_time: Annotated[bool, option("Log the time of issue too.", used_by="child")] = False
    log_unix_epoch: Annotated[bool, option("Log wall-clock times.", used_by="child")] = False
    bwavgtime: Annotated[int, option("Window of throughput samples.", "us", ge=1000, plain=1000)] = 500_000
    iopsavgtime: Annotated[int, option("Window of I/O rate samples.", "us", ge=1000, plain=1000)] = 500_000

    # What is measured, and shown.
    disable_lat: Annotated[bool, option("Do not measure total latency.")] = False
    disable_clat: Annotated[bool, option("Do not measure completion latency.")] = False
    disable_slat: Annotated[bool, option("Do not measure submission latency.")] = False
    disable_bw_measurement: Annotated[bool, option("Take no samples of throughput.")] = False
    gtod_reduce: Annotated[bool, option("All of disable_lat, _clat, _slat and _bw_measurement.")] = False
    clat_percentiles: Annotated[bool, option("Show percentiles of clat.", used_by="output")] = True
    lat_percentiles: Annotated[bool, option("Show percentiles of lat.", used_by="output")] = False
    slat_percentiles: Annotated[bool, option("Show percentiles of slat.", used_by="output")] = False
    percentile_list: Annotated[Decimals, option("Which percentiles.", unit="%", le=100, used_by="output")] = (
        1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99,
    )  # fmt: skip
    unified_rw_reporting: Annotated[
        Literal["none", "mixed", "both"], option("Show directions as one.", used_by="output")
    ] = "none"
    group_reporting: Annotated[bool, option("One result for each group of jobs.", used_by="output")] = False
    disk_util: Annotated[bool, option("Show how busy the disks were.", used_by="output")] = True
    stats: Annotated[bool, option("Show this job's results.", used_by="output")] = True

    # Jobs beside each other.
    numjobs: Annotated[int, option("Clones of the job.", ge=1, le=4096, used_by="session")] = 1
    start_delay: Annotated[
        Range,
        option("Start the job this late, or at random between two times.", "us", plain=SECOND_US, used_by="session"),
    ] = (0, 0)
    stonewall: Annotated[bool, option("Start when the jobs before have ended.", used_by="session")] = False
    wait_for: Annotated[str, option("Start when the job of this name has ended.", used_by="session")] = ""
    new_group: Annotated[bool, option("Begin another group of results.", used_by="session")] = False
    exitall: Annotated[bool, option("End all jobs when this one ends.", used_by="session")] = False
    exitall_on_error: Annotated[bool, option("End all jobs when this one fails.", used_by="session")] = False
    exit_what: Annotated[
        Literal["group", "stonewall", "all"], option("Which jobs exitall ends.", used_by="session")
    ] = "group"
    steadystate: Annotated[
        Deviation, option("End when iops, bw, lat or a slope of them is steady: iops:2%.", used_by="session")
    ] = ("", 0.0, False)
    steadystate_duration: Annotated[int, option("Window of steadystate.", "us", plain=SECOND_US, used_by="session")] = 0
    steadystate_ramp_time: Annotated[
        int, option("Time before steadystate looks.", "us", plain=SECOND_US, used_by="session")
    ] = 0
    steadystate_check_interval: Annotated[
        int, option("Time between its samples.", "us", ge=1000, plain=SECOND_US, used_by="session")
    ] = SECOND_US

    # The process.
    exec_prerun: Annotated[str, option("Shell command to run before the job.", used_by="session")] = ""
    exec_postrun: Annotated[str, option("Shell command to run after the job.", used_by="session")] = ""
    nice: Annotated[int, option("Niceness of the child.", ge=-20, le=19, used_by="child")] = 0
    prioclass: Annotated[int, option("I/O priority class; 0 is none.", le=3, used_by="child")] = 0
    prio: Annotated[int, option("I/O priority in the class.", le=7, used_by="child")] = 0
    cpus_allowed: Annotated[Numbers, option("CPUs the child may use: 0-3,7; none is any.", used_by="child")] = ()
    cpus_allowed_policy: Annotated[
        Literal["shared", "split"], option("All clones on all of those, or one each.", used_by="child")
    ] = "shared"
    numa_cpu_nodes: Annotated[Numbers, option("Run on the CPUs of these nodes.", used_by="child")] = ()
    numa_mem_policy: Annotated[
        tuple[str, Numbers], option("default, local, prefer:N, bind:N,M or interleave:N,M.", used_by="child")
    ] = ("", ())
    mem: Annotated[
        Literal["malloc", "mmap", "mmapshared", "mmaphuge", "shm", "shmhuge"],
        option("What buffers are made of.", used_by="child"),
    ] = "mmap"
    iomem_align: Annotated[int, option("Alignment of buffers; 0 is a page.", "bytes", le=2 * MIB, used_by="child")] = 0
    hugepage_size: Annotated[int, option("Length of a huge page; 0 is the system's.", "bytes", used_by="child")] = 0
    lockmem: Annotated[int, option("Lock this much memory while the job runs.", "bytes", used_by="child")] = 0
    ioscheduler: Annotated[str, option("Switch the device to this I/O scheduler.", used_by="child")] = ""
    cgroup: Annotated[str, option("cgroup (v2) below our own to put the child in.", used_by="child")] = ""
    cgroup_weight: Annotated[int, option("io.weight of that cgroup; 0 leaves it.", le=10_000, used_by="child")] = 0
    cgroup_nodelete: Annotated[bool, option("Leave that cgroup when the job is over.", used_by="child")] = False
    uid: Annotated[int, option("Run the job as this user; -1 stays.", ge=-1, le=(1 << 32) - 2, used_by="child")] = -1
    gid: Annotated[int, option("Run the job as this group; -1 stays.", ge=-1, le=(1 << 32) - 2, used_by="child")] = -1

    # Options of I/O engines.
    hipri: Annotated[
        bool, option("Poll for completions (IOPOLL, RWF_HIPRI).", used_by="engine", engines=("io_uring", "pvsync2"))
    ] = False
    hipri_percentage: Annotated[
        int, option("Share of I/Os that poll.", "%", le=100, used_by="engine", engines=("pvsync2",))
    ] = 100
    fixedbufs: Annotated[bool, option("Registered buffers.", used_by="engine", engines=("io_uring",))] = True
    registerfiles: Annotated[bool, option("Registered files.", used_by="engine", engines=("io_uring",))] = True
    sqthread_poll: Annotated[bool, option("A kernel thread submits.", used_by="engine", engines=("io_uring",))] = False
    sqthread_poll_cpu: Annotated[
        int, option("CPU of that thread; -1 is any.", ge=-1, le=4095, used_by="engine", engines=("io_uring",))
    ] = -1
    nonvectored: Annotated[
        bool, option("READ and WRITE instead of READV and WRITEV.", used_by="engine", engines=("io_uring",))
    ] = True
    force_async: Annotated[
        int, option("Hand every Nth I/O to a worker thread; 0 is none.", used_by="engine", engines=("io_uring",))
    ] = 0
    nowait: Annotated[
        bool, option("Fail rather than wait (RWF_NOWAIT).", used_by="engine", engines=("io_uring", "libaio", "pvsync2"))
    ] = False
    uncached: Annotated[
        bool,
        option("Drop pages once they are done (RWF_DONTCACHE).", used_by="engine", engines=("io_uring", "pvsync2")),
    ] = False
    userspace_reap: Annotated[
        bool, option("Take completions without a system call.", used_by="engine", engines=("libaio",))
    ] = False
    hostname: Annotated[str, option("Host to connect to, or to listen on.", used_by="engine", engines=("net",))] = ""
    port: Annotated[int, option("TCP port.", le=65535, used_by="engine", engines=("net",))] = 0
    listen: Annotated[bool, option("Wait for the connection.", used_by="engine", engines=("net",))] = False
    nodelay: Annotated[bool, option("TCP_NODELAY.", used_by="engine", engines=("net",))] = False
    cpuload: Annotated[int, option("Share of CPU time to burn.", "%", le=100, used_by="engine", engines=("cpuio",))] = 0
    cpuchunks: Annotated[int, option("Time to burn at once.", "us", ge=1, used_by="engine", engines=("cpuio",))] = (
        50_000
    )
    exit_on_io_done: Annotated[bool, option("End when the other jobs have.", used_by="session", engines=("cpuio",))] = (
        False
    )
    readfua: Annotated[bool, option("Force unit access for reads.", used_by="engine", engines=("sg",))] = False
    writefua: Annotated[bool, option("Force unit access for writes.", used_by="engine", engines=("sg",))] = False

    @property
    def direction(self) -> str:
        """rw without its number: read, randwrite, randrw, trimwrite."""
        return self.rw.partition(":")[0]

    @property
    def sequence(self) -> int:
        """The number of rw: I/Os per new offset of a random job, stride in bytes of a sequential one; 0 is none."""
        return int(self.rw.partition(":")[2] or 0)

    @property
    def does_read(self) -> bool:
        return self.direction in ("read", "randread", "rw", "randrw")

    @property
    def does_write(self) -> bool:
        return self.direction in ("write", "randwrite", "rw", "randrw", "trimwrite", "randtrimwrite")

    @property
    def does_trim(self) -> bool:
        return self.direction in ("trim", "randtrim", "trimwrite", "randtrimwrite") or self.trim_percentage > 0

    @property
    def does_change(self) -> bool:
        """Whether what is on the target may change."""
        return self.does_write or self.does_trim

    @property
    def is_random(self) -> bool:
        return self.rw.startswith("rand")

    @property
    def written_lengths(self) -> RangePerDirection:
        """The lengths as they are written down, for reads, writes and trims."""
        reads, writes, trims = (
            (min(size for size, _ in split), max(size for size, _ in split))
            if split
            else bounds
            if any(bounds)
            else (bs, bs)
            for bs, bounds, split in zip(self.bs, self.bsrange, self.bssplit, strict=True)
        )
        return reads, writes, trims

    @property
    def lengths(self) -> RangePerDirection:
        """The least and the greatest length of an I/O, for reads, writes and trims."""
        reads, writes, trims = self.written_lengths
        if not self.bs_is_seq_rand:
            return reads, writes, trims
        # Those of reads for what is sequential, those of writes for what is random.
        both = (min(reads[0], writes[0]), max(reads[1], writes[1])) if self.is_random else reads
        return both, both, both

    @property
    def common_bs(self) -> int:
        """What the least lengths of all that the job uses have in common: no unit under a header is longer."""
        is_used = (True, self.is_random, False) if self.bs_is_seq_rand else self.uses
        return gcd(*(least for used, (least, _) in zip(is_used, self.written_lengths, strict=True) if used))

    @property
    def min_bs(self) -> int:
        """The shortest I/O the job may make."""
        return min(least for used, (least, _) in zip(self.uses, self.lengths, strict=True) if used)

    @property
    def max_bs(self) -> int:
        """The longest I/O the job may make."""
        return max(most for used, (_, most) in zip(self.uses, self.lengths, strict=True) if used)

    @property
    def uses(self) -> tuple[bool, bool, bool]:
        """Which of reads, writes and trims the job makes of itself."""
        return self.does_read, self.does_write, self.direction in ("trim", "randtrim", "trimwrite", "randtrimwrite")

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
        travelling = {name: getattr(self, name) for name, spec in SPECS.items() if spec.used_by in TRAVELLING}
        reads, writes, trims = self.uses
        return {
            **travelling,
            "direction": self.direction,
            "sequence": self.sequence,
            "lengths": self.lengths,
            "common_bs": self.common_bs,
            "does_read": reads,
            "does_write": writes,
            "does_trim": trims,
        }


class OptionSpec(msgspec.Struct, frozen=True):
    """What `option` said of a field, and what its annotation says."""

    name: str
    kind: Any
    text: str
    unit: str
    plain: int
    used_by: UsedBy
    engines: Names
    ge: int
    le: int
    default: Any

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()


def read_specs() -> dict[str, OptionSpec]:
    """Derive the table of options from JobOptions."""
    hints = get_type_hints(JobOptions, include_extras=True)
    specs = {}
    for field in msgspec.structs.fields(JobOptions):
        kind, meta = get_args(hints[field.name])
        specs[field.name] = OptionSpec(
            name=field.name, kind=kind, text=meta.description, default=field.default, **meta.extra
        )
    return specs


SPECS: Final[Mapping[str, OptionSpec]] = read_specs()

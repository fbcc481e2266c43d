"""Whole jobs of options drawn at random, on a disk that sees every I/O, against what those options promise."""

import contextlib
import errno
import os
import shutil
import tempfile
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from disk_in_memory import Disk, Io
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from iovigil.engines.coherence import Inapplicable, check
from iovigil.engines.job import Job
from iovigil.engines.options import SPECS, TRAVELLING, JobOptions, JobOptionsError, OptionSpec
from iovigil.engines.setup_error import SetupError
from iovigil.engines.spelling import read_options
from iovigil.engines.stats import Counter, Latency, Mismatch, StatsPage

KIB = 1024
READ, WRITE, TRIM, SYNC = 0, 1, 2, 3
DEADLINE_S = 10.0
UNIT = 4  # bytes; every length and offset of a verified job is a multiple

# For a long run.
IS_THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def examples(count: int) -> settings:
    return settings(deadline=None, max_examples=20 * count if IS_THOROUGH else count)


class Ran:
    """A job that is over, and the disk it ran on."""

    def __init__(self, options: JobOptions, disk: Disk | None, page: StatsPage) -> None:
        self.options = options
        self.disk = disk
        self.page = page

    def ios(self, ddir: int) -> int:
        return self.page.counter(Counter.IOS, ddir)

    def bytes(self, ddir: int) -> int:
        return self.page.counter(Counter.BYTES, ddir)

    @property
    def mismatches(self) -> int:
        return sum(self.page.mismatch(kind) for kind in Mismatch)


def run(
    options: JobOptions,
    disk: Disk | None = None,
    files: Sequence[tuple[int, int]] = (),
    names: Sequence[str] = (),
    error: int = 0,
) -> Ran:
    """Run a job to its end, which must come; `error` is what it ends with, -1 for any. Raises SetupError.

    Without a disk the engine is the one that the options name, on `files`.
    """
    page = StatsPage.create()
    if disk is None:
        job = Job(options.native(), page, files, 1, None, names)
    else:
        job = Job(options.native(), page, disk.files, 1, None, names, disk.location)
    is_late = threading.Event()

    def stop() -> None:
        is_late.set()
        page.request_stop()

    watch = threading.Timer(DEADLINE_S, stop)
    watch.start()
    try:
        job.run()
    finally:
        watch.cancel()
    assert not is_late.is_set(), "the job goes on and on"
    assert page.is_complete
    if error >= 0:
        assert (page.error, page.text if not error else "") == (error, ""), page.text
    if disk is not None:
        assert job.notes == []
        assert disk.faults == []
        assert disk.flying == {}
        assert disk.rest == {}
    return Ran(options, disk, page)


def coherent(**changes: Any) -> JobOptions:
    """Options as a job gets them; what contradicts itself is drawn again."""
    options = JobOptions(**changes)
    assume(all(isinstance(error, Inapplicable) for error in check(options)))
    return options


def run_or_refuse(options: JobOptions, disk: Disk | None = None, **more: Any) -> Ran:
    try:
        return run(options, disk, **more)
    except SetupError as reason:
        is_a_line(reason)
        event("refused")
        assume(False)
        raise


def is_a_line(text: object) -> None:
    assert len(str(text).splitlines()) <= 1


DIRECTIONS = ["read", "write", "trim", "rw", "trimwrite"]
SIZES = st.integers(8 * KIB, 80 * KIB)
LENGTHS = st.one_of(
    st.sampled_from([512, 3 * KIB, 4 * KIB]).map(lambda bs: {"bs": (bs,) * 3}),
    st.tuples(*[st.sampled_from([512, KIB, 1536, 4 * KIB])] * 3).map(lambda bs: {"bs": bs}),
    st.tuples(st.integers(1, 8), st.integers(0, 40)).map(
        lambda drawn: {"bsrange": ((512 * drawn[0], 512 * drawn[0] + 100 * drawn[1]),) * 3}
    ),
    st.sampled_from([((KIB, 30), (4 * KIB, 70)), ((512, 1), (5 * KIB, 99)), ((3 * KIB, 50), (8 * KIB, 50))]).map(
        lambda split: {"bssplit": (split,) * 3}
    ),
    st.just({"bs": (KIB, 4 * KIB, KIB), "bs_is_seq_rand": True}),
)
DISTRIBUTIONS = st.sampled_from(
    [("random", 0.0, -1.0, ())] * 4
    + [
        ("zipf", 1.2, -1.0, ()),
        ("pareto", 0.2, 0.9, ()),
        ("normal", 20.0, -1.0, ()),
        ("zoned", 0.0, -1.0, ((60.0, 10.0), (30.0, 20.0), (10.0, 70.0))),
        ("zoned_abs", 0.0, -1.0, ((60.0, 4096.0), (40.0, 1e6))),
    ]
)
ZONES = st.sampled_from(
    [{}] * 5
    + [
        {"zonemode": "strided", "zonesize": 8 * KIB, "zoneskip": 4 * KIB},
        {"zonemode": "strided", "zonesize": 16 * KIB, "zonerange": 8 * KIB},
        {"zonemode": "strided", "zonesize": 9000, "zonerange": 8 * KIB, "zoneskip": 512},
    ]
)
DEPTHS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries(
        {"iodepth": st.sampled_from([2, 3, 8, 33])},
        optional={
            "iodepth_batch_submit": st.integers(0, 40),
            "iodepth_batch_complete_min": st.integers(0, 40),
            "iodepth_batch_complete_max": st.integers(0, 40),
            "iodepth_low": st.integers(0, 40),
            "serialize_overlap": st.booleans(),
        },
    ),
)
SYNCS = st.fixed_dictionaries(
    {},
    optional={
        "fsync": st.integers(1, 9),
        "fdatasync": st.integers(1, 9),
        "sync_file_range": st.integers(1, 9).map(lambda count: (("write",), count)),
    },
)
PAUSES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "thinktime": st.sampled_from([1, 20]),
            "thinktime_blocks": st.sampled_from([1, 3, 50]),
            "thinktime_iotime": st.sampled_from([0, 1, 1000]),
            "thinktime_blocks_type": st.sampled_from(["complete", "issue"]),
            "rate_iops": st.sampled_from([(10**6, 0, 0), (10**5, 10**6, 10**5)]),
            "rate_process": st.sampled_from(["linear", "poisson"]),
            "rate_ignore_thinktime": st.booleans(),
        },
    ),
)
MEASURES = st.fixed_dictionaries(
    {},
    optional={
        name: st.booleans()
        for name in ("disable_lat", "disable_clat", "disable_slat", "disable_bw_measurement", "gtod_reduce")
    },
)


@st.composite
def patterns(draw: st.DrawFn) -> dict[str, Any]:
    """Which I/O there is, without when it ends."""
    direction = draw(st.sampled_from(DIRECTIONS))
    is_random = draw(st.booleans())
    number = draw(st.sampled_from([0, 0, 0, 2, 7]) if is_random else st.sampled_from([0, 0, 0, 3072, -8192, 100_000]))
    rw = f"rand{direction}" if is_random else direction
    options: dict[str, Any] = {
        "rw": f"{rw}:{number}" if number else rw,
        "rwmixread": draw(st.sampled_from([0, 30, 50, 100])),
        "randseed": draw(st.integers(0, (1 << 64) - 1)),
        **draw(LENGTHS),
        **draw(ZONES),
    }
    if is_random:
        options |= {
            "norandommap": draw(st.booleans()),
            "random_generator": draw(st.sampled_from(["auto", "tausworthe", "tausworthe64", "lfsr"])),
            "random_distribution": draw(DISTRIBUTIONS),
            "percentage_random": (draw(st.sampled_from([0, 50, 100, 100])),) * 3,
            "rw_sequencer": draw(st.sampled_from(["sequential", "identical"])),
            "blockalign": (draw(st.sampled_from([0, 0, 0, 512, 2 * KIB])),) * 3,
            "bs_unaligned": draw(st.booleans()),
        }
    return options


@st.composite
def regions(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    """Sizes of files, and what of them is worked on, how often."""
    count = draw(st.sampled_from([1, 1, 1, 2, 4]))
    sizes = draw(st.lists(SIZES, min_size=count, max_size=count))
    options: dict[str, Any] = {
        "file_service_type": draw(
            st.sampled_from(
                [("roundrobin", 0.0), ("sequential", 0.0), ("random", 3.0), ("zipf", 1.1), ("roundrobin", 4.0)]
            )
        ),
        "loops": draw(st.sampled_from([1, 1, 1, 2, 3])),
        "number_ios": draw(st.sampled_from([0, 0, 0, 1, 17, 400])),
        "io_size": draw(st.sampled_from([0, 0, 0, 10_000, 100 * KIB, -50, -1])),
        "offset": draw(st.sampled_from([0, 0, 512, 4096, 5000, -10])),
    }
    if draw(st.booleans()):
        options["size"] = draw(st.sampled_from([-50, -90, 4 * KIB * count]))
    return sizes, options


def disk_for(draw: Callable[[Any], Any], sizes: list[int], options: dict[str, Any]) -> Disk:
    return Disk(
        sizes,
        options.get("iodepth", 1),
        draw(st.integers(0, 1000)),
        is_moody=draw(st.booleans()),
    )


def spans(options: JobOptions, sizes: list[int]) -> list[tuple[int, int]]:
    """(start, length) of what the job may touch in each file, by what the options say."""
    found = []
    for size in sizes:
        start = options.offset
        if start < 0:
            start = size * -start // 100
            start -= start % (options.offset_align or options.min_bs)
        length = size - start
        if options.size > 0:
            length = options.size // len(sizes)
        elif options.size < 0:
            length = min(size * -options.size // 100, length)
        found.append((start, length))
    return found


def wanted_bytes(options: JobOptions, sizes: list[int]) -> int:
    """What one loop transfers, as far as it finds room."""
    region = sum(length for _, length in spans(options, sizes))
    if options.io_size < 0:
        return region * -options.io_size // 100 or region
    return options.io_size or region


def syncs_due(options: JobOptions, writes: int) -> int:
    counts = [every for every in (options.fsync, options.fdatasync, options.sync_file_range[1]) if every]
    return sum(any(place % every == 0 for every in counts) for place in range(1, writes + 1))


def check_books(ran: Ran) -> None:
    """What the page says is what the disk has seen, and agrees with itself."""
    disk, options, page = ran.disk, ran.options, ran.page
    assert disk is not None
    for ddir in (READ, WRITE, TRIM):
        lengths = [io.length for io in disk.ios if io.ddir == ddir]
        assert (ran.ios(ddir), ran.bytes(ddir)) == (len(lengths), sum(lengths))
    assert ran.ios(SYNC) == sum(io.ddir >= SYNC for io in disk.ios)
    assert sum(page.counter(Counter.SHORT_IOS, ddir) for ddir in range(3)) == disk.shorts
    assert disk.deepest <= options.iodepth
    check_latencies(ran)


def check_latencies(ran: Ran) -> None:
    options, page = ran.options, ran.page
    kinds = {Latency.SLAT: "disable_slat", Latency.CLAT: "disable_clat", Latency.LAT: "disable_lat"}
    for ddir in (READ, WRITE, TRIM):
        histograms = {kind: page.histogram(kind, ddir) for kind in kinds}
        for kind, name in kinds.items():
            is_off = options.gtod_reduce or getattr(options, name)
            assert histograms[kind].count == (0 if is_off else ran.ios(ddir)), (kind.name, ddir)
        if ran.ios(ddir) and all(histogram.count for histogram in histograms.values()):
            slat, clat, lat = (histograms[kind].sum_ns for kind in (Latency.SLAT, Latency.CLAT, Latency.LAT))
            assert slat + clat == lat, ddir
    assert page.histogram(Latency.LAT, SYNC).count == ran.ios(SYNC)
    assert sum(page.depth_levels()) == sum(ran.ios(ddir) for ddir in (READ, WRITE, TRIM))


@st.composite
def jobs(draw: st.DrawFn) -> tuple[dict[str, Any], Disk]:
    sizes, region = draw(regions())
    options = {**draw(patterns()), **region, **draw(DEPTHS), **draw(SYNCS), **draw(MEASURES), **draw(PAUSES)}
    return options, disk_for(draw, sizes, options)


@examples(250)
@given(jobs())
def test_every_job_ends_within_its_region_and_counts_what_it_did(job: tuple[dict[str, Any], Disk]) -> None:
    options, disk = coherent(**job[0]), job[1]
    ran = run_or_refuse(options, disk)
    check_books(ran)
    within = spans(options, disk.sizes)
    for io in disk.ios:
        start, length = within[io.file]
        if io.ddir <= TRIM:
            assert start <= io.offset
            assert io.offset + io.length <= start + length
            least, most = options.lengths[TRIM if options.direction.endswith("trimwrite") else io.ddir]
            assert least <= io.length <= most
    check_amount(ran)
    assert ran.ios(SYNC) == syncs_due(options, ran.ios(WRITE))
    if options.serialize_overlap:
        assert disk.crossings == []


def check_amount(ran: Ran) -> None:
    """As many I/Os as were asked for, unless there are no more."""
    options, disk = ran.options, ran.disk
    assert disk is not None
    wanted = wanted_bytes(options, disk.sizes)
    is_pair = options.direction.endswith("trimwrite")
    data = [io for io in disk.ios if io.ddir <= TRIM]
    assert data
    if options.number_ios:
        assert len(data) <= options.number_ios
    counted = [io for io in data if io.ddir != TRIM or not is_pair]
    if is_pair:
        pairs = list(zip(data[::2], data[1::2], strict=False))
        assert all((trim.ddir, write.ddir) == (TRIM, WRITE) and trim[1:] == write[1:] for trim, write in pairs)
        assert len(data) % 2 == 0 or options.number_ios % 2
    most = max(most for used, (_, most) in zip(options.uses, options.lengths, strict=True) if used)
    total = sum(io.length for io in counted)
    assert total < options.loops * (wanted + most)
    if options.number_ios and len(data) == options.number_ios:
        return
    if options.io_size > sum(length for _, length in spans(options, disk.sizes)):
        assert total >= options.loops * wanted  # it may go round until it has them
    if not options.number_ios and options.loops > 1 and not any(options.rate_iops):
        assert len(data) % options.loops == 0
        once = len(data) // options.loops
        assert all(data[:once] == data[once * loop : once * (loop + 1)] for loop in range(options.loops))


@examples(120)
@given(
    st.sampled_from([512, KIB, 3 * KIB, 4 * KIB]),
    st.sampled_from(["read", "write", "trim", "randread", "randwrite", "randtrim", "trimwrite", "randtrimwrite"]),
    st.sampled_from(["auto", "tausworthe", "tausworthe64", "lfsr"]),
    st.sampled_from([("roundrobin", 0.0), ("sequential", 0.0), ("random", 3.0)]),
    st.lists(SIZES, min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(0, 300),
    st.integers(0, 200 * KIB),
    DEPTHS,
    st.data(),
)
def test_blocks_of_one_length_come_exactly_as_often_as_they_should(
    bs: int, rw: str, generator: str, service: tuple[str, float], sizes: list[int], loops: int, number_ios: int,
    io_size: int, depths: dict[str, Any], data: st.DataObject,
) -> None:  # fmt: skip
    if data.draw(st.booleans()):
        number_ios = io_size = 0
    options = coherent(
        rw=rw, bs=(bs,) * 3, random_generator=generator, file_service_type=service, loops=loops,
        number_ios=number_ios, io_size=io_size, **depths,
    )  # fmt: skip
    disk = disk_for(data.draw, sizes, depths)
    ran = run_or_refuse(options, disk)
    check_books(ran)
    copies = 2 if rw.endswith("trimwrite") else 1
    blocks = {(file, at) for file, size in enumerate(sizes) for at in range(0, size - bs + 1, bs)}
    region = sum(sizes)
    is_full = io_size == 0 or io_size == region
    a_loop = len(blocks) if is_full else min(-(-io_size // bs), len(blocks) if io_size <= region else 1 << 62)
    expected = copies * loops * a_loop
    if number_ios:
        expected = min(expected, number_ios)
    assert len(disk.ios) == expected
    seen = Tally((io.ddir, io.file, io.offset) for io in disk.ios)
    assert {place[1:] for place in seen} <= blocks
    if is_full and not number_ios:
        assert set(seen.values()) == {loops}
        assert len(seen) == copies * len(blocks)
    if not rw.startswith("rand") and service[0] == "sequential":
        order = [(io.file, io.offset) for io in disk.ios[: copies * min(a_loop, len(blocks)) : copies]]
        assert order == sorted(order)


@examples(60)
@given(patterns(), regions(), DEPTHS, MEASURES)
def test_the_null_engine_counts_the_same(
    pattern: dict[str, Any], region: tuple[list[int], dict[str, Any]], depths: dict[str, Any], measures: dict[str, Any]
) -> None:
    _, bounds = region
    bounds = {**bounds, "size": 64 * KIB, "offset": max(bounds["offset"], 0), "file_service_type": ("roundrobin", 0.0)}
    options = coherent(**{**pattern, **bounds, **depths, **measures, "ioengine": "null"})
    ran = run_or_refuse(options)
    check_latencies(ran)
    disk = Disk([options.offset + 64 * KIB], options.iodepth)
    seen = run_or_refuse(options, disk)
    for ddir in range(4):
        assert (ran.ios(ddir), ran.bytes(ddir)) == (seen.ios(ddir), seen.bytes(ddir))


@examples(60)
@given(jobs(), st.integers(1, 1 << 63))
def test_the_seed_decides(job: tuple[dict[str, Any], Disk], other: int) -> None:
    options, disk = coherent(**{**job[0], "rate_iops": (0, 0, 0)}), job[1]
    first = run_or_refuse(options, disk)
    again = Disk(disk.sizes, disk.iodepth, is_moody=True)
    run(options, again)
    assert again.ios == disk.ios
    if options.rw in ("randread", "randwrite", "randtrim") and len({*disk.ios}) > 20 and options.loops == 1:
        assume(options.randseed != other)
        changed = Disk(disk.sizes, disk.iodepth)
        run(msgspec.structs.replace(options, randseed=other), changed)
        assert changed.ios != disk.ios or options.percentage_random[0] == 0
    assert first.page.error == 0


@st.composite
def verified(draw: st.DrawFn) -> tuple[dict[str, Any], list[int]]:
    """A job that writes blocks with headers."""
    sizes, region = draw(regions())
    pattern = draw(patterns())
    if not pattern["rw"].startswith(("write", "randwrite", "rw", "randrw", "trimwrite", "randtrimwrite")):
        pattern["rw"] = draw(st.sampled_from(["write", "randwrite", "randrw", "randtrimwrite"]))
    return {
        **pattern,
        **region,
        **draw(DEPTHS),
        "bs_unaligned": False,
        "verify": "crc32c",
        "verify_header": draw(st.sampled_from(["fio-3.41", "fio-2.2"])),
        "verify_interval": draw(st.sampled_from([0, 0, 64, 512, 1000, KIB, 64 * KIB])),
    }, sizes


CHECKS = st.fixed_dictionaries(
    {},
    optional={
        "verify_async": st.sampled_from([1, 3]),
        "verify_backlog": st.integers(1, 40),
        "verify_backlog_batch": st.integers(1, 40),
        "fsync": st.integers(1, 9),
        "trim_percentage": st.sampled_from([10, 50, 100]),
        "trim_backlog": st.integers(1, 20),
        "trim_backlog_batch": st.integers(1, 20),
        "trim_verify_zero": st.booleans(),
        "do_verify": st.sampled_from([True, True, False]),
        "end_fsync": st.booleans(),
    },
)


def lone_trim(ios: list[Io]) -> Io | None:
    """The trim from whose write number_ios has kept the job."""
    last = [io for io in ios if io.ddir in (WRITE, TRIM)][-1:]
    return last[0] if last and last[0].ddir == TRIM else None


def read_back(ios: list[Io], options: JobOptions) -> tuple[int, int]:
    """Of what was written, or trimmed where that counts: bytes that were read since, and bytes that were not."""
    left: set[tuple[int, int]] = set()
    read = 0
    for io in ios:
        places = {(io.file, at) for at in range(io.offset, io.offset + io.length, UNIT)}
        if io.ddir == WRITE or (io.ddir == TRIM and options.trim_verify_zero):
            left |= places
        else:
            read += len(left & places) if io.ddir == READ else 0
            left -= places
    return UNIT * read, UNIT * len(left)


@examples(150)
@given(verified(), CHECKS, st.integers(0, 1000), st.booleans())
def test_all_that_was_written_is_read_back_and_found_good(
    job: tuple[dict[str, Any], list[int]], checks: dict[str, Any], whims: int, is_moody: bool
) -> None:
    options, sizes = coherent(**{**job[0], **checks}), job[1]
    disk = Disk(sizes, options.iodepth, whims, is_moody=is_moody)
    ran = run_or_refuse(options, disk)
    assert ran.mismatches == 0
    check_books(ran)
    check_verified(ran)


def check_verified(ran: Ran) -> None:
    options, disk, page = ran.options, ran.disk, ran.page
    assert disk is not None
    assert [pair for pair in disk.crossings if READ not in (pair[0].ddir, pair[1].ddir)] == []
    assert page.unverified_bytes == 0
    checked = page.counter(Counter.VERIFIED_BYTES, READ)
    written, trimmed = ran.bytes(WRITE), ran.bytes(TRIM)
    if not options.do_verify:
        assert checked == 0
        assert options.does_read or ran.ios(READ) == 0
        return
    read, left = read_back(disk.ios, options)
    assert left == 0
    assert checked <= min(written + (trimmed if options.trim_verify_zero else 0), ran.bytes(READ))
    if options.does_read:
        return
    if not options.verify_backlog:
        assert checked == read == ran.bytes(READ)


@examples(150)
@given(verified(), st.integers(0, 1 << 40), st.integers(0, 7), st.booleans(), st.sampled_from([0, 0, 2]), st.booleans())
def test_a_flipped_bit_is_found_and_a_clean_disk_is_not_complained_of(
    job: tuple[dict[str, Any], list[int]], place: int, bit: int, is_moody: bool, verify_async: int, is_fatal: bool
) -> None:
    options, sizes = coherent(**{**job[0], "do_verify": False}), job[1]
    assume(options.loops == 1 or not options.number_ios)  # which may end in the middle of a loop
    disk = Disk(sizes, options.iodepth, 1, is_moody=is_moody)
    run_or_refuse(options, disk)
    written = {(io.file, at) for io in disk.ios if io.ddir == WRITE for at in range(io.offset, io.offset + io.length)}
    lone = lone_trim(disk.ios)
    if lone:
        written -= {(lone.file, at) for at in range(lone.offset, lone.offset + lone.length)}
    if not written:
        return
    again = coherent(**{**job[0], "verify_only": True, "verify_async": verify_async, "verify_fatal": is_fatal})
    clean = Disk(sizes, options.iodepth, 2, is_moody=is_moody)
    clean.contents = disk.contents
    seen = run(again, clean)
    assert (seen.mismatches, seen.ios(WRITE), seen.ios(TRIM)) == (0, 0, 0)
    expected = len(written) * options.loops + (lone.length if lone else 0)
    assert seen.page.counter(Counter.VERIFIED_BYTES, READ) == expected

    file, at = sorted(written)[place % len(written)]
    spoilt = Disk(sizes, options.iodepth, 3, is_moody=is_moody)
    spoilt.contents = disk.contents
    spoilt.contents[file][at] ^= 1 << bit
    found = run(again, spoilt, error=errno.EILSEQ)
    first = found.page.mismatches()[0]
    assert first.offset <= at < first.offset + first.length


@examples(40)
@given(verified(), CHECKS, st.sampled_from([1000, 5000, 20_000]), st.booleans(), st.booleans())
def test_what_time_did_not_suffice_to_read_back_is_counted(
    job: tuple[dict[str, Any], list[int]], checks: dict[str, Any], runtime: int, is_time_based: bool, is_moody: bool
) -> None:
    limits = {"runtime": runtime, "time_based": is_time_based, "loops": 1, "verify_backlog": 0, "do_verify": True}
    options, sizes = coherent(**{**job[0], **checks, **limits}), job[1]
    disk = Disk(sizes, options.iodepth, 1, is_moody=is_moody)
    ran = run_or_refuse(options, disk)
    check_latencies(ran)
    checked = ran.page.counter(Counter.VERIFIED_BYTES, READ)
    assert ran.mismatches == 0
    if not options.does_read:
        assert (checked, ran.page.unverified_bytes) == read_back(disk.ios, options)


@examples(60)
@given(
    st.sampled_from([512, 4 * KIB]),
    st.sampled_from([0, 64, 512]),
    st.sampled_from(["read", "randread"]),
    st.sampled_from(["fio-3.41", "fio-2.2"]),
    DEPTHS,
    st.booleans(),
    st.integers(0, 64 * KIB - 1),
    st.integers(0, 7),
)
def test_a_reading_job_checks_what_another_wrote(
    bs: int, interval: int, rw: str, header: str, depths: dict[str, Any], is_moody: bool, place: int, bit: int
) -> None:
    shared: dict[str, Any] = {"bs": (bs,) * 3, "verify": "crc32c", "verify_interval": interval, "verify_header": header}
    disk = Disk([64 * KIB])
    run(coherent(rw="randwrite", do_verify=False, **shared), disk)
    options = coherent(rw=rw, **shared, **depths)
    for is_spoilt in (False, True):
        again = Disk([64 * KIB], options.iodepth, 1, is_moody=is_moody)
        again.contents = disk.contents
        again.contents[0][place] ^= is_spoilt << bit
        ran = run(options, again, error=errno.EILSEQ if is_spoilt else 0)
        assert ran.page.counter(Counter.VERIFIED_BYTES, READ) == 64 * KIB
        assert [found.offset <= place < found.offset + found.length for found in ran.page.mismatches()] == [
            True
        ] * is_spoilt


@contextlib.contextmanager
def memory_files(sizes: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Files in memory that the kernel's I/O engines can work on, as Job takes them."""
    files = []
    try:
        for size in sizes:
            files.append((os.memfd_create("target"), size))
            os.ftruncate(*files[-1])
        yield files
    finally:
        for fd, _ in files:
            os.close(fd)


def run_on(files: list[tuple[int, int]], options: JobOptions, **more: Any) -> Ran:
    return run(options, None, files=files, **more)


@pytest.mark.requires_io_uring
@examples(60)
@given(verified(), CHECKS, st.sampled_from(["psync", "sync", "libaio", "posixaio", "io_uring", "mmap", "pvsync2"]))
def test_the_kernels_engines_keep_what_is_verified(
    job: tuple[dict[str, Any], list[int]], checks: dict[str, Any], engine: str
) -> None:
    options = coherent(**{**job[0], **checks, "ioengine": engine})
    with memory_files(job[1]) as files:
        try:
            ran = run_on(files, options)
        except SetupError as reason:
            is_a_line(reason)
            return
        assert ran.mismatches == 0
        assert ran.page.unverified_bytes == 0
        check_latencies(ran)


@examples(40)
@given(jobs(), st.booleans())
def test_what_was_recorded_is_replayed(job: tuple[dict[str, Any], Disk], is_deep: bool) -> None:
    options, disk = coherent(**{**job[0], "loops": 1}), job[1]
    names = [f"file{place}" for place in range(len(disk.sizes))]
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/log"
        run_or_refuse(msgspec.structs.replace(options, write_iolog=log), disk, names=names)
        again = Disk(disk.sizes, 8 if is_deep else 1)
        replayed = JobOptions(rw=options.rw, read_iolog=log, replay_no_stall=True, iodepth=again.iodepth)
        ran = run(replayed, again, names=names)
    check_latencies(ran)
    ranges = [io for io in disk.ios if io.ddir > 4]  # no iolog has them
    assert again.ios == [io for io in disk.ios if io not in ranges]


# Of the rest, whatever the limits of the option allow.
FUZZED_MOST = {
    "size": 1 << 24, "io_size": 1 << 24, "filesize": 1 << 24, "iodepth": 64, "verify_async": 4, "loops": 3,
    "ramp_time": 20_000, "number_ios": 5000, "bs": 1 << 16, "bsrange": 1 << 16, "bssplit": 1 << 16,
    "rwmixread": 100, "percentage_random": 100, "hugepage_size": 1 << 21,
}  # fmt: skip
NOT_FUZZED = {"ioengine", "read_iolog", "write_iolog", "runtime", "time_based", "filename", "name", "lockmem"}
NUMBERS = st.sampled_from([-100, -1, 0, 1, 2, 3, 7, 64, 100, 511, 512, 4096, 5000, 65536, 1 << 20, 1 << 40, 1 << 63])


@st.composite
def values_of(draw: st.DrawFn, spec: OptionSpec) -> str:
    """A text for an option: right, or nearly."""

    def number() -> str:
        unit = "us" if spec.unit == "us" else ""
        return f"{min(max(draw(NUMBERS), spec.ge), min(FUZZED_MOST.get(spec.name, spec.le), spec.le))}{unit}"

    if spec.kind is bool:
        return draw(st.sampled_from(["0", "1"]))
    if spec.kind is int or spec.kind is float:
        return number()
    if spec.choices:
        return draw(st.sampled_from(spec.choices))
    if spec.name == "rw":
        pattern = draw(patterns())
        return str(pattern["rw"])
    if spec.name in ("bsrange",):
        return f"{number()}-{number()}"
    if spec.name == "bssplit":
        return f"{number()}/{draw(st.integers(0, 100))}:{number()}/"
    if spec.name == "random_distribution":
        return draw(
            st.sampled_from(
                ["zipf:1.2", "zipf:0.01", "zipf:99", "pareto:0.9", "pareto:0", "normal:1", "normal:99.5:0.1",
                 "zoned:50/1:50/99", "zoned:100/0:0/100", "zoned_abs:50/1:50/1g", "zoned_abs:100/99g", "random"]
            )
        )  # fmt: skip
    if spec.name == "file_service_type":
        return draw(st.sampled_from(["random:0", "roundrobin:9", "sequential", "zipf:1.3", "normal:5", "pareto:0.5"]))
    if spec.name == "sync_file_range":
        return draw(st.sampled_from(["write:1", "wait_before,write:7"]))
    if spec.name == "buffer_pattern":
        return draw(st.sampled_from(["0xdeadbeef", '"a"', "17"]))
    return ",".join(number() for _ in range(draw(st.integers(1, 3))))


FUZZED = [spec for name, spec in sorted(SPECS.items()) if spec.used_by in TRAVELLING and name not in NOT_FUZZED]


@st.composite
def fuzzed(draw: st.DrawFn) -> dict[str, str]:
    chosen = draw(st.lists(st.sampled_from(FUZZED), min_size=1, max_size=8, unique_by=lambda spec: spec.name))
    written = {spec.name: draw(values_of(spec)) for spec in chosen}
    if draw(st.booleans()):
        written.setdefault("rw", draw(values_of(SPECS["rw"])))
    if draw(st.booleans()):
        written.setdefault("size", draw(st.sampled_from(["4k", "100000", "1m"])))
    return written


@examples(250)
@given(fuzzed(), st.sampled_from([20_000, 60_000]), st.booleans(), st.sampled_from(["null", "null", "psync"]))
def test_whatever_can_be_spelt_runs_or_is_refused_in_a_line(
    written: dict[str, str], runtime: int, is_time_based: bool, engine: str
) -> None:
    try:
        options = read_options({**written, "ioengine": engine})
    except JobOptionsError as reason:
        for error in reason.errors:
            is_a_line(error)
        event("not spelt")
        return
    # Of [global] they come as they are, where a job has nothing for them to act on.
    options = msgspec.structs.replace(options, runtime=runtime, time_based=is_time_based)
    wrong = [error for error in check(options) if not isinstance(error, Inapplicable)]
    if wrong:
        for error in wrong:
            is_a_line(error)
        event("incoherent")
        return
    folder = tempfile.mkdtemp()
    before = Path.cwd()
    os.chdir(folder)  # logs
    try:
        with memory_files([1 << 20] if engine == "psync" else []) as files:
            ran = run_on(files, options, error=-1)
        event("ran" if not ran.page.error else "failed")
        is_a_line(ran.page.text)
    except (SetupError, OSError, MemoryError) as reason:
        event("refused")
        is_a_line(reason)
    finally:
        os.chdir(before)
        shutil.rmtree(folder)


def best_of_three(measure: Callable[[], float]) -> float:
    """The smallest deviation: the machine may be busy."""
    deviations: list[float] = []
    while len(deviations) < 3 and not (deviations and deviations[-1] < 0.005):
        deviations.append(measure())
    return min(deviations)


@pytest.mark.parametrize(
    "options",
    [
        {"rw": "read", "rate_iops": (2000, 0, 0)},
        {"rw": "randwrite", "rate": (0, 8 << 20, 0)},
        {"rw": "randrw", "rate_iops": (1000, 3000, 0)},
        {"rw": "randread", "rate_iops": (3000, 0, 0), "iodepth": 8, "ioengine": "null"},
        {"rw": "write", "rate": (0, 4 << 20, 0), "bsrange": ((512, 8192),) * 3},
    ],
)
def test_rates_are_kept(options: dict[str, Any]) -> None:
    chosen = JobOptions(**{"runtime": 300_000, "time_based": True, "size": 1 << 20, **options})

    def deviation() -> float:
        with memory_files([1 << 20]) as files:
            ran = run_on(files, chosen)
        off = 0.0
        for ddir in (READ, WRITE):
            for done, wanted in ((ran.ios(ddir), chosen.rate_iops[ddir]), (ran.bytes(ddir), chosen.rate[ddir])):
                if wanted:
                    off = max(off, abs(done / (wanted * 0.3) - 1))
        return off

    assert best_of_three(deviation) < 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"rw": "read"},
        {"rw": "randrw", "iodepth": 16, "ioengine": "null"},
        {"rw": "write", "thinktime": 3_000_000},
        {"rw": "randread", "rate_iops": (1, 0, 0)},
        {"rw": "read", "ramp_time": 100_000},
        {"rw": "randwrite", "rate_iops": (0, 100, 0), "rate_process": "poisson"},
        {"rw": "randwrite", "verify": "crc32c", "verify_async": 2},
    ],
)
def test_a_job_ends_with_its_runtime(options: dict[str, Any]) -> None:
    chosen = JobOptions(**{"runtime": 150_000, "time_based": True, "size": 1 << 20, **options})

    def deviation() -> float:
        with memory_files([1 << 20]) as files:
            begun = time.monotonic()
            run_on(files, chosen)
            return abs(time.monotonic() - begun - (chosen.runtime + chosen.ramp_time) / 1e6)

    assert best_of_three(deviation) < 0.05


# What the above have found.


@pytest.mark.parametrize("engine", ["libaio", "posixaio", "io_uring"])
@pytest.mark.requires_io_uring
def test_slots_stay_below_iodepth_while_checkers_hold_blocks(engine: str) -> None:
    """Engines keep arrays of iodepth places: with verify_async there were more slots than that."""
    disk = Disk([256 * KIB])
    run(JobOptions(rw="randwrite", verify="crc32c", verify_async=3), disk)
    deep = Disk([256 * KIB], 4, 1)
    run(JobOptions(rw="randwrite", verify="crc32c", verify_async=3, iodepth=4), deep)
    with memory_files([256 * KIB]) as files:
        ran = run_on(
            files, JobOptions(rw="randwrite", verify="crc32c", verify_async=8, ioengine=engine, size=256 * KIB)
        )
    assert ran.page.counter(Counter.VERIFIED_BYTES, READ) == 256 * KIB


@pytest.mark.parametrize("rw", ["read", "trim", "randtrimwrite"])
@pytest.mark.parametrize("iodepth", [1, 4])
def test_depths_count_every_io_once_but_no_sync(rw: str, iodepth: int) -> None:
    """The rest of a short I/O counted again, a sync too; a trim did not, nor what was done at once."""
    disk = Disk([64 * KIB], iodepth, 7, is_moody=True)
    check_latencies(run(JobOptions(rw=rw, iodepth=iodepth, fsync=3, bs=(512,) * 3), disk))
    assert disk.shorts or rw == "trim"


def test_latencies_of_writes_that_are_done_at_once_add_up() -> None:
    """A verified block is stamped after its contents are made, which was after its issue."""
    disk = Disk([64 * KIB], 4, 3, is_moody=True)
    check_latencies(run(JobOptions(rw="write", iodepth=4, verify="crc32c", bs=(512,) * 3), disk))


@pytest.mark.parametrize(("number_ios", "checked"), [(0, 64 * KIB), (16, 32 * KIB), (17, 36 * KIB)])
def test_verify_only_checks_all_that_pairs_of_trim_and_write_left(number_ios: int, checked: int) -> None:
    """Trims counted against the size, so that half was checked; a trim without its write was taken for corruption."""
    options: dict[str, Any] = {"rw": "trimwrite", "verify": "crc32c", "number_ios": number_ios}
    disk = Disk([64 * KIB])
    run(JobOptions(**options, do_verify=False), disk)
    assert run(JobOptions(**options, verify_only=True), disk).page.counter(Counter.VERIFIED_BYTES, READ) == checked


def test_a_trim_of_what_was_never_written_is_checked_too() -> None:
    disk = Disk([64 * KIB])
    ran = run(JobOptions(rw="trimwrite", verify="crc32c", number_ios=1), disk)
    assert ran.page.counter(Counter.VERIFIED_BYTES, READ) == 4 * KIB


@pytest.mark.parametrize("rw", ["read", "write", "rw", "trim"])
def test_a_sequential_job_takes_the_lengths_of_reads_where_bs_is_seq_rand(rw: str) -> None:
    """As fio 3.33 does; a write had those of writes."""
    disk = Disk([64 * KIB])
    run(JobOptions(rw=rw, bs=(KIB, 4 * KIB, 2 * KIB), bs_is_seq_rand=True), disk)
    assert {io.length for io in disk.ios} == {KIB}


def test_a_direction_that_finds_no_room_is_refused() -> None:
    """The job made no write, or nothing at all, and ended well."""
    with pytest.raises(SetupError, match="3000 bytes have no room for one block of 4096"):
        run(JobOptions(rw="rw", rwmixread=0, bs=(512, 4 * KIB, 512)), Disk([3000]))
    run(JobOptions(rw="trimwrite", bs=(512, 4 * KIB, 512)), Disk([3000]))


@pytest.mark.parametrize("lengths", [(300, 1000), (1000, 300), (1024, 4096)])
def test_units_end_with_each_of_the_lengths_that_bs_is_seq_rand_gives(lengths: tuple[int, int]) -> None:
    """What both have in common was not looked for, and good blocks were called wrong."""
    run(
        JobOptions(
            rw="randwrite", bs=(*lengths, 300), bs_is_seq_rand=True, percentage_random=(50,) * 3, verify="crc32c"
        ),
        Disk([40 * KIB]),
    )


WHOLE_PATTERN: dict[str, Any] = {
    "verify": "pattern",
    "verify_pattern": (bytes(range(200)), (3,)),
    "verify_interval": 512,
    "bssplit": (((512, 50), (1024, 30), (3072, 20)),) * 3,
}
"""Blocks of several units, each of which can only be judged from its beginning."""


@pytest.mark.parametrize("seed", range(8))
def test_what_a_trim_leaves_of_a_block_with_a_pattern_is_not_judged(seed: int) -> None:
    """It was, as if it were the beginning."""
    options = JobOptions(rw="randtrimwrite", norandommap=True, io_size=100 * KIB, randseed=seed, **WHOLE_PATTERN)
    run(options, Disk([40 * KIB]))


@pytest.mark.parametrize("seed", range(8))
def test_a_backlog_leaves_a_block_that_was_written_anew_to_its_own_turn(seed: int) -> None:
    """The length of the older block was read at the place of the newer, and the rest of that was judged alone."""
    options = JobOptions(
        rw="randwrite", norandommap=True, io_size=200 * KIB, verify_backlog=17, randseed=seed, **WHOLE_PATTERN
    )
    run(options, Disk([40 * KIB]))


@pytest.mark.parametrize("iodepth", [1, 4])
def test_the_last_trims_are_made_where_the_size_is_no_multiple_of_bs(iodepth: int) -> None:
    disk = Disk([20 * KIB + 1], iodepth)
    run(
        JobOptions(rw="write", bs=(333,) * 3, verify="crc32c", trim_percentage=100, trim_backlog=10, iodepth=iodepth),
        disk,
    )
    kinds = Tally(io.ddir for io in disk.ios)
    assert kinds[TRIM] == kinds[WRITE] == 20 * KIB // 333


@pytest.mark.parametrize("seed", range(8))
def test_verify_only_looks_for_what_the_last_loop_left(seed: int) -> None:
    """What the first had written was looked for after the last, and other blocks had been trimmed by then."""
    options: dict[str, Any] = {
        "rw": "randwrite", "loops": 3, "randseed": seed, "verify": "crc32c", "trim_percentage": 50, "trim_backlog": 3,
    }  # fmt: skip
    disk = Disk([40 * KIB])
    run(JobOptions(**options, do_verify=False), disk)
    assert run(JobOptions(**options, verify_only=True), disk).page.counter(Counter.VERIFIED_BYTES, READ)

"""Options in fio's spelling: what is read, what is refused and with which words, and what fits together."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.engines import patterns, spelling
from iovigil.engines.options import (
    LONGEST_TIME_US,
    MAX_INT64,
    SPECS,
    UNIFORM,
    Decimals,
    Deviation,
    Distribution,
    ErrorLists,
    JobOptions,
    JobOptionsError,
    Names,
    Numbers,
    OptionError,
    OptionSpec,
    PerDirection,
    Range,
    RangePerDirection,
    Service,
    SplitPerDirection,
    VerifyPattern,
)
from iovigil.engines.quantities import parse_size, parse_time_us, spell_size, spell_time
from iovigil.engines.spelling import parse_option, parse_options, spell_option, spell_options

READ = [
    ("bs", "4k", (4096,) * 3),
    ("bs", "512", (512,) * 3),
    ("bs", 8192, (8192,) * 3),
    ("bs", "64KiB", (65536,) * 3),
    ("blocksize", "4kb", (4096,) * 3),
    ("bs", ",8k", (4096, 8192, 8192)),
    ("size", "1.5g", 3 << 29),
    ("size", ".5m", 1 << 19),
    ("size", "1GiB", 1 << 30),
    ("size", "2ti", 2 << 40),
    ("size", "1P", 1 << 50),
    ("size", "10b", 10),
    ("runtime", "30", 30_000_000),
    ("runtime", 30, 30_000_000),
    ("runtime", 1.5, 1_500_000),
    ("runtime", "5s", 5_000_000),
    ("runtime", "2m", 120_000_000),
    ("runtime", "1H", 3_600_000_000),
    ("runtime", "1d", 86_400_000_000),
    ("timeout", "500ms", 500_000),
    ("thinktime", "100", 100),
    ("thinktime", "1ms", 1000),
    ("ratecycle", "1000", 1_000_000),
    ("ratecycle", "2s", 2_000_000),
    ("rate", "1m", (1 << 20,) * 3),
    ("rate", "1m,2k", (1 << 20, 2048, 2048)),
    ("rate", "1m,2k,3k", (1 << 20, 2048, 3072)),
    ("rate", "1m,2k,", (1 << 20, 2048, 0)),
    ("rate", "1m,", (1 << 20, 0, 0)),
    ("rate", ",2k", (0, 2048, 2048)),
    ("rate", ",,2k", (0, 0, 2048)),
    ("rate", ["1m", "2k"], (1 << 20, 2048, 2048)),
    ("rate_iops", 100, (100,) * 3),
    ("rate_iops", "10k", (10240,) * 3),
    ("direct", "1", True),
    ("direct", 0, False),
    ("direct", True, True),
    ("direct", "Yes", True),
    ("direct", "false", False),
    ("time_based", None, True),
    ("fill_fs", "1", True),
    ("rw", "randrw", "randrw"),
    ("rw", "readwrite", "rw"),
    ("readwrite", "READ", "read"),
    ("verify", "0", "none"),
    ("verify", 0, "none"),
    ("verify", "crc32c-intel", "crc32c"),
    ("continue_on_error", "1", "all"),
    ("randseed", "0xff", 255),
    ("randseed", (1 << 64) - 1, (1 << 64) - 1),
    ("name", "a job", "a job"),
    ("rw", "randread:8", "randread:8"),
    ("rw", "read:4k", "read:4096"),
    ("rw", "read:-4k", "read:-4096"),
    ("rw", "write:0", "write"),
    ("size", "20%", -20),
    ("io_size", "100%", -100),
    ("offset", "1%", -1),
    ("runtime", "2500msec", 2_500_000),
    ("bsrange", "1k-4k,2k-8k", ((1024, 4096), (2048, 8192), (2048, 8192))),
    ("bsrange", "1k:4k", ((1024, 4096),) * 3),
    ("bsrange", ",2k-8k,", ((0, 0), (2048, 8192), (0, 0))),
    ("bsrange", ["1k-4k", "2k-8k"], ((1024, 4096), (2048, 8192), (2048, 8192))),
    ("bssplit", "4k/60:64k/40,8k", (((4096, 60), (65536, 40)), ((8192, 100),), ((8192, 100),))),
    ("bssplit", "4k/50:1k/:32k/", (((4096, 50), (1024, 25), (32768, 25)),) * 3),
    ("bssplit", "4k:8k:16k", (((4096, 33), (8192, 33), (16384, 34)),) * 3),
    ("bssplit", "4k/100,,8k", (((4096, 100),), (), ((8192, 100),))),
    ("random_distribution", "random", ("random", 0.0, -1.0, ())),
    ("random_distribution", "zipf", ("zipf", 1.1, -1.0, ())),
    ("random_distribution", "zipf:1.2:0.5", ("zipf", 1.2, 0.5, ())),
    ("random_distribution", "pareto:0.3", ("pareto", 0.3, -1.0, ())),
    ("random_distribution", "normal:20", ("normal", 20.0, -1.0, ())),
    ("random_distribution", "zoned:60/10:40/", ("zoned", 0.0, -1.0, ((60.0, 10.0), (40.0, 90.0)))),
    ("random_distribution", "zoned_abs:60/1m:40/1g", ("zoned_abs", 0.0, -1.0, ((60.0, 2.0**20), (40.0, 2.0**30)))),
    ("file_service_type", "random:4", ("random", 4)),
    ("file_service_type", "gauss", ("normal", 0)),
    ("file_service_type", "zipf:1.10", ("zipf", 1.1)),
    ("filename", "/dev/sda:/dev/sdb", ("/dev/sda", "/dev/sdb")),
    ("filename", r"a\:b:c", ("a:b", "c")),
    ("filename", r"/dev/disk/by-label/my\x20disk", (r"/dev/disk/by-label/my\x20disk",)),
    ("filename", "/dev/disk/by-path/pci-0000:00:1f.2:/srv/x", ("/dev/disk/by-path/pci-0000:00:1f.2", "/srv/x")),
    ("filename", ["a:b", "c"], ("a:b", "c")),
    ("replay_skip", "read,flush", ("read", "sync")),
    ("cpus_allowed", "7,0-3", (0, 1, 2, 3, 7)),
    ("cpus_allowed", [0, 2], (0, 2)),
    ("numa_cpu_nodes", "all", ()),
    ("cpumask", "0x89", (0, 3, 7)),
    ("cpumask", "34", (1, 5)),
    ("percentile_list", "50:99:99.9", (50.0, 99.0, 99.9)),
    ("latency_percentile", "99.9", 99.9),
    ("ignore_error", "EIO:ENOSPC,EIO,EILSEQ", ((5, 28), (5,), (84,))),
    ("ignore_error", "5:28", ((5, 28), (), ())),
    ("ignore_error", ",EIO", ((), (5,), ())),
    ("steadystate", "iops:2%", ("iops", 2.0, True)),
    ("steadystate", "iops_slope:0.3%", ("iops_slope", 0.3, True)),
    ("ss", "bw:10m", ("bw", 10.0 * 2**20, False)),
    ("sync_file_range", "wait_before,write:8", (("wait_before", "write"), 8)),
    ("numa_mem_policy", "bind:0-1", ("bind", (0, 1))),
    ("numa_mem_policy", "local", ("local", ())),
    ("start_delay", "5", (5_000_000, 5_000_000)),
    ("startdelay", "1-1500ms", (1_000_000, 1_500_000)),
    ("buffer_pattern", '"abc"', b"abc"),
    ("buffer_pattern", "0xdeadbeef", b"\xde\xad\xbe\xef"),
    ("buffer_pattern", "0xfff", b"\x0f\xff"),
    ("buffer_pattern", "-1", b"\xff" * 4),
    ("buffer_pattern", "70000", b"\x70\x11\x01"),
    ("buffer_pattern", '0xff"ab"-2', b"\xffab\xfe\xff\xff\xff"),
    ("buffered", "0", True),
    ("buffered", None, False),
    ("rwmixwrite", "30", 70),
    ("ba", "8k", (8192,) * 3),
    ("hugepage-size", "2m", 2 << 20),
    ("iomem-align", "4k", 4096),
    ("log_max_value", "1", "max"),
    ("sync", "1", "sync"),
    ("fadvise_hint", "0", "none"),
    ("unified_rw_reporting", "2", "both"),
    ("write_bw_log", "", ""),
    ("directory", r"/srv/a\:b", "/srv/a:b"),
]

SIZE = "a size: a number, with k, m, g, t or p (powers of 1024), such as 64k or 1GiB"
TIME = "a time: a number, with d, h, m, s, ms or us, such as 30s"
REFUSED = [
    ("iodept", 1, "iodept: is not an option; did you mean iodepth?"),
    ("blokcsize", 1, "blokcsize: is not an option; did you mean blocksize?"),
    ("zzz", 1, "zzz: is not an option of a job"),
    ("opendir", "/srv", "opendir: is not supported: name the files with filename=a:b"),
    ("thread", 1, "thread: has no effect here: each job is a process of its own"),
    ("bs", "4x", f"bs: 4x is not {SIZE}"),
    ("bs", "k", f"bs: k is not {SIZE}"),
    ("bs", "", "bs: needs a value"),
    ("bs", ",", "bs: needs a value"),
    ("bs", "4k,8k,16k,32k", "bs: takes at most three values: for reads, writes and trims"),
    ("bs", "4 k", f"bs: '4 k' is not {SIZE}"),
    ("bs", "\u0664", f"bs: \u0664 is not {SIZE}"),
    ("bs", float("nan"), f"bs: nan is not {SIZE}"),
    ("bs", 0, "bs: 0 is not in 1..1g"),
    ("bs", "2g", "bs: 2g is not in 1..1g"),
    ("bs", None, "bs: needs a value"),
    ("iodepth", [4], "iodepth: takes one value, not a list"),
    ("blocksize", 0, "blocksize: 0 is not in 1..1g"),
    ("size", -1, "size: -1 is below 0"),
    ("size", "1.5", "size: 1.5 is not a whole number"),
    ("size", "0%", "size: 0% is not a share: a whole number of per cent, 1% to 100%"),
    ("size", "101%", "size: 101% is not a share: a whole number of per cent, 1% to 100%"),
    ("size", "1.5%", "size: 1.5% is not a share: a whole number of per cent, 1% to 100%"),
    ("bs", "50%", f"bs: 50% is not {SIZE}"),
    ("size", "8192p", f"size: 8192p is above {MAX_INT64}"),
    ("size", "9" * 100, f"size: {'9' * 57}... is not {SIZE}"),
    ("iodepth", 0, "iodepth: 0 is not in 1..4096"),
    ("iodepth", "deep", "iodepth: deep is not a whole number"),
    ("runtime", "1y", f"runtime: 1y is not {TIME}"),
    ("runtime", "1:30", f"runtime: 1:30 is not {TIME}"),
    ("runtime", "1001d", "runtime: 1001d is not in 0s..1000d"),
    ("ratecycle", "500us", "ratecycle: 500us is not in 1ms..1000d"),
    ("rate", "1,2,3,4", "rate: takes at most three values: for reads, writes and trims"),
    ("rate", ",", "rate: needs a value"),
    ("rate", [], "rate: needs a value"),
    ("direct", 2, "direct: 2 is neither yes nor no: write 1 or 0"),
    (
        "rw",
        "up",
        "rw: up is not one of read, write, trim, randread, randwrite, randtrim, rw, randrw, trimwrite, randtrimwrite",
    ),
    ("rw", "randread:-8", "rw: -8 is below 0: it counts the I/Os from one offset to the next"),
    ("bsrange", "4k", "bsrange: 4k is not a range, such as 4k-64k"),
    ("bsrange", "8k-4k", "bsrange: 8k-4k begins above its end: write the lesser first"),
    ("bsrange", "0-4k", "bsrange: 0 is not in 1..1g"),
    ("bssplit", "4k/60:64k/30", "bssplit: the shares make 90: they have to make 100"),
    ("bssplit", "4k/60:64k/50", "bssplit: the shares make 110: they have to make 100"),
    ("bssplit", "4k/100:64k", "bssplit: the shares given leave 0 for 1 without one"),
    ("bssplit", "4k/x", "bssplit: x is not a share: a whole number of per cent, 0 to 100"),
    ("bssplit", ":".join(["4k"] * 65), "bssplit: has 65 sizes: at most 64"),
    (
        "random_distribution",
        "gauss:3",
        "random_distribution: gauss is not one of random, zipf, pareto, normal, zoned, zoned_abs",
    ),
    ("random_distribution", "zipf:1", "random_distribution: zipf takes a theta above 0 that is not 1, not 1"),
    ("random_distribution", "pareto:1", "random_distribution: pareto takes a power above 0 and below 1, not 1"),
    ("random_distribution", "zipf:2:1.5", "random_distribution: the centre 1.5 is not in 0..1, a share of the region"),
    ("random_distribution", "zipf:nan", "random_distribution: nan is not a number, such as 99.9"),
    ("random_distribution", "zoned", "random_distribution: zoned needs its zones, such as zoned:60/10:40/"),
    (
        "random_distribution",
        "zoned:60/50:40/60",
        "random_distribution: the zones make 110 per cent of the region: at most 100",
    ),
    ("directory", "a:b", "directory: a:b names 2: one is supported; write a colon that belongs to it as \\:"),
    ("file_service_type", "random:x", "file_service_type: x is not a number of I/Os"),
    ("filename", "a::b", "filename: a::b has an empty name between its colons"),
    ("cpus_allowed", "3-1", "cpus_allowed: 3-1 begins above its end: write the lesser first"),
    ("cpus_allowed", "0-9999", "cpus_allowed: 9999 is above 4095"),
    ("percentile_list", "50:101", "percentile_list: 101 is not in 0..100"),
    ("latency_percentile", "101", "latency_percentile: 101 is not in 0..100"),
    ("ignore_error", "EFOO", "ignore_error: EFOO is not an error: a name such as EIO, or its number"),
    ("steadystate", "iops", "steadystate: needs a limit: iops:2%"),
    ("steadystate", "ipos:2", "steadystate: ipos is not one of iops, iops_slope, bw, bw_slope, lat, lat_slope"),
    ("sync_file_range", "write", "sync_file_range: needs a number of writes: write:8"),
    ("numa_mem_policy", "prefer:0-1", "numa_mem_policy: prefer takes one node: prefer:0-1"),
    ("numa_mem_policy", "local:1", "numa_mem_policy: local takes no node: local:1"),
    ("start_delay", "5-1", "start_delay: 5-1 begins above its end: write the lesser first"),
    (
        "buffer_pattern",
        "abc",
        "buffer_pattern: abc is not a pattern: \"text\", 0xhex, a number of 32 bits or 'file', one after another",
    ),
    (
        "buffer_pattern",
        "5000000000",
        "buffer_pattern: 5000000000 does not fit in 32 bits: write longer patterns as 0xhex",
    ),
    (
        "buffer_pattern",
        "'/nonexistent'",
        "buffer_pattern: the file /nonexistent cannot be read: No such file or directory",
    ),
    ("buffer_pattern", "'/dev/zero'", "buffer_pattern: /dev/zero is no regular file"),
    ("rwmixwrite", "101", "rwmixwrite: 101 is not in 0..100"),
    ("cpumask", "-1", "cpumask: -1 is below 0"),
    ("name", "", "name: needs a value"),
]


@pytest.mark.parametrize(("name", "written", "held"), READ)
def test_an_option_is_read_as_fio_spells_it(name: str, written: object, held: object) -> None:
    value = parse_option(name, written)
    assert (value, type(value)) == (held, type(held))


@pytest.mark.parametrize(("name", "written", "message"), REFUSED)
def test_a_wrong_option_is_refused_with_what_was_found_and_what_is_allowed(
    name: str, written: object, message: str
) -> None:
    with pytest.raises(OptionError) as refused:
        parse_option(name, written)
    assert str(refused.value) == message


@given(st.integers(0, MAX_INT64))
def test_a_size_reads_back_as_it_was_spelled(size: int) -> None:
    assert parse_size(spell_size(size)) == size


@given(st.integers(0, 1 << 40), st.sampled_from("kmgt"), st.sampled_from(["", "b", "i", "ib", "B", "iB"]))
def test_every_ending_of_a_size_is_the_same_power_of_1024(number: int, letter: str, ending: str) -> None:
    assert parse_size(f"{number}{letter}{ending}") == number * 1024 ** ("kmgt".index(letter) + 1)


@given(st.integers(0, LONGEST_TIME_US), st.sampled_from([1, 1000, 1_000_000]))
def test_a_time_reads_back_as_it_was_spelled_whatever_a_bare_number_means(time_us: int, plain_us: int) -> None:
    assert parse_time_us(spell_time(time_us), plain_us) == time_us


@pytest.mark.parametrize(
    ("time_us", "text"), [(0, "0s"), (1, "1us"), (1500, "1500us"), (90_000_000, "90s"), (7_200_000_000, "2h")]
)
def test_a_time_is_spelled_in_its_largest_whole_unit(time_us: int, text: str) -> None:
    assert spell_time(time_us) == text


def texts(**limits: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), **limits)


def finite(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_nan=False).map(abs)


def numbers(spec: OptionSpec) -> st.SearchStrategy[int]:
    return st.integers(spec.ge, spec.le)


def numbers_list(most: int = 8) -> st.SearchStrategy[tuple[int, ...]]:
    return st.sets(st.integers(0, 4095), max_size=most).map(lambda found: tuple(sorted(found)))


def shares(count: int) -> st.SearchStrategy[list[int]]:
    """`count` whole numbers that make 100."""
    cuts = st.lists(st.integers(0, 100), min_size=count - 1, max_size=count - 1).map(sorted)
    return cuts.map(lambda at: [end - start for start, end in zip([0, *at], [*at, 100], strict=True)])


def splits(spec: OptionSpec) -> st.SearchStrategy[Any]:
    def of(count: int) -> st.SearchStrategy[Any]:
        sizes = st.lists(numbers(spec), min_size=count, max_size=count)
        return st.tuples(sizes, shares(count)).map(lambda both: tuple(zip(*both, strict=True)))

    return st.just(()) | st.integers(1, 6).flatmap(of)


def zoned(name: str, length: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    def of(count: int) -> st.SearchStrategy[Any]:
        lengths = st.lists(length, min_size=count, max_size=count)
        return st.tuples(shares(count), lengths).map(
            lambda both: (name, 0.0, -1.0, tuple((float(share), extent) for share, extent in zip(*both, strict=True)))
        )

    return st.integers(1, 6).flatmap(of)


def distributions() -> st.SearchStrategy[Any]:
    centre = st.just(-1.0) | finite(0, 1)
    return st.one_of(
        st.just(UNIFORM),
        st.tuples(st.just("zipf"), finite(1.5, 1e9), centre, st.just(())),
        st.tuples(st.just("pareto"), finite(1e-9, 0.99), centre, st.just(())),
        st.tuples(st.just("normal"), finite(0, 99), centre, st.just(())),
        zoned("zoned", st.integers(1, 16).map(float)),
        zoned("zoned_abs", st.integers(1, 1 << 52).map(float)),
    )


def services() -> st.SearchStrategy[Any]:
    plain = st.tuples(st.sampled_from(["roundrobin", "sequential", "random"]), st.integers(0, 999_999_999))
    named = st.sampled_from([("zipf", 0.0), ("pareto", 0.0), ("normal", 0.0), ("zipf", 1.2), ("normal", 20.0)])
    return plain | named


def deviations() -> st.SearchStrategy[Any]:
    percent = st.tuples(st.sampled_from(["iops", "bw", "lat", "iops_slope"]), finite(0, 1e6), st.just(True))
    number = st.tuples(st.sampled_from(["iops", "lat_slope"]), finite(0, 1e12), st.just(False))
    size = st.tuples(st.sampled_from(["bw", "bw_slope"]), st.integers(0, 1 << 52).map(float), st.just(False))
    return st.just(("", 0.0, False)) | percent | number | size


def offset_pattern(parts: list[bytes | None]) -> tuple[bytes, tuple[int, ...]]:
    """A pattern of these parts, of which None is an offset."""
    text, places = b"", []
    for part in parts:
        if part is None:
            places.append(len(text))
        text += bytes(8) if part is None else part
    return text, tuple(places)


def values_of(name: str) -> st.SearchStrategy[Any]:
    spec = SPECS[name]
    if spec.choices:
        return st.sampled_from(spec.choices)
    if spec.name == "replay_skip":
        return st.lists(st.sampled_from(["read", "write", "trim", "sync"]), unique=True).map(tuple)
    errors = st.lists(st.integers(1, 4095), max_size=4).map(tuple)
    bounds = st.tuples(numbers(spec), numbers(spec)).map(lambda pair: (min(pair), max(pair)))
    ranges = bounds.filter(any) | st.just((0, 0))
    nodes = numbers_list().filter(bool)
    flags = st.lists(st.sampled_from(["wait_before", "write", "wait_after"]), min_size=1, unique=True).map(tuple)
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        str: st.just(spec.default) if spec.default else texts().map(str.strip),
        int: numbers(spec),
        float: finite(spec.ge, spec.le),
        bytes: st.binary(max_size=64),
        VerifyPattern: st.lists(st.binary(max_size=9) | st.none(), max_size=5).map(offset_pattern),
        PerDirection: st.tuples(numbers(spec), numbers(spec), numbers(spec)),
        Range: bounds,
        RangePerDirection: st.tuples(ranges, ranges, ranges),
        SplitPerDirection: st.tuples(splits(spec), splits(spec), splits(spec)),
        Distribution: distributions(),
        Service: services(),
        Names: st.lists(texts(min_size=1).filter(lambda name: name.strip() != ""), max_size=4).map(tuple),
        Numbers: numbers_list(),
        Decimals: st.lists(finite(0, 100), min_size=1, max_size=20).map(tuple),
        ErrorLists: st.tuples(errors, errors, errors),
        Deviation: deviations(),
        tuple[Names, int]: st.just(((), 0)) | st.tuples(flags, st.integers(1, 10**18 - 1)),
        tuple[str, Numbers]: st.one_of(
            st.sampled_from([("", ()), ("local", ()), ("default", ())]),
            st.tuples(st.sampled_from(["bind", "interleave"]), nodes),
            st.tuples(st.just("prefer"), st.integers(0, 4095).map(lambda node: (node,))),
        ),
    }
    return kinds[spec.kind]


@pytest.mark.parametrize("name", SPECS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_an_option_reads_back_as_it_was_spelled(name: str, data: st.DataObject) -> None:
    value = data.draw(values_of(name))
    assert parse_option(name, spell_option(name, value)) == value


@pytest.mark.parametrize("name", SPECS)
def test_a_default_is_within_its_own_limits(name: str) -> None:
    assert parse_option(name, spell_option(name, SPECS[name].default)) == SPECS[name].default


@given(st.sampled_from(sorted({*SPECS, *spelling.ALIASES})), texts(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    with contextlib.suppress(OptionError):
        parse_option(name, text)


PIECES = st.sampled_from(
    ["4k", "1", "0", "-1", "%", "/", ":", ",", "-", "zipf", "zoned", "zoned_abs", "random", "iops", "EIO", "0x", "\"",
     "'", "\\", ".", "1e9", "bind", "write", "100", "all", " ", "\n", "99999999999999999999"]
)  # fmt: skip


@given(st.sampled_from(sorted(SPECS)), st.lists(PIECES, max_size=8).map("".join))
@settings(max_examples=500, deadline=None)
def test_what_looks_like_a_value_is_read_and_reads_back_or_is_refused(name: str, text: str) -> None:
    try:
        value = parse_option(name, text)
    except OptionError:
        return
    assert parse_option(name, spell_option(name, value)) == value


def test_a_pattern_may_be_the_contents_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "contents").write_bytes(b"\0" * 600)
    assert parse_option("buffer_pattern", f"'{tmp_path}/contents'") == b"\0" * 600
    (tmp_path / "contents").write_bytes(b"x" * (patterns.MAX_PATTERN_BYTES + 1))
    with pytest.raises(OptionError, match="at most 1048576"):
        parse_option("buffer_pattern", f"'{tmp_path}/contents'")


def test_a_log_without_a_name_is_named_after_the_job() -> None:
    assert parse_options({"name": "probe", "write_lat_log": ""}).write_lat_log == "probe"
    assert parse_options({"name": "probe", "write_lat_log": "mine"}).write_lat_log == "mine"
    assert parse_options({"name": "probe"}).write_lat_log == ""


def test_options_survive_json() -> None:
    options = parse_options({"rw": "randread", "rate": "1m,2m", "runtime": 5, "time_based": None})
    assert msgspec.json.decode(msgspec.json.encode(options), type=JobOptions) == options


def test_options_are_spelled_as_a_command_line_that_reads_back() -> None:
    options = parse_options({"rw": "randwrite", "bs": "64k", "runtime": "5s", "time_based": 1, "rate": "1m,2m"})
    words = spell_options(options)
    assert words == ["--rw=randwrite", "--bs=64k", "--time_based=1", "--runtime=5s", "--rate=1m,2m"]
    pairs = (word.removeprefix("--").partition("=") for word in words)
    assert parse_options({name: value for name, _, value in pairs}) == options


def test_defaults_stand_where_nothing_is_written() -> None:
    defaults = JobOptions(ioengine="io_uring", bs=(8192,) * 3)
    assert parse_options({"bs": "4k"}, defaults) == JobOptions(ioengine="io_uring", bs=(4096,) * 3)
    assert parse_options({}) == JobOptions()


def test_all_wrong_options_are_told_at_once() -> None:
    with pytest.raises(JobOptionsError) as refused:
        parse_options({"bs": 0, "iodept": 1, "rw": "read", "readwrite": "write"})
    assert [error.option for error in refused.value.errors] == ["bs", "iodept", "readwrite"]
    assert str(refused.value).split("\n") == [
        "bs: 0 is not in 1..1g",
        "iodept: is not an option; did you mean iodepth?",
        "readwrite: is the same option as rw: give one of them",
    ]


CONTRADICTIONS = [
    ({"time_based": 1}, "runtime: is missing: a time_based job needs one, such as 30s"),
    ({"ramp_time": 1}, "ramp_time: needs a runtime, such as 30s, that begins when it is over"),
    ({"thinktime_spin": 5}, "thinktime_spin: 5us is more than all of thinktime (0s)"),
    ({"size": "1k"}, "size: 1k is less than one I/O (bs is 4k)"),
    ({"io_size": "1k"}, "io_size: 1k is less than one I/O (bs is 4k)"),
    ({"offset": "8191p", "size": "8191p"}, f"size: ends beyond {MAX_INT64}, counted from offset"),
    ({"direct": 1, "bs": 1000}, "bs: 1000 is not a multiple of 512, as direct=1 needs"),
    ({"direct": 1, "offset": 100}, "offset: 100 is not a multiple of 512, as direct=1 needs"),
    ({"direct": 1, "size": "6k"}, "size: 6k is not a multiple of bs (4k), as direct=1 needs"),
    ({"rate": "1m", "rate_min": "2m"}, "rate_min: 2m for reads is above rate (1m): it could never be kept"),
    (
        {"rate_iops": "9,5", "rate_iops_min": "9,6"},
        "rate_iops_min: 6 for writes is above rate_iops (5): it could never be kept",
    ),
    ({"rate": "1m", "rate_iops": 5}, "rate_iops: excludes rate: give one of them"),
    ({"rate_min": "1m", "rate_iops_min": 5}, "rate_iops_min: excludes rate_min: give one of them"),
    ({"fsync": 1}, "fsync: is for jobs that write; rw is read"),
    ({"fdatasync": 1}, "fdatasync: is for jobs that write; rw is read"),
    ({"end_fsync": 1, "rw": "randread"}, "end_fsync: is for jobs that write; rw is randread"),
    ({"fill_device": 1}, "fill_device: is for jobs that write; rw is read"),
    ({"verify": "crc32c", "bs": 32, "rw": "write"}, "bs: 32 has no room for a verify header: at least 53"),
    (
        {"verify": "crc32c", "rw": "randrw", "rate_iops": "100", "verify_only": 1},
        "verify_only: is not for a job that reads and writes at a rate: when it did which hung on the disk's speed",
    ),
    (
        {"verify": "sha3-384", "bs": "106,159", "rw": "rw"},
        "bs: reads and writes have 53 bytes in common, which is what stands under one header: at least 97",
    ),
    (
        {"verify": "crc32c", "bs": "600,1000", "rw": "rw", "verify_offset": "500"},
        "verify_offset: 500 is not in 52..148: header and checksum take 52 bytes of the 200 under them",
    ),
    (
        {"verify": "crc32c", "fill_device": 1, "rw": "write"},
        "fill_device: together with verify is not supported yet",
    ),
    ({"size": "60%", "offset": "50%"}, "size: 60% of the target, from 50% on, is more than there is"),
    ({"bssplit": "4k", "bsrange": "4k-8k"}, "bssplit: excludes bsrange, both for reads: give one of them"),
    ({"direct": 1, "bs_unaligned": 1}, "bs_unaligned: excludes direct=1, which needs multiples of 512"),
    ({"direct": 1, "bssplit": "4k/50:1000/50"}, "bs: 1000 is not a multiple of 512, as direct=1 needs"),
    ({"direct": 1, "ba": 100}, "blockalign: 100 is not a multiple of 512, as direct=1 needs"),
    ({"zonesize": "8k"}, "zonesize: needs zonemode=strided"),
    ({"zonemode": "strided"}, "zonesize: is missing: zonemode=strided needs the bytes to transfer in a zone"),
    ({"zonemode": "strided", "zonesize": "2k"}, "zonesize: 2k is less than one I/O (bs is 4k)"),
    (
        {"random_generator": "lfsr", "random_distribution": "zipf"},
        "random_generator: lfsr visits each block once, which zipf does not: leave it out",
    ),
    (
        {"iodepth": 8, "iodepth_batch_complete": 4, "iodepth_batch_complete_max": 2},
        "iodepth_batch_complete_min: 4 is above iodepth_batch_complete_max (2)",
    ),
    (
        {"iodepth": 2, "iodepth_batch_complete": 4},
        "iodepth_batch_complete_min: 4 is above iodepth (2): so many are never in flight",
    ),
    ({"rate_process": "poisson"}, "rate_process: means nothing without rate or rate_iops"),
    ({"latency_target": 10}, "latency_window: is missing: latency_target is judged over a time, such as 5s"),
    ({"latency_window": 10}, "latency_window: means nothing without latency_target"),
    ({"max_latency": 10, "gtod_reduce": 1}, "max_latency: needs the latencies that gtod_reduce leaves out"),
    ({"ss": "iops:2%"}, "steadystate_duration: is missing: steadystate is judged over a time, such as 10s"),
    ({"ss_dur": 10}, "steadystate_duration: means nothing without steadystate"),
    ({"ss": "iops:2%", "ss_dur": 1}, "steadystate_duration: 1s has no room for two samples: at least 2s"),
    ({"zero_buffers": 1, "buffer_pattern": "1"}, "buffer_pattern: excludes zero_buffers: give one of them"),
    ({"verify_backlog": 8}, "verify_backlog: means nothing without verify"),
    (
        {"verify": "crc32c", "rw": "write", "verify_only": 1, "trim_percentage": 10, "trim_backlog": 8, "iodepth": 2},
        "verify_only: together with trim_percentage is for iodepth=1: deeper, which blocks were trimmed is not known",
    ),
    (
        {"verify": "crc32c", "rw": "write", "verify_only": 1, "time_based": 1, "runtime": 1},
        "verify_only: excludes time_based: it checks what one run wrote",
    ),
    (
        {"verify": "crc32c", "rw": "read", "verify_state_load": 1, "time_based": 1, "runtime": 1},
        "verify_state_load: excludes time_based: it checks what one run wrote",
    ),
    (
        {"verify": "crc32c", "rw": "write", "verify_state_load": 1},
        "verify_state_load: is for jobs that check what another wrote: with verify_only=1, or reading; rw is write",
    ),
    ({"rw": "read", "verify_state_load": 1}, "verify_state_load: means nothing without verify"),
    (
        {"verify": "crc32c", "rw": "read", "verify_policy": "fsynced"},
        "verify_policy: is for jobs that write; rw is read",
    ),
    (
        {"verify": "crc32c", "rw": "write", "verify_policy": "fsynced", "verify_state_save": 0},
        "verify_policy: means nothing without verify_state_save",
    ),
    (
        {"verify": "crc32c", "rw": "write", "verify_interval": "3k"},
        "bs: 4k is not a multiple of verify_interval (3k)",
    ),
    (
        {"verify": "crc32c", "rw": "write", "verify_interval": 32},
        "verify_interval: 32 has no room for a header: at least 53",
    ),
    (
        {"verify": "crc32c", "rw": "write", "bssplit": "4k:6k"},
        "bs: 6k is not a multiple of the least bs (4k)",
    ),
    (
        {"verify": "crc32c", "rw": "randwrite", "ba": "2k"},
        "blockalign: 2k is not a multiple of the least bs (4k), as verify needs",
    ),
    (
        {"verify": "crc32c", "rw": "write:1k"},
        "rw: a stride of 1k is not a multiple of the least bs (4k), as verify needs",
    ),
    ({"trim_backlog": 8}, "trim_backlog: means nothing without trim_percentage"),
    ({"replay_no_stall": 1}, "replay_no_stall: means nothing without read_iolog"),
    ({"read_iolog": "x", "replay_align": 3}, "replay_align: 3 is not a power of 2"),
    ({"log_avg_msec": 100}, "log_avg_msec: means nothing without a log, such as write_lat_log"),
    ({"write_hist_log": "x"}, "log_hist_msec: is missing: write_hist_log needs to know how often, such as 1s"),
    ({"cgroup_weight": 100}, "cgroup_weight: means nothing without cgroup"),
    ({"cpus_allowed_policy": "split"}, "cpus_allowed_policy: means nothing without cpus_allowed"),
    ({"iomem_align": 1000}, "iomem_align: 1000 is not a power of 2"),
    ({"name": "x", "wait_for": "x"}, "wait_for: x is the job itself: it would wait for ever"),
    ({"fixedbufs": 0}, "fixedbufs: is for ioengine=io_uring; this job has psync"),
    ({"ioengine": "io_uring", "hipri": 1}, "hipri: needs direct=1: only I/O past the page cache can be polled for"),
    (
        {"ioengine": "io_uring", "sqthread_poll_cpu": 1},
        "sqthread_poll_cpu: means nothing without sqthread_poll",
    ),
]


@pytest.mark.parametrize(("written", "message"), CONTRADICTIONS)
def test_options_that_contradict_each_other_are_refused(written: dict[str, object], message: str) -> None:
    with pytest.raises(JobOptionsError) as refused:
        parse_options(written)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "written",
    [
        {"time_based": 1, "runtime": 5, "ramp_time": 1},
        {"direct": 1, "bs": 512, "size": "3k", "offset": 512},
        {"rate": "1m", "rate_min": "1m"},
        {"rate_min": "1m"},
        {"rate_iops": "5", "rate_min": "1m"},
        {"rw": "write", "fsync": 1, "verify": "crc32c", "bs": 64},
        {"rw": "read", "verify": "crc32c"},
        {"rw": "write", "fill_device": 1},
        {"thinktime": 10, "thinktime_spin": 10},
        {"size": "50%", "offset": "50%"},
        {"bssplit": "4k,", "bsrange": ",4k-8k"},
        {"latency_target": 10, "latency_window": 10},
        {"ss": "iops:2%", "ss_dur": 2},
        {"verify": "crc32c", "rw": "write", "verify_interval": "8k"},
        {"verify": "crc32c", "rw": "write:8k", "bs": "8k", "verify_interval": "4k"},
        {"zonemode": "strided", "zonesize": "4k", "zoneskip": "4k"},
        {"ioengine": "io_uring", "hipri": 1, "direct": 1},
    ],
)
def test_options_at_the_edge_of_a_contradiction_are_taken(written: dict[str, object]) -> None:
    assert parse_options(written)

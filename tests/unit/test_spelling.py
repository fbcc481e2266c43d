"""Options in fio's spelling: what is read, what is refused and with which words, and what fits together."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines import spelling
from iovigil.engines.options import LONGEST_TIME_US, MAX_INT64, SPECS, JobOptions, JobOptionsError, OptionError
from iovigil.engines.quantities import parse_size, parse_time_us, spell_size, spell_time
from iovigil.engines.spelling import parse_option, parse_options, spell_option, spell_options

READ = [
    ("bs", "4k", 4096),
    ("bs", "512", 512),
    ("bs", 8192, 8192),
    ("bs", "64KiB", 65536),
    ("blocksize", "4kb", 4096),
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
    ("rate", "1m", (1 << 20, 1 << 20)),
    ("rate", "1m,2k", (1 << 20, 2048)),
    ("rate", "1m,", (1 << 20, 0)),
    ("rate", ",2k", (0, 2048)),
    ("rate", ["1m", "2k"], (1 << 20, 2048)),
    ("rate_iops", 100, (100, 100)),
    ("rate_iops", "10k", (10240, 10240)),
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
]

SIZE = "a size: a number, with k, m, g, t or p (powers of 1024), such as 64k or 1GiB"
TIME = "a time: a number, with d, h, m, s, ms or us, such as 30s"
REFUSED = [
    ("iodept", 1, "iodept: is not an option; did you mean iodepth?"),
    ("blokcsize", 1, "blokcsize: is not an option; did you mean blocksize?"),
    ("zzz", 1, "zzz: is not an option of a job"),
    ("numjobs", 2, "numjobs: is an option of fio that iovigil does not support yet"),
    ("bs", "4x", f"bs: 4x is not {SIZE}"),
    ("bs", "k", f"bs: k is not {SIZE}"),
    ("bs", "", f"bs: '' is not {SIZE}"),
    ("bs", "4 k", f"bs: '4 k' is not {SIZE}"),
    ("bs", "4k,8k", f"bs: 4k,8k is not {SIZE}"),
    ("bs", "\u0664", f"bs: \u0664 is not {SIZE}"),
    ("bs", float("nan"), f"bs: nan is not {SIZE}"),
    ("bs", 0, "bs: 0 is not in 1..1g"),
    ("bs", "2g", "bs: 2g is not in 1..1g"),
    ("bs", None, "bs: needs a value"),
    ("bs", ["4k"], "bs: takes one value, not a list"),
    ("blocksize", 0, "blocksize: 0 is not in 1..1g"),
    ("size", -1, "size: -1 is below 0"),
    ("size", "1.5", "size: 1.5 is not a whole number"),
    ("size", "50%", f"size: 50% is not {SIZE}"),
    ("size", "8192p", f"size: 8192p is above {MAX_INT64}"),
    ("size", "9" * 100, f"size: {'9' * 57}... is not {SIZE}"),
    ("iodepth", 0, "iodepth: 0 is not in 1..4096"),
    ("iodepth", "deep", "iodepth: deep is not a whole number"),
    ("runtime", "1y", f"runtime: 1y is not {TIME}"),
    ("runtime", "1:30", f"runtime: 1:30 is not {TIME}"),
    ("runtime", "1001d", "runtime: 1001d is not in 0s..1000d"),
    ("ratecycle", "500us", "ratecycle: 500us is not in 1ms..1000d"),
    ("rate", "1,2,3", "rate: takes one value for reads and one for writes: trims are not supported yet"),
    ("rate", ",", "rate: needs a value"),
    ("rate", [], "rate: needs a value"),
    ("direct", 2, "direct: 2 is neither yes nor no: write 1 or 0"),
    ("rw", "up", "rw: up is not one of read, write, randread, randwrite, rw, randrw"),
    ("verify", "md5", "verify: md5 is not one of none, crc32c"),
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


def values_of(name: str) -> st.SearchStrategy[Any]:
    spec = SPECS[name]
    if spec.choices:
        return st.sampled_from(spec.choices)
    if spec.kind is bool:
        return st.booleans()
    if spec.kind is str:
        return st.just(spec.default)
    numbers = st.integers(spec.ge, spec.le)
    return numbers if spec.kind is int else st.tuples(numbers, numbers)


@pytest.mark.parametrize("name", SPECS)
@given(data=st.data())
def test_an_option_reads_back_as_it_was_spelled(name: str, data: st.DataObject) -> None:
    value = data.draw(values_of(name))
    assert parse_option(name, spell_option(name, value)) == value


@pytest.mark.parametrize("name", SPECS)
def test_a_default_is_within_its_own_limits(name: str) -> None:
    assert parse_option(name, spell_option(name, SPECS[name].default)) == SPECS[name].default


def test_an_option_that_is_there_is_not_said_to_be_missing_from_fio() -> None:
    assert not set(spelling.NOT_YET) & {*SPECS, *spelling.ALIASES}


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
    defaults = JobOptions(ioengine="io_uring", bs=8192)
    assert parse_options({"bs": "4k"}, defaults) == JobOptions(ioengine="io_uring", bs=4096)
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
    (
        {"verify": "crc32c", "rw": "randrw"},
        "verify: of mixed jobs is not supported yet; rw is randrw: use write or randwrite",
    ),
    ({"verify": "crc32c", "bs": 32, "rw": "write"}, "bs: 32 has no room for a verify header: at least 64"),
    (
        {"verify": "crc32c", "fill_device": 1, "rw": "write"},
        "fill_device: together with verify is not supported yet",
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
    ],
)
def test_options_at_the_edge_of_a_contradiction_are_taken(written: dict[str, object]) -> None:
    assert parse_options(written)

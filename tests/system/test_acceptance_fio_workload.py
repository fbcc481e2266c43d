"""Which I/O a job makes, of fio and of ours: offsets, lengths, directions, and how much of each."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Sequence

import pytest
from fio_and_ours import Program, moved
from raw_logs import DDIRS, Line

KIB = 1 << 10
BLOCK = 4 * KIB
LOGGED = "ioengine=null\nwrite_bw_log=log\nlog_offset=1\n"


def runs_score(values: Sequence[int]) -> float:
    """How many standard deviations the runs above and below the median are from those of a random order."""
    middle = statistics.median(values)
    above = [value > middle for value in values if value != middle]
    high = sum(above)
    low = len(above) - high
    runs = 1 + sum(one != other for one, other in itertools.pairwise(above))
    expected = 1 + 2 * high * low / (high + low)
    variance = (expected - 1) * (expected - 2) / (high + low - 1)
    return (runs - expected) / math.sqrt(variance)


def test_lengths_that_do_not_divide_the_size_come_to_an_end(program: Program) -> None:
    ran = program.run(job="[odd]\nfilename=data\nsize=1m\nrw=write\nbsrange=20000-20000\nioengine=psync\n")
    assert ran.job["error"] == 0
    # fio leaves out what is left of the size; both are within one I/O of it.
    assert (1 << 20) - 20000 < ran.job["write"]["io_bytes"] <= 1 << 20


def test_a_stride_skips_and_ends_before_a_block_that_would_not_fit(program: Program) -> None:
    ran = program.run(job="[stride]\nrw=read:16k\nbs=32k\nsize=4m\n" + LOGGED)
    assert ran.job["read"]["io_kbytes"] == 85 * 32
    assert ran.offsets() == [n * 48 * KIB for n in range(85)]


def test_a_sequential_job_visits_every_block_in_order(program: Program) -> None:
    ran = program.run(job="[seq]\nrw=write\nbs=4k\nsize=1m\n" + LOGGED)
    assert ran.offsets() == [n * BLOCK for n in range(256)]


@pytest.mark.parametrize("generator", ["tausworthe", "tausworthe64", "lfsr"])
def test_a_random_job_visits_every_block_once_in_no_order(program: Program, generator: str) -> None:
    ran = program.run(job=f"[rand]\nrw=randread\nbs=4k\nsize=1m\nrandom_generator={generator}\n{LOGGED}")
    offsets = ran.offsets()
    assert sorted(offsets) == [n * BLOCK for n in range(256)]
    assert abs(runs_score(offsets)) < 3


def test_our_own_choice_of_generator_visits_every_block_once_in_no_order(ours: Program) -> None:
    offsets = ours.run(job="[rand]\nrw=randwrite\nbs=4k\nsize=1m\n" + LOGGED).offsets()
    assert sorted(offsets) == [n * BLOCK for n in range(256)]
    assert abs(runs_score(offsets)) < 3


def test_without_a_map_blocks_repeat_and_the_order_is_still_none(program: Program) -> None:
    offsets = program.run(job="[rand]\nrw=randread\nbs=4k\nsize=1m\nnorandommap=1\n" + LOGGED).offsets()
    assert len(offsets) == 256
    assert len(set(offsets)) < 256
    assert set(offsets) <= {n * BLOCK for n in range(256)}
    consecutive = sum(after == before + BLOCK for before, after in itertools.pairwise(offsets))
    assert consecutive <= 10
    assert abs(runs_score(offsets)) < 3


def trims_and_writes(lines: Sequence[Line]) -> list[tuple[Line, Line]]:
    assert [DDIRS[line.ddir] for line in lines] == ["trim", "write"] * (len(lines) // 2)
    return list(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize("rw", ["trimwrite", "randtrimwrite"])
@pytest.mark.parametrize("lengths", ["bs=4k", "bsrange=512-4k", "bssplit=512/25:1k/25:2k/25:4k/25"])
def test_each_trim_is_followed_by_a_write_of_the_same_place(program: Program, rw: str, lengths: str) -> None:
    form = "norandommap=1\n" if rw == "randtrimwrite" and lengths != "bs=4k" else ""
    ran = program.run(job=f"[trims]\nrw={rw}\n{lengths}\nsize=1m\n{form}{LOGGED}")
    pairs = trims_and_writes(ran.log("log_bw.1.log", offset=True))
    assert pairs
    assert all((trim.offset, trim.bs) == (write.offset, write.bs) for trim, write in pairs)
    assert ran.job["trim"]["io_bytes"] == ran.job["write"]["io_bytes"]
    if lengths == "bs=4k":
        assert {trim.offset for trim, _ in pairs} == {n * BLOCK for n in range(256)}
    elif rw == "trimwrite":
        ends = [trim.offset + trim.bs for trim, _ in pairs]
        assert [trim.offset for trim, _ in pairs] == [0, *ends[:-1]]
    if lengths != "bs=4k":
        assert len({trim.bs for trim, _ in pairs}) > 2


@pytest.mark.parametrize("engine", ["psync", pytest.param("io_uring", marks=pytest.mark.requires_io_uring), "libaio"])
def test_a_timed_random_job_of_both_directions_runs(program: Program, engine: str) -> None:
    job = "[mix]\nfilename=data\nsize=1m\nrw=randrw\nbs=4k\niodepth=8\ntime_based=1\nruntime=1\n"
    ran = program.run(job=f"{job}ioengine={engine}\n")
    assert ran.job["error"] == 0
    assert ran.job["read"]["total_ios"] > 0
    assert ran.job["write"]["total_ios"] > 0
    assert ran.job["job_runtime"] >= 1000


def seeded_offsets(program: Program, name: str, options: str) -> list[int]:
    log = f"log-{name}"
    common = f"ioengine=null\nrw=randread\nbs=4k\nsize=256k\nwrite_bw_log={log}\nlog_offset=1\n"
    return program.run(job=f"[{name}]\n{common}{options}").offsets(f"{log}_bw.1.log")


@pytest.mark.parametrize("repeats", ["", "randrepeat=1\n", "randrepeat=0\nallrandrepeat=1\n", "allrandrepeat=1\n"])
def test_repeated_seeds_make_the_same_choices_again(program: Program, repeats: str) -> None:
    assert seeded_offsets(program, "a", repeats) == seeded_offsets(program, "b", repeats)


def test_seeds_that_are_not_repeated_differ(program: Program) -> None:
    assert seeded_offsets(program, "a", "randrepeat=0\n") != seeded_offsets(program, "b", "randrepeat=0\n")


def test_a_seed_of_its_own_is_the_same_again_and_unlike_another(ours: Program) -> None:
    """fio 3.33 chooses offsets without regard to randseed unless randrepeat=0; later ones do as we do."""
    first, again, other = (
        seeded_offsets(ours, name, f"randseed={seed}\n") for name, seed in (("a", 1234), ("b", 1234), ("c", 4321))
    )
    assert first == again
    assert first != other


def test_clones_make_choices_of_their_own(program: Program) -> None:
    ran = program.run(
        job="[c]\nioengine=null\nrw=randread\nbs=4k\nsize=256k\nnumjobs=2\nwrite_bw_log=log\nlog_offset=1\n"
    )
    first, second = (ran.offsets(f"log_bw.{number}.log") for number in (1, 2))
    assert sorted(first) == sorted(second)
    assert first != second


ZONES = {
    # name: (options, zones as (start, length))
    "half of each": ("size=1m\nzonesize=64k\nzonerange=128k\n", [(n * 128 * KIB, 64 * KIB) for n in range(8)]),
    "all of each": ("size=1m\nzonesize=128k\nzonerange=128k\n", [(n * 128 * KIB, 128 * KIB) for n in range(8)]),
    "with gaps": (
        "size=1m\nzonesize=64k\nzonerange=64k\nzoneskip=64k\n",
        [(n * 128 * KIB, 64 * KIB) for n in range(8)],
    ),
    "of an offset": (
        "offset=1m\nsize=512k\nzonesize=64k\nzonerange=64k\n",
        [((1 << 20) + n * 64 * KIB, 64 * KIB) for n in range(8)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("rw", ["read", "randread"])
@pytest.mark.parametrize("name", ZONES)
def test_strided_zones_hold_the_offsets(program: Program, rw: str, name: str) -> None:
    options, zones = ZONES[name]
    total = sum(length for _, length in zones)
    ran = program.run(job=f"[z]\nzonemode=strided\nrw={rw}\nbs=4k\nio_size={total}\nfilesize=4m\n{options}{LOGGED}")
    lines = ran.log("log_bw.1.log", offset=True)
    assert len(lines) == total // BLOCK
    # A zone after the other; of a zone that is larger than what is read of it, any part.
    starts = sorted(start for start, _ in zones)
    pitch = starts[1] - starts[0]
    per_zone = Counter((line.offset - starts[0]) // pitch for line in lines)
    assert per_zone == dict.fromkeys(range(len(zones)), zones[0][1] // BLOCK)
    if name != "half of each" or rw == "read":
        assert sorted({line.offset for line in lines}) == sorted(
            offset for start, length in zones for offset in range(start, start + length, BLOCK)
        )
    if rw == "read":
        assert [line.offset for line in lines] == sorted(line.offset for line in lines)


@pytest.mark.requires_fio
@pytest.mark.parametrize(
    "options",
    [
        "rw=read\nbs=4k\nsize=1m",
        "rw=write\nbs=16k\nsize=1m\nio_size=2m",
        "rw=randwrite\nbs=8k\nsize=1m\nio_size=512k",
        "rw=read\nbs=64k\nsize=1m\noffset=512k",
        "rw=read\nbs=4k\nsize=1m\nnumber_ios=17",
        "rw=write\nbs=4k\nsize=256k\nloops=3",
        "rw=randread:4\nbs=4k\nsize=1m\nnumber_ios=64",
        "rw=trim\nbs=4k\nsize=1m",
        "rw=randtrim\nbs=4k\nsize=1m",
        "rw=read:-8k\nbs=4k\nsize=1m\nnumber_ios=32",
        "rw=trimwrite\nbs=4k\nsize=1m",
        "rw=randread\nbs=4k\nsize=1m\nrandom_generator=tausworthe",
        "rw=randread\nbs=4k\nsize=1m\nrandom_generator=tausworthe\nrandrepeat=0\nallrandrepeat=1",
        "rw=randwrite\nbs=4k\nsize=1m\nrandom_generator=tausworthe\nnorandommap=1\nio_size=2m",
    ],
)
def test_both_count_the_same(both: tuple[Program, Program], options: str) -> None:
    ours, theirs = (program.run(job=f"[j]\n{LOGGED}{options}\n") for program in both)
    assert moved(ours.job) == moved(theirs.job)
    if "rw=rand" not in options or "tausworthe" in options:
        assert ours.offsets() == theirs.offsets()
    elif ":" not in options and "io_size" not in options:
        assert sorted(ours.offsets()) == sorted(theirs.offsets())

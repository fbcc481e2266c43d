"""What comes next, whatever the options: inside the region, each block as often as it should, in its shares."""

import itertools
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from iovigil.engines.options import JobOptions
from iovigil.engines.workload import Workload

KIB, MIB, TIB = 1024, 1 << 20, 1 << 40
READ, WRITE, TRIM = 0, 1, 2
BLOCK = 4 * KIB
GENERATORS = ["auto", "tausworthe", "tausworthe64", "lfsr"]


def workload(*files: tuple[int, int], seed: int = 1, **options: Any) -> Workload:
    return Workload(JobOptions(**options).native(), files or [(0, MIB)], seed)


def blocks(work: Workload, count: int = 1 << 20, bs: int = BLOCK) -> list[int]:
    return [offset // bs for _, _, offset, _ in work.draw(count)]


# What may be put together freely.
LENGTHS = st.one_of(
    st.sampled_from([512, 3 * KIB, BLOCK, 16 * KIB]).map(lambda bs: {"bs": (bs,) * 3}),
    st.tuples(st.integers(1, 8), st.integers(0, 40)).map(
        lambda drawn: {"bsrange": ((512 * drawn[0], 512 * drawn[0] + 100 * drawn[1]),) * 3}
    ),
    st.sampled_from([((BLOCK, 30), (16 * KIB, 70)), ((512, 1), (20 * KIB, 99)), ((3 * KIB, 50), (8 * KIB, 50))]).map(
        lambda split: {"bssplit": (split,) * 3}
    ),
)
DISTRIBUTIONS = st.sampled_from(
    [("random", 0.0, -1.0, ())] * 4
    + [
        ("zipf", 1.2, -1.0, ()),
        ("zipf", 1.0, 0.5, ()),
        ("pareto", 0.2, 0.9, ()),
        ("normal", 20.0, -1.0, ()),
        ("zoned", 0.0, -1.0, ((60.0, 10.0), (30.0, 20.0), (10.0, 70.0))),
        ("zoned_abs", 0.0, -1.0, ((60.0, 40960.0), (40.0, 1e6))),
    ]
)
ZONES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({}),
    st.tuples(st.sampled_from([1, 32 * KIB, 100_000]), st.sampled_from([32 * KIB, 50_000]), st.integers(0, 40_000)).map(
        lambda drawn: {"zonemode": "strided", "zonesize": drawn[0], "zonerange": drawn[1], "zoneskip": drawn[2]}
    ),
)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    direction = draw(st.sampled_from(["read", "write", "rw", "trim", "trimwrite"]))
    is_random = draw(st.booleans())
    rw = f"rand{direction}" if is_random else direction
    number = draw(
        st.sampled_from([0, 0, 2, 7]) if is_random else st.sampled_from([0, 0, 3072, -8192, 100_000, -12_345])
    )
    return {
        "rw": f"{rw}:{number}" if number else rw,
        "norandommap": draw(st.booleans()),
        "random_generator": draw(st.sampled_from(GENERATORS)),
        "random_distribution": draw(DISTRIBUTIONS),
        "percentage_random": (draw(st.sampled_from([0, 50, 100, 100])),) * 3,
        "rw_sequencer": draw(st.sampled_from(["sequential", "identical"])),
        "blockalign": (draw(st.sampled_from([0, 0, 0, 512, 16 * KIB])),) * 3,
        "bs_unaligned": draw(st.booleans()),
        "file_service_type": draw(
            st.sampled_from([("roundrobin", 0), ("sequential", 0), ("random", 3), ("zipf", 0), ("normal", 20)])
        ),
        **draw(LENGTHS),
        **draw(ZONES),
    }


FILES = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(60_000, 400_000)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=400)
@given(jobs(), FILES, st.integers(0, (1 << 64) - 1))
def test_no_io_leaves_its_region_and_every_length_is_one_that_was_asked_for(
    options: dict[str, Any], files: list[tuple[int, int]], seed: int
) -> None:
    chosen = JobOptions(**options)
    work = workload(*files, seed=seed, **options)
    ios = work.draw(300)
    assert ios
    least, most = chosen.lengths[0]
    for _, file, offset, length in ios:
        start, room = files[file]
        assert start <= offset
        assert offset + length <= start + room
        assert least <= length <= most
    work.rewind()
    assert work.draw(300) == ios


@settings(deadline=None, max_examples=100)
@given(jobs(), FILES)
def test_another_pass_goes_on_where_one_has_no_more(options: dict[str, Any], files: list[tuple[int, int]]) -> None:
    work = workload(*files, **options)
    for _ in range(3):
        assert work.draw(50)
        work.next_pass()
        assert work.draw(1)
        work.next_pass()


@settings(deadline=None, max_examples=200)
@given(jobs(), FILES)
def test_what_is_verified_keeps_to_the_intervals_of_its_headers(
    options: dict[str, Any], files: list[tuple[int, int]]
) -> None:
    options = {**options, "verify": "crc32c"}
    interval = JobOptions(**options).lengths[0][0]
    try:
        work = workload(*files, **options)
    except ValueError:
        assume(False)
    for _, file, offset, length in work.draw(300):
        assert (offset - files[file][0]) % interval == 0
        assert length % interval == 0


@settings(deadline=None, max_examples=100)
@given(LENGTHS, st.sampled_from(GENERATORS), st.integers(20_000, 600_000), st.integers(0, 1000))
def test_a_random_pass_visits_every_block_once(lengths: dict[str, Any], generator: str, length: int, seed: int) -> None:
    options: dict[str, Any] = {"rw": "randread", "random_generator": generator, **lengths}
    least = JobOptions(**options).lengths[0][0]
    assume(length >= least)
    work = workload((0, length), seed=seed, **options)
    seen: Counter[int] = Counter()
    for _, _, offset, length_drawn in work.draw(1 << 20):
        assert offset % least == 0
        seen.update(range(offset // least, (offset + length_drawn + least - 1) // least))
    assert seen == Counter(dict.fromkeys(range(length // least), 1))
    work.next_pass()
    assert work.draw(1)


@pytest.mark.parametrize("generator", GENERATORS)
def test_another_pass_has_another_order(generator: str) -> None:
    work = workload(rw="randread", random_generator=generator, bs=(512,) * 3)
    first = blocks(work, bs=512)
    work.next_pass()
    second = blocks(work, bs=512)
    assert sorted(first) == sorted(second) == list(range(2048))
    assert first != second


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("is_mapped", [True, False])
@pytest.mark.parametrize("count", [20, 256])
def test_the_order_has_as_many_runs_as_chance_gives(generator: str, is_mapped: bool, count: int) -> None:
    """Wald and Wolfowitz's test at 5 %, for twenty seeds: about one of them may fail."""
    failed = 0
    for seed in range(1, 21):
        options: dict[str, Any] = {"rw": "randread", "random_generator": generator, "norandommap": not is_mapped}
        order = blocks(workload((0, count * BLOCK), seed=seed, randseed=seed, **options), count)
        middle = sorted(order)[count // 2]
        above = [block >= middle for block in order]
        high, low = sum(above), count - sum(above)
        runs = 1 + sum(a != b for a, b in itertools.pairwise(above))
        expected = 2 * high * low / count + 1
        deviation = math.sqrt((expected - 1) * (expected - 2) / (count - 1))
        failed += abs(runs - expected) > 1.96 * deviation
    assert failed <= 5


def test_norandommap_draws_freely() -> None:
    order = blocks(workload(rw="randread", norandommap=True), 256)
    assert len(set(order)) < 256
    assert len(blocks(workload(rw="randread", norandommap=True), 10_000)) == 10_000


def test_a_huge_region_needs_no_map() -> None:
    for generator in ("auto", "lfsr"):
        order = blocks(workload((0, 1 << 60), rw="randread", random_generator=generator), 1000)
        assert len(set(order)) == 1000
        assert max(order) > 1 << 46


def test_a_map_for_which_there_is_no_memory_is_an_error_or_left_out() -> None:
    options: dict[str, Any] = {"rw": "randread", "random_generator": "tausworthe64", "bs": (512,) * 3}
    with pytest.raises(MemoryError, match="softrandommap"):
        workload((0, 1 << 62), **options)
    assert len(workload((0, 1 << 62), softrandommap=True, **options).draw(100)) == 100


def test_more_blocks_than_32_bits_can_tell_are_all_within_reach() -> None:
    work = workload((0, 64 * TIB), rw="randread", random_generator="tausworthe", norandommap=True, bs=(512,) * 3)
    assert len({block % 64 for block in blocks(work, 1000, 512)}) == 64


def test_a_mixed_job_visits_every_block_once_for_both_directions() -> None:
    ios = workload(rw="randrw", rwmixread=30, bsrange=((BLOCK, 16 * KIB),) * 3).draw(1 << 20)
    assert sum(length for *_, length in ios) == MIB
    assert {ddir for ddir, *_ in ios} == {READ, WRITE}


def test_directions_of_different_lengths_share_a_map() -> None:
    ios = workload(rw="randrw", bs=(BLOCK, 12 * KIB, BLOCK), random_generator="tausworthe").draw(1 << 20)
    touched = Counter(at for _, _, offset, length in ios for at in range(offset, offset + length, BLOCK))
    assert set(touched.values()) == {1}
    assert all(offset % (12 * KIB) == 0 and length == 12 * KIB for ddir, _, offset, length in ios if ddir == WRITE)


@pytest.mark.parametrize("rwmixread", [0, 25, 50, 100])
@pytest.mark.parametrize("options", [{}, {"bsrange": ((BLOCK, 8 * KIB),) * 3}])
def test_reads_have_their_share(rwmixread: int, options: dict[str, Any]) -> None:
    ios = workload(rw="randrw", rwmixread=rwmixread, norandommap=True, **options).draw(20_000)
    assert sum(ddir == READ for ddir, *_ in ios) / 200 == pytest.approx(rwmixread, abs=2)


@pytest.mark.parametrize("rw", ["trimwrite", "randtrimwrite"])
def test_every_trim_is_followed_by_the_write_of_the_same_piece(rw: str) -> None:
    ios = workload((0, MIB), (MIB, MIB), rw=rw, bsrange=((BLOCK, 16 * KIB),) * 3).draw(1 << 20)
    assert [ddir for ddir, *_ in ios] == [TRIM, WRITE] * (len(ios) // 2)
    assert [io[1:] for io in ios[::2]] == [io[1:] for io in ios[1::2]]
    assert sum(length for *_, length in ios) == 4 * MIB


def test_lengths_of_a_split_have_their_shares() -> None:
    split = ((BLOCK, 10), (8 * KIB, 60), (64 * KIB, 30))
    ios = workload((0, TIB), rw="randrw", norandommap=True, bssplit=(split, ((512, 100),), ())).draw(40_000)
    reads = Counter(length for ddir, _, _, length in ios if ddir == READ)
    assert {length for ddir, _, _, length in ios if ddir == WRITE} == {512}
    for length, share in split:
        assert 100 * reads[length] / reads.total() == pytest.approx(share, abs=1.5)


def test_verified_lengths_are_multiples_of_the_interval() -> None:
    for interval in (0, 512):
        work = workload(
            rw="randwrite", verify="crc32c", verify_interval=interval, bsrange=((KIB, 5000),) * 3, bs_unaligned=True
        )
        lengths = {length for *_, length in work.draw(1 << 20)}
        assert lengths == {length for length in lengths if length % (interval or KIB) == 0}
        assert len(lengths) > 1


@pytest.mark.parametrize(
    ("options", "interval"),
    [
        ({}, BLOCK),
        ({"verify_interval": KIB}, KIB),
        ({"verify_interval": 8 * KIB}, BLOCK),
        ({"bs": (BLOCK, 6 * KIB, BLOCK), "rw": "randrw"}, 2 * KIB),
        ({"verify": "none"}, 1),
    ],
)
def test_an_interval_is_as_asked_but_divides_every_length(options: dict[str, Any], interval: int) -> None:
    assert workload(**{"rw": "randwrite", "verify": "crc32c", **options}).interval == interval


@pytest.mark.parametrize(
    "options",
    [
        {"verify_interval": 3000},
        {"rw": "write:1000"},
        {"rw": "randwrite", "blockalign": (512, 512, 512)},
        {"rw": "write", "zonemode": "strided", "zonesize": 10_000},
    ],
)
def test_what_does_not_keep_to_the_interval_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="verify header"):
        workload(verify="crc32c", **options)


ZONED: dict[str, Any] = {"zonemode": "strided", "zonesize": 32 * KIB, "zonerange": 16 * KIB, "zoneskip": 48 * KIB}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("rw", ["read", "randread", "randrw", "rw"])
@pytest.mark.parametrize("bs", [BLOCK, 6 * KIB, 16 * KIB])
def test_zones_are_kept_to(rw: str, bs: int, generator: str) -> None:
    start = 3 * MIB + 512
    ios = workload((start, MIB), rw=rw, bs=(bs,) * 3, random_generator=generator, **ZONED).draw(1000)
    zones = [(offset - start) // (64 * KIB) for _, _, offset, _ in ios]
    assert all((offset - start) % (64 * KIB) + length <= 16 * KIB for _, _, offset, length in ios)
    per_zone = [(zone, len(list(some))) for zone, some in itertools.groupby(zones)]
    assert [zone for zone, _ in per_zone] == [index % 16 for index in range(len(per_zone))]
    assert {count for _, count in per_zone[:-1]} == {-(-32 * KIB // bs)}
    if rw == "randread" and bs == BLOCK:
        for visit in range(0, 992, 4):  # a zone twice: each block once, and once more
            assert len({offset for _, _, offset, _ in ios[visit : visit + 4]}) == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"zonemode": "strided"}, "zonesize"),
        ({"zonemode": "strided", "zonesize": 2048}, "zonerange: 2048"),
        ({"zonemode": "strided", "zonesize": 2 * MIB}, "more than the 1048576 bytes"),
        ({"rw": "randread:-3"}, "rw: -3"),
        ({"rw": "randread", "random_distribution": ("pareto", 1.5, -1.0, ())}, "pareto"),
        ({"rw": "randread", "random_distribution": ("normal", 120.0, -1.0, ())}, "normal"),
        ({"rw": "randread", "random_distribution": ("zoned", 0.0, -1.0, ())}, "zoned"),
        ({"rw": "randread", "random_distribution": ("sorted", 0.0, -1.0, ())}, "sorted"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        workload(**options)


def test_a_file_that_has_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="size: 100 bytes"):
        workload((0, MIB), (0, 100), rw="read")


def test_the_first_rank_of_zipf_has_its_share_and_the_centre() -> None:
    count, theta = 1000, 1.2
    zeta = sum(rank**-theta for rank in range(1, count + 1))
    order = blocks(workload((0, count * BLOCK), rw="randread", random_distribution=("zipf", theta, 0.25, ())), 100_000)
    shares = [times / len(order) for _, times in Counter(order).most_common(50)]
    assert Counter(order).most_common(1)[0][0] == 250
    for rank, share in enumerate(shares[:5], 1):
        assert share == pytest.approx(rank**-theta / zeta, rel=0.06)
    assert sum(shares) == pytest.approx(sum(rank**-theta for rank in range(1, 51)) / zeta, rel=0.02)


@pytest.mark.parametrize("theta", [0.3, 1.0, 2.5])
def test_zipf_is_exact_for_any_theta(theta: float) -> None:
    count = 50
    weights = [rank**-theta for rank in range(1, count + 1)]
    drawn = Counter(
        blocks(workload((0, count * BLOCK), rw="randread", random_distribution=("zipf", theta, -1.0, ())), 50_000)
    )
    expected = [weight / sum(weights) * drawn.total() for weight in weights]
    chi = sum(
        (n - e) ** 2 / e
        for n, e in zip(sorted(drawn.values(), reverse=True), expected[: len(drawn)], strict=True)
        if e > 20
    )
    assert chi < 110  # of at most 49 degrees of freedom, and sorting makes it smaller


def test_pareto_gives_a_fifth_of_the_blocks_most_of_the_ios() -> None:
    drawn = Counter(
        blocks(workload((0, 10_000 * BLOCK), rw="randread", random_distribution=("pareto", 0.2, -1.0, ())), 100_000)
    )
    hottest = sum(times for _, times in drawn.most_common(2000))
    assert hottest / drawn.total() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("deviation", "centre"), [(10.0, -1.0), (5.0, 0.25)])
def test_normal_has_its_deviation_and_its_centre(deviation: float, centre: float) -> None:
    order = blocks(
        workload((0, 1000 * BLOCK), rw="randread", random_distribution=("normal", deviation, centre, ())), 50_000
    )
    mean = sum(order) / len(order)
    assert mean == pytest.approx(1000 * (0.5 if centre < 0 else centre), abs=2)
    assert math.sqrt(sum((at - mean) ** 2 for at in order) / len(order)) == pytest.approx(10 * deviation, rel=0.02)


@pytest.mark.parametrize(
    ("name", "zones"),
    [
        ("zoned", ((60.0, 10.0), (30.0, 20.0), (10.0, 70.0))),
        ("zoned_abs", ((60.0, 100.0 * BLOCK), (30.0, 200.0 * BLOCK), (10.0, 700.0 * BLOCK))),
    ],
)
def test_zones_of_a_distribution_have_their_shares(name: str, zones: tuple[tuple[float, float], ...]) -> None:
    options: dict[str, Any] = {"rw": "randread", "random_distribution": (name, 0.0, -1.0, zones)}
    order = blocks(workload((0, 1000 * BLOCK), **options), 50_000)
    for share, first, end in ((60, 0, 100), (30, 100, 300), (10, 300, 1000)):
        inside = Counter(block for block in order if first <= block < end)
        assert inside.total() / 500 == pytest.approx(share, abs=1)
        assert len(inside) == end - first


def test_percentage_random_has_its_share() -> None:
    ios = workload((0, TIB), rw="randread", norandommap=True, percentage_random=(30, 100, 100)).draw(20_000)
    following = sum(b[2] == a[2] + a[3] for a, b in itertools.pairwise(ios))
    assert following / 200 == pytest.approx(70, abs=2)


def test_every_file_is_read_to_its_end_whatever_the_order() -> None:
    files = [(0, 64 * KIB), (MIB, 20 * KIB), (0, 256 * KIB)]
    for service in ("roundrobin", "sequential", "random"):
        for turn, rw in itertools.product((0, 5), ("read", "randread")):
            ios = workload(*files, rw=rw, file_service_type=(service, turn)).draw(1000)
            expected = {
                (file, at) for file, (start, length) in enumerate(files) for at in range(start, start + length, BLOCK)
            }
            assert len(ios) == len(expected)
            assert {(file, offset) for _, file, offset, _ in ios} == expected


def test_without_a_map_files_in_sequence_have_their_bytes_each_and_begin_again() -> None:
    work = workload(*[(0, 64 * KIB)] * 3, rw="randread", norandommap=True, file_service_type=("sequential", 0))
    assert [file for _, file, _, _ in work.draw(64)] == [0] * 16 + [1] * 16 + [2] * 16 + [0] * 16


def test_files_have_the_shares_of_their_distribution() -> None:
    options: dict[str, Any] = {"rw": "randread", "norandommap": True}
    files = [(0, MIB)] * 8
    normal = Counter(io[1] for io in workload(*files, file_service_type=("normal", 10), **options).draw(20_000))
    assert normal.most_common(2)[0][0] in (3, 4)
    assert normal[0] + normal[7] < 40
    zipf = Counter(io[1] for io in workload(*files, file_service_type=("zipf", 0), **options).draw(20_000))
    weights = [rank**-1.1 for rank in range(1, 9)]
    assert zipf.most_common(1)[0][1] / 20_000 == pytest.approx(weights[0] / sum(weights), abs=0.02)


def test_the_seed_decides() -> None:
    for generator in GENERATORS:
        for lengths in ({}, {"bsrange": ((BLOCK, 8 * KIB),) * 3}):
            options: dict[str, Any] = {"rw": "randread", "random_generator": generator, "randrepeat": False, **lengths}
            assert workload(seed=7, **options).draw(256) == workload(seed=7, **options).draw(256)
            assert workload(seed=7, **options).draw(256) != workload(seed=8, **options).draw(256)


def test_randseed_changes_offsets_of_fios_generator_too() -> None:
    options: dict[str, Any] = {"rw": "randread", "random_generator": "tausworthe"}
    assert workload(randseed=7, **options).draw(256) != workload(randseed=8, **options).draw(256)
    assert workload(randseed=7, **options).draw(256) == workload(randseed=7, **options).draw(256)


@pytest.mark.parametrize(
    "options", [{}, {"rw": "randread"}, {"rw": "randrw"}, {"rw": "trim"}, {"rw": "randwrite", "norandommap": True}]
)
def test_the_ordinary_job_is_drawn_inline(options: dict[str, Any]) -> None:
    assert workload(**options).is_plain
    assert not workload(rw="randread", bssplit=(((BLOCK, 50), (8 * KIB, 50)),) * 3).is_plain
    assert not workload((0, MIB), (0, MIB), **options).is_plain

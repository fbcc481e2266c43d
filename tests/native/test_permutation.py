"""A random job's order: every block once, and no pattern in it that a disk could profit from."""

import itertools
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.engines.permutation import Permutation

SIZES = [*range(1, 301), 1023, 1024, 1025, 4094, 4095, 4096, 4097, 4098, 8191, 8192, 8193, 65535, 65537]
LARGE_SIZES = [(1 << 20) - 1, 1 << 20, (1 << 20) + 1]
SPREAD_SIZES = [300, 4095, 4096, 4097, 10_000, 65_536, 100_003]


def order(count: int, seed: int) -> list[int]:
    permutation = Permutation(count, seed)
    return [permutation[index] for index in range(count)]


@pytest.mark.parametrize("seed", [0, 1, 0x89, (1 << 64) - 1])
def test_every_block_comes_exactly_once(seed: int) -> None:
    for count in SIZES:
        assert sorted(order(count, seed)) == list(range(count)), count


@pytest.mark.parametrize("count", LARGE_SIZES)
def test_every_block_of_a_large_region_comes_exactly_once(count: int) -> None:
    seen = bytearray(count)
    permutation = Permutation(count, 7)
    for index in range(count):
        seen[permutation[index]] += 1
    assert seen == b"\1" * count


@settings(deadline=None)
@given(st.integers(4096, 1 << 62), st.integers(0, (1 << 64) - 1), st.data())
def test_huge_regions_stay_inside_and_do_not_collide(count: int, seed: int, data: st.DataObject) -> None:
    permutation = Permutation(count, seed)
    indices = data.draw(st.lists(st.integers(0, count - 1), unique=True, min_size=2, max_size=50))
    blocks = [permutation[index] for index in indices]
    assert all(0 <= block < count for block in blocks)
    assert len(set(blocks)) == len(blocks)


@pytest.mark.parametrize("count", SPREAD_SIZES)
def test_another_seed_gives_another_order(count: int) -> None:
    same = sum(a == b for a, b in zip(order(count, 1), order(count, 2), strict=True))
    # Of two independent orders one place agrees on average, whatever their length.
    assert same < 12


@pytest.mark.parametrize("count", [2, 3, 5])
def test_small_regions_take_every_order(count: int) -> None:
    assert len({tuple(order(count, seed)) for seed in range(1000)}) == math.factorial(count)


@pytest.mark.parametrize("seed", [0, 1, 0x89, 12345])
@pytest.mark.parametrize("count", SPREAD_SIZES)
def test_neighbours_in_the_order_are_not_near_each_other(count: int, seed: int) -> None:
    blocks = order(count, seed)
    # Standard error of a correlation of noise: 1 / sqrt(n). A disk would not notice a few per cent in a large region.
    limit = max(4.5 / math.sqrt(count), 0.03)
    assert abs(statistics.correlation(blocks[:-1], blocks[1:])) < limit
    assert abs(statistics.correlation(blocks, range(count))) < limit
    sequential = sum(b - a == 1 for a, b in itertools.pairwise(blocks))
    assert sequential < 12  # one is to be expected


@pytest.mark.parametrize("seed", [0, 1, 0x89, 12345])
@pytest.mark.parametrize("count", SPREAD_SIZES)
def test_the_runs_above_and_below_the_middle_are_as_many_as_of_chance(count: int, seed: int) -> None:
    """Wald and Wolfowitz's test."""
    above = [block >= count // 2 for block in order(count, seed)]
    high, low = sum(above), count - sum(above)
    runs = 1 + sum(a != b for a, b in itertools.pairwise(above))
    expected = 2 * high * low / count + 1
    deviation = math.sqrt((expected - 1) * (expected - 2) / (count - 1))
    assert abs(runs - expected) < 4.5 * deviation


@pytest.mark.parametrize("seed", [0, 1, 0x89, 12345])
@pytest.mark.parametrize("count", [4096, 4097, 65_536, 100_003])
def test_every_stretch_of_the_order_goes_everywhere(count: int, seed: int) -> None:
    """Chi-square of sixteen parts of the region over each sixteenth of the order."""
    parts, blocks = 16, order(count, seed)
    table = [[0] * parts for _ in range(parts)]
    for index, block in enumerate(blocks):
        table[index * parts // count][block * parts // count] += 1
    rows, columns = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    chi = sum(
        (table[r][c] - rows[r] * columns[c] / count) ** 2 / (rows[r] * columns[c] / count)
        for r in range(parts)
        for c in range(parts)
    )
    freedom = (parts - 1) ** 2
    assert abs(chi - freedom) < 5 * math.sqrt(2 * freedom)


def test_a_place_outside_of_the_order_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Permutation(10, 1)[10]
    assert len(Permutation(10, 1)) == 10

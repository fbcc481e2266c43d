"""A shift register gives every number once."""

import itertools

import pytest

from iovigil.engines.lfsr import Lfsr


@pytest.mark.parametrize("bits", range(1, 18))
def test_every_number_comes_once_and_then_again_in_the_same_order(bits: int) -> None:
    """Of registers of up to 18 bits the whole cycle: their feedback is a primitive polynomial."""
    for count in {(1 << bits) - 1, 1 << bits, max(3 << bits >> 2, 1)}:
        register = Lfsr(count, seed=bits)
        first = list(itertools.islice(register, count))
        assert sorted(first) == list(range(count))
        assert list(itertools.islice(register, count)) == first


@pytest.mark.parametrize("bits", range(18, 64))
def test_numbers_of_a_large_count_stay_below_it_and_differ(bits: int) -> None:
    register = Lfsr((1 << bits) - 1 - bits, seed=3)
    numbers = list(itertools.islice(register, 2000))
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < (1 << bits) - 1 - bits
    assert max(numbers) > 1 << (bits - 1) > min(numbers)


def test_another_seed_begins_elsewhere() -> None:
    assert len({next(Lfsr(100_000, seed)) for seed in range(100)}) > 90


@pytest.mark.parametrize("count", [0, 1 << 63])
def test_a_count_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="numbers"):
        Lfsr(count)

"""The map of visited blocks beside a set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.engines.random_map import RandomMap

SIZES = st.one_of(st.integers(1, 300), st.sampled_from([4095, 4096, 4097, 262_143, 262_144, 262_145]))


@settings(deadline=None, max_examples=200)
@given(SIZES, st.data())
def test_it_knows_what_is_free(count: int, data: st.DataObject) -> None:
    visited, taken = RandomMap(count), set()
    for _ in range(data.draw(st.integers(0, 12))):
        first = data.draw(st.integers(0, count - 1))
        length = data.draw(st.integers(0, count))
        visited.take(first, length)
        taken |= set(range(first, min(first + length, count)))
        assert visited.taken == len(taken)
        block = data.draw(st.integers(0, count - 1))
        assert (block in visited) == (block in taken)
        free = (at for at in [*range(block, count), *range(block)] if at not in taken)
        assert visited.next(block) == next(free, None)
        most = data.draw(st.integers(0, 200))
        run = next((at for at in range(most) if block + at in taken or block + at >= count), most)
        assert visited.run(block, most) == run
    visited.clear()
    assert visited.taken == 0
    assert visited.next(count - 1) == count - 1


def test_a_full_map_of_many_words_finds_the_one_that_is_free() -> None:
    count = 64**3 + 5
    visited = RandomMap(count)
    visited.take(0, count)
    assert visited.next(0) is None
    for free in (0, 63, 64, 4095, 4096, 100_000, count - 1):
        visited.clear()
        visited.take(0, free)
        visited.take(free + 1, count)
        assert [visited.next(at) for at in (0, free, count - 1)] == [free] * 3


def test_every_block_comes_once_whatever_was_wanted() -> None:
    count = 10_007
    visited, order = RandomMap(count), []
    for draw in range(count):
        block = visited.next(draw * draw % count)
        assert block is not None
        visited.take(block)
        order.append(block)
    assert sorted(order) == list(range(count))
    assert visited.next(0) is None
    assert len(visited) == count

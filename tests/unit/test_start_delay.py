"""How late runs are started, as a distribution."""

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.start_delay import BOUNDS_S, StartDelays


@given(st.lists(st.floats(-10, 1e5)))
def test_each_bucket_has_the_starts_up_to_its_bound(delays_s: list[float]) -> None:
    delays = StartDelays()
    for delay_s in delays_s:
        delays.note(delay_s)
    sorted_s = sorted(max(delay_s, 0.0) for delay_s in delays_s)
    for bound, count in delays.buckets():
        assert count == bisect.bisect_right(sorted_s, float(bound))
    assert delays.count == delays.buckets()[-1][1] == len(delays_s)
    assert len(delays.buckets()) == len(BOUNDS_S) + 1
    assert delays.sum_s >= 0


def test_what_was_kept_is_added_also_where_the_bounds_were_others() -> None:
    before, after = StartDelays(), StartDelays()
    for delay_s in (0.001, 0.07, 7.0, 1e5):
        before.note(delay_s)
    after.note(0.001)
    after.restore(before.by_bound(), before.sum_s)
    assert after.buckets() == [(bound, count + 1) for bound, count in before.buckets()]
    assert after.sum_s == before.sum_s + 0.001
    after = StartDelays()
    after.restore({"0.02": 3, "1e9": 1}, 1.0)
    assert dict(after.buckets())["0.05"] == 3
    assert after.count == 4


def test_what_is_no_bound_changes_nothing() -> None:
    delays = StartDelays()
    with pytest.raises(ValueError, match="soon"):
        delays.restore({"0.01": 1, "soon": 2}, 1.0)
    assert (delays.count, delays.sum_s) == (0, 0.0)

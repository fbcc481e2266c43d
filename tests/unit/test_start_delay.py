"""How late runs are started, as a distribution."""

import bisect

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

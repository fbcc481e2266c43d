"""Histograms have fio's buckets, their quantiles the promised error, their sums no error at all."""

import math
import statistics

import pytest
from fio_formats import bucket, bucket_low, bucket_value
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines.latency import Histogram

BUCKETS = 29 * 64
SECONDS_17 = 1 << 34
EDGES = sorted({max((1 << bit) + step, 0) for bit in range(40) for step in (-1, 0, 1)})

latencies = st.integers(0, SECONDS_17 - 1) | st.integers(0, 300) | st.sampled_from([e for e in EDGES if e < SECONDS_17])


def histogram(*values: int) -> Histogram:
    result = Histogram()
    for value in values:
        result.record(value)
    return result


def state(of: Histogram) -> tuple[object, ...]:
    return of.bins(), of.count, of.min_ns, of.max_ns, of.sum_ns


@given(st.integers(0, (1 << 64) - 1) | st.sampled_from(EDGES))
def test_a_latency_falls_into_the_bucket_that_fio_would_use(value: int) -> None:
    assert histogram(value).bins() == {bucket_value(bucket(value)): 1}


def test_every_bucket_begins_and_is_named_as_in_fio() -> None:
    for index in range(BUCKETS):
        low = bucket_low(index)
        assert histogram(low).bins() == {bucket_value(index): 1}
        if index:
            assert histogram(low - 1).bins() == {bucket_value(index - 1): 1}


def test_what_is_beyond_17_seconds_is_kept_in_the_last_bucket() -> None:
    far = histogram(SECONDS_17, 10 * SECONDS_17)
    assert far.bins() == {bucket_value(BUCKETS - 1): 2}
    assert far.max_ns == 10 * SECONDS_17


@given(st.lists(latencies, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_a_128th_of_the_true_one(values: list[int], q: float) -> None:
    true = sorted(values)[max(math.ceil(q * len(values)), 1) - 1]
    found = histogram(*values).quantile_ns(q)
    assert abs(found - true) <= true / 128
    assert min(values) <= found <= max(values)


@given(st.lists(latencies, min_size=1, max_size=100))
def test_the_ends_of_the_quantiles_are_what_was_measured(values: list[int]) -> None:
    found = histogram(*values)
    assert found.quantile_ns(1.0) == max(values)
    assert found.min_ns == min(values)
    assert found.max_ns == max(values)


def test_quantiles_of_nothing_are_zero() -> None:
    empty = Histogram()
    assert [empty.quantile_ns(q) for q in (0, 0.5, 1)] == [0, 0, 0]
    assert (empty.count, empty.min_ns, empty.max_ns, empty.mean_ns, empty.stddev_ns) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("q", [-0.01, 1.01, float("nan")])
def test_a_quantile_outside_of_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="q:"):
        histogram(1).quantile_ns(q)


@given(st.lists(latencies | st.sampled_from([1000 << k for k in range(24)]), max_size=200))
def test_counts_below_a_microsecond_times_a_power_of_two_are_exact(values: list[int]) -> None:
    bounds = [1000 << k for k in range(25)]
    assert histogram(*values).cumulative(bounds) == [sum(value < bound for value in values) for bound in bounds]


def test_counts_below_a_bound_inside_of_a_bucket_leave_that_bucket_out() -> None:
    assert histogram(1024, 1025, 1100).cumulative([1030, 1040]) == [0, 2]


def test_no_bucket_of_counts_is_ever_negative() -> None:
    counts = histogram(*range(0, 100_000, 37)).cumulative([1000 << k for k in range(25)])
    assert counts == sorted(counts)


@given(st.lists(latencies, max_size=100), st.lists(latencies, max_size=100))
def test_a_merge_is_the_histogram_of_both(first: list[int], second: list[int]) -> None:
    merged = histogram(*first)
    merged.merge(histogram(*second))
    whole = histogram(*first, *second)
    assert state(merged) == state(whole)
    assert merged.stddev_ns == pytest.approx(whole.stddev_ns)


@given(st.lists(st.integers(0, 10_000_000), min_size=2, max_size=100))
def test_mean_and_deviation_are_those_of_the_samples(values: list[int]) -> None:
    found = histogram(*values)
    assert found.sum_ns == sum(values)
    assert found.mean_ns == pytest.approx(statistics.fmean(values))
    # The squares are summed as doubles: sixteen digits in all.
    assert found.stddev_ns == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1)


def test_recording_many_at_once_is_recording_each() -> None:
    many = Histogram()
    many.record(5000, 1000)
    assert state(many) == state(histogram(*[5000] * 1000))

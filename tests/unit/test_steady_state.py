"""Steady states, from rates that are known."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.steady_state import SteadyState, least_squares_slope


def fed(state: SteadyState, rates: list[int]) -> SteadyState:
    """After so many I/Os of 4 KiB in each second, each of them 1000 ns."""
    done = 0
    state.begin(0.0, 0, 0, 0, 0)
    for rate in rates:
        done += rate
        state.sample(state.next_s, done, done * 4096, done * 1000, done)
    return state


def over(criterion: str, limit: float, is_percent: bool = True, **more: float) -> SteadyState:
    return SteadyState(criterion, limit, is_percent, **{"duration_s": 3.0, **more})


def test_a_mean_deviation_is_that_of_the_real_fio() -> None:
    # Figures of fio 3.33: --steadystate=iops:50% --ss_dur=3.
    told = fed(over("iops", 50.0), [992, 1008, 997]).as_json()
    assert told["criterion"] == "0.900901%"
    assert told["max_deviation"] == 9.0
    assert told["data"]["iops_mean"] == 999
    assert (told["ss"], told["duration"], told["attained"], told["slope"]) == ("iops:50.000000%", 3, 1, 0.0)


def test_a_slope_is_that_of_the_real_fio() -> None:
    told = fed(over("iops_slope", 5.0), [1001, 1001, 1000]).as_json()
    assert told["slope"] == -0.5
    assert float(told["criterion"].removesuffix("%")) == pytest.approx(-0.05, abs=1e-4)
    assert (told["max_deviation"], told["attained"]) == (0.0, 1)


def test_a_window_that_is_not_full_is_no_steady_state() -> None:
    told = fed(over("iops", 100.0, duration_s=10.0), [1001, 1000]).as_json()
    assert told["attained"] == 0
    assert told["data"]["iops"] == [1001, 1000] + [0] * 8
    assert told["data"]["iops_mean"] == 200


def test_what_falls_out_of_the_window_is_forgotten() -> None:
    state = fed(over("iops", 1.0), [5000, 1000, 1000])
    assert not state.is_attained
    assert fed(over("iops", 1.0), [5000, 1000, 1000, 1000]).is_attained


def test_ramp_time_is_not_looked_at() -> None:
    state = over("iops", 1.0, ramp_s=2.0)
    state.begin(0.0, 0, 0, 0, 0)
    assert state.next_s == 2.0
    state.sample(2.0, 99_999, 0, 0, 0)
    assert not state.samples
    assert state.next_s == 3.0
    state.sample(3.0, 100_999, 0, 0, 0)
    assert state.samples[0].iops == 1000


def test_nothing_that_moves_is_no_steady_state() -> None:
    assert not fed(over("iops", 100.0), [0, 0, 0, 0]).is_attained


def test_a_limit_may_be_in_the_unit_of_the_criterion() -> None:
    assert fed(over("bw", 4096 * 10.0, is_percent=False), [1000, 1005, 995]).is_attained
    assert not fed(over("bw", 4096 * 4.0, is_percent=False), [1000, 1005, 995]).is_attained
    assert fed(over("bw", 1e9, is_percent=False), [1, 2, 3]).as_json()["ss"] == "bw:1000000000.000000"


def test_latency_is_the_mean_of_each_interval() -> None:
    told = fed(over("lat", 1.0), [10, 20, 30]).as_json()
    assert told["data"]["lat"] == [1000] * 3
    assert (told["attained"], told["data"]["lat_mean"]) == (1, 1000)


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=20))
def test_the_criterion_can_be_computed_from_the_data_shown(rates: list[int]) -> None:
    for criterion in ("iops", "iops_slope", "bw", "bw_slope"):
        told = fed(over(criterion, 50.0, duration_s=float(len(rates))), rates).as_json()
        values = told["data"][criterion.removesuffix("_slope")]
        mean = statistics.fmean(values)
        if criterion.endswith("_slope"):
            expected = 100 * statistics.linear_regression(range(len(values)), values).slope / mean
        else:
            expected = 100 * max(abs(value - mean) for value in values) / mean
        found = float(told["criterion"].removesuffix("%"))
        assert math.isclose(found, expected, rel_tol=1e-4, abs_tol=1e-4)
        assert told["attained"] == (abs(found) < 50 or math.isclose(abs(found), 50, abs_tol=1e-5))


def test_a_single_value_has_no_slope() -> None:
    assert least_squares_slope([5.0]) == 0.0

"""A job that ends when it is steady says why, and whoever has the data can do the sum again: of fio and of ours."""

import statistics

import pytest
from fio_and_ours import Program

COMMON = "[s]\nioengine=null\nsize=1g\nbs=4k\nrw=read\ntime_based=1\nrate_iops=1000\n"


def slope(values: list[int]) -> float:
    places = range(len(values))
    return statistics.linear_regression(places, values).slope


@pytest.mark.slow
@pytest.mark.parametrize(
    ("criterion", "is_percent"), [("iops", True), ("bw", False), ("iops_slope", False), ("bw_slope", True)]
)
def test_the_criterion_is_what_the_data_say(program: Program, criterion: str, is_percent: bool) -> None:
    limit = "90%" if is_percent else "900" if criterion.startswith("iops") else "3600k"
    ran = program.run(job=f"{COMMON}runtime=12\nss={criterion}:{limit}\nss_dur=2\n")
    told = ran.job["steadystate"]
    values = told["data"][criterion.partition("_")[0]]
    assert told["attained"] == 1
    assert told["duration"] == len(values) == 2
    assert ran.job["job_runtime"] < 12_000
    mean = statistics.fmean(values)
    expected = slope(values) if criterion.endswith("slope") else max(abs(value - mean) for value in values)
    # fio divides whole numbers.
    tolerance = max(1e-3, 2 / mean)
    assert told["slope" if criterion.endswith("slope") else "max_deviation"] == pytest.approx(expected, abs=1)
    criterion_told = float(told["criterion"].rstrip("%"))
    assert told["criterion"].endswith("%") == is_percent
    if is_percent:
        assert criterion_told == pytest.approx(100 * expected / mean, abs=100 * tolerance)
    else:
        assert criterion_told == pytest.approx(expected, abs=1)


@pytest.mark.slow
def test_a_job_that_never_is_steady_lasts_as_long_as_it_may(program: Program) -> None:
    ran = program.run(job=f"{COMMON}runtime=2\nss=iops:0.000001%\nss_dur=20\n")
    assert ran.job["steadystate"]["attained"] == 0
    assert ran.job["job_runtime"] >= 1900


@pytest.mark.slow
def test_the_ramp_is_not_looked_at(program: Program) -> None:
    ran = program.run(job=f"{COMMON}runtime=12\nss=iops:90%\nss_dur=2\nss_ramp=2\n")
    assert ran.job["steadystate"]["attained"] == 1
    assert ran.job["job_runtime"] >= 3800

"""The schedule: where in its interval each probe starts, and when that is next."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.schedule import next_start_unix, phase_s

INTERVALS_S = st.floats(1, 366 * 86_400)
NOWS_UNIX = st.floats(0, 4e9)
KNOWN_PHASE_S = 1.1099890519267996


@given(st.text(), st.text(), st.text(), INTERVALS_S)
def test_a_phase_is_within_its_interval(host: str, disk: str, probe: str, interval_s: float) -> None:
    assert 0 <= phase_s(host, disk, probe, interval_s) < interval_s


def test_a_phase_is_the_same_for_ever() -> None:
    assert phase_s("host", "data0", "latency", 30.0) == KNOWN_PHASE_S


def test_a_phase_is_the_same_in_another_process() -> None:
    code = "from iovigil.agent.schedule import phase_s; print(repr(phase_s('host', 'data0', 'latency', 30.0)))"
    environment = {"PYTHONHASHSEED": "12345"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    assert float(result.stdout) == KNOWN_PHASE_S


def test_every_part_of_the_name_counts() -> None:
    names = [("h", "d", "p"), ("x", "d", "p"), ("h", "x", "p"), ("h", "d", "x"), ("hd", "", "p"), ("h", "dp", "")]
    assert len({phase_s(*name, 30.0) for name in names}) == len(names)


def test_a_fleet_is_spread_over_the_whole_interval() -> None:
    tenths = [0] * 10
    for number in range(1000):
        tenths[int(phase_s(f"host{number}", "data0", "latency", 10.0))] += 1
    assert all(60 <= hosts <= 140 for hosts in tenths), tenths


@given(NOWS_UNIX, INTERVALS_S, st.floats(0, 1, exclude_max=True))
def test_the_next_start_is_the_first_on_the_grid_after_now(now: float, interval_s: float, fraction: float) -> None:
    phase = fraction * interval_s
    start = next_start_unix(now, interval_s, phase)
    k = round((start - phase) / interval_s)
    assert start == k * interval_s + phase
    assert now < start
    assert (k - 1) * interval_s + phase <= now


@given(NOWS_UNIX, st.integers(1, 86_400), st.floats(0, 1, exclude_max=True))
def test_starts_are_one_interval_apart(now: float, interval_s: int, fraction: float) -> None:
    phase = fraction * interval_s
    first = next_start_unix(now, interval_s, phase)
    second = next_start_unix(first, interval_s, phase)
    assert abs(second - first - interval_s) < 1e-5


def test_a_start_that_is_now_has_been() -> None:
    assert next_start_unix(1_000_000_010.0, 30.0, 20.0) == 1_000_000_040.0
    assert next_start_unix(1_000_000_009.9, 30.0, 20.0) == 1_000_000_010.0

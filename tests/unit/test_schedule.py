"""The schedule: where in its interval each probe starts, and when that is next."""

import subprocess
import sys
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.agent.schedule import longest_gap_s, next_start_unix, phase_s
from iovigil.agent.windows import ALWAYS, Window, Windows

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


NIGHT = Windows((Window(frozenset(range(7)), 22 * 3600, 6 * 3600),), ZoneInfo("Europe/Zurich"))
HALF_HOUR = Windows((Window(frozenset(range(7)), 3600, 5400),), ZoneInfo("Europe/Zurich"))
YEAR_UNIX = 1_767_225_600  # 2026-01-01


def hours(unix: float) -> float:
    return unix % 86_400 / 3600


def test_a_window_wider_than_the_interval_leaves_the_phase_as_it_is() -> None:
    assert phase_s("host", "data0", "latency", 30.0, NIGHT) == KNOWN_PHASE_S


def test_a_daily_start_falls_into_its_window_on_every_day_of_the_year() -> None:
    for windows in (NIGHT, HALF_HOUR):
        for number in range(40):
            phase = phase_s(f"host{number}", "d", "p", 86_400.0, windows)
            starts = [YEAR_UNIX + day * 86_400 + phase for day in range(365)]
            inside = sum(map(windows.is_open, starts))
            assert inside >= (364 if windows is NIGHT else 140), "half an hour is another one in summer"


def test_a_fleet_of_daily_starts_is_spread_over_the_window() -> None:
    """In summer the night is from 20 to 4 o'clock UTC, in winter from 21 to 5: seven hours are common to both."""
    sevenths = [0] * 7
    for number in range(700):
        phase = phase_s(f"host{number}", "data0", "integrity", 86_400.0, NIGHT)
        sevenths[int((hours(phase) - 21) % 24)] += 1
    assert all(65 <= hosts <= 135 for hosts in sevenths), sevenths


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=20),
    st.sampled_from([1800.0, 7200.0, 36_000.0, 86_400.0, 7 * 86_400.0, 90_000.0, 31 * 86_400.0]),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 23),
    st.integers(10, 1430),
)
def test_no_window_is_so_short_that_no_start_falls_into_it(
    host: str, interval_s: float, days: frozenset[int], from_h: int, length_min: int
) -> None:
    windows = Windows((Window(days, from_h * 3600, (from_h * 60 + length_min) * 60 % 86_400),), ZoneInfo("UTC"))
    phase = phase_s(host, "d", "p", interval_s, windows)
    assert 0 <= phase < interval_s
    start = next_start_unix(YEAR_UNIX, interval_s, phase, windows)
    assert windows.is_open(start)
    on_grid = (start - phase) / interval_s
    assert abs(on_grid - round(on_grid)) < 1e-6


@settings(max_examples=60, deadline=None)
@given(NOWS_UNIX.filter(lambda now: now > 1e9), st.sampled_from([600.0, 3600.0, 50_000.0]), st.floats(0, 0.99))
def test_with_windows_the_next_start_is_the_first_of_the_grid_that_is_open(
    now: float, interval_s: float, fraction: float
) -> None:
    phase = fraction * interval_s
    expected = next_start_unix(now, interval_s, phase)
    while not NIGHT.is_open(expected):
        expected = next_start_unix(expected, interval_s, phase)
    assert next_start_unix(now, interval_s, phase, NIGHT) == pytest.approx(expected, abs=1e-5)


def test_the_longest_gap_is_the_interval_or_the_time_between_windows() -> None:
    assert longest_gap_s(600, 1.0, ALWAYS) == 600
    assert longest_gap_s(86_400, phase_s("h", "d", "p", 86_400, NIGHT), NIGHT) == 86_400
    # From the last start before six to the first after ten at night.
    assert 16 * 3600 <= longest_gap_s(600, 1.0, NIGHT) <= 16 * 3600 + 600
    weekdays = Windows((Window(frozenset(range(5)), 0, 86_400),), ZoneInfo("UTC"))
    assert longest_gap_s(86_400, 3600.0, weekdays) == 3 * 86_400


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 1439),
    st.integers(60, 1380),
    st.sampled_from(["latency", "integrity", "throughput"]),
    st.sampled_from([86_400.0, 7 * 86_400.0]),
)
def test_a_fleet_is_spread_over_any_window(from_min: int, length_min: int, probe: str, interval_s: float) -> None:
    length_s = length_min * 60
    start_s = from_min * 60
    windows = Windows((Window(frozenset(range(7)), start_s, (start_s + length_s) % 86_400),), ZoneInfo("UTC"))
    quarters = [0] * 4
    for number in range(200):
        phase = phase_s(f"host{number}", "data0", probe, interval_s, windows)
        into_s = (phase - start_s) % 86_400
        assert into_s < length_s + 1e-3
        quarters[min(int(4 * into_s / length_s), 3)] += 1
    assert min(quarters) >= 24, quarters

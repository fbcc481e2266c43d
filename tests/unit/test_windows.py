"""Time windows: open while the clock on the wall says so, also in the nights in which it is set."""

import itertools
import os
import subprocess
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.agent.windows import ALWAYS, DAY_S, WEEKDAYS, Window, Windows, parse_days, parse_time_s

ZURICH = ZoneInfo("Europe/Zurich")
# Half an hour of summer time, quarters of an hour, changes at midnight, in the south, none at all.
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Zurich",
        "America/New_York",
        "America/Havana",
        "America/Santiago",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Chatham",
        "Africa/Casablanca",
    )
]
ROUND_TIMES_S = st.integers(0, 95).map(lambda quarter: quarter * 900)
WINDOW = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    from_s=ROUND_TIMES_S,
    to_s=st.integers(1, 96).map(lambda quarter: quarter * 900),
).filter(lambda window: window.from_s != window.to_s)
WINDOWS = st.builds(Windows, st.lists(WINDOW, min_size=1, max_size=3).map(tuple), st.sampled_from(ZONES))
# Around the nights in which clocks are set, and anywhere.
CHANGES_UNIX = [
    datetime(2026, month, day, tzinfo=UTC).timestamp()
    for month, day in ((3, 8), (3, 29), (4, 4), (4, 5), (9, 6), (9, 27), (10, 4), (10, 25), (11, 1), (2, 15), (3, 22))
]
MOMENTS_UNIX = st.one_of(
    st.builds(lambda change, s: int(change) + s, st.sampled_from(CHANGES_UNIX), st.integers(-DAY_S, DAY_S)),
    st.integers(1_500_000_000, 2_100_000_000),
)


def window(days: str, start: str, end: str) -> Window:
    return Window(parse_days(days), parse_time_s(start), parse_time_s(end))


def at(text: str, zone: ZoneInfo = ZURICH, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def open_at(windows: Windows, *texts: str) -> list[bool]:
    return [windows.is_open(at(text)) for text in texts]


def spelled(windows: Windows, start: str, end: str) -> list[tuple[str, str]]:
    """The open stretches as UTC, to the minute."""
    spans = windows.spans(datetime.fromisoformat(start).timestamp(), datetime.fromisoformat(end).timestamp())
    return [
        (
            datetime.fromtimestamp(span.start_unix, UTC).strftime("%dT%H:%M"),
            datetime.fromtimestamp(span.end_unix, UTC).strftime("%dT%H:%M"),
        )
        for span in spans
    ]


def test_no_window_is_always() -> None:
    assert ALWAYS.is_open(0)
    assert ALWAYS.next_open_unix(12.5) == 12.5


def test_a_window_includes_its_beginning_and_not_its_end() -> None:
    windows = Windows((window("mon-fri", "08:00", "12:00"),), ZURICH)
    friday = "2026-06-05"
    times = (f"{friday}T07:59:59", f"{friday}T08:00", f"{friday}T11:59:59.9", f"{friday}T12:00", "2026-06-06T09:00")
    assert open_at(windows, *times) == [False, True, True, False, False]


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    windows = Windows((window("fri", "22:00", "06:00"),), ZURICH)
    times = ("2026-06-05T05:00", "2026-06-05T22:00", "2026-06-06T05:59", "2026-06-06T06:00", "2026-06-06T22:00")
    assert open_at(windows, *times) == [False, True, True, False, False]


def test_a_window_may_be_the_whole_day() -> None:
    windows = Windows((window("sat,sun", "00:00", "24:00"),), ZURICH)
    times = ("2026-06-05T23:59", "2026-06-06T00:00", "2026-06-06T23:59:59", "2026-06-07T23:59", "2026-06-08T00:00")
    assert open_at(windows, *times) == [False, True, True, True, False]
    assert spelled(windows, "2026-06-01T00:00Z", "2026-06-14T00:00Z") == [
        ("05T22:00", "07T22:00"),
        ("12T22:00", "14T00:00"),
    ]


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    windows = Windows((window("mon-sun", "02:15", "02:45"),), ZURICH)
    assert spelled(windows, "2026-10-24T12:00Z", "2026-10-25T12:00Z") == [
        ("25T00:15", "25T00:45"),
        ("25T01:15", "25T01:45"),
    ]


def test_an_hour_that_is_left_out_is_not_open() -> None:
    windows = Windows((window("mon-sun", "02:15", "02:45"),), ZURICH)
    assert spelled(windows, "2026-03-28T12:00Z", "2026-03-30T12:00Z") == [("30T00:15", "30T00:45")]


def test_a_window_that_begins_in_the_hour_left_out_opens_when_clocks_go_on() -> None:
    windows = Windows((window("mon-sun", "02:30", "04:00"),), ZURICH)
    assert spelled(windows, "2026-03-28T12:00Z", "2026-03-29T12:00Z") == [("29T01:00", "29T02:00")]


def test_a_night_is_an_hour_shorter_or_longer_when_clocks_are_set() -> None:
    windows = Windows((window("mon-sun", "22:00", "06:00"),), ZURICH)
    assert spelled(windows, "2026-03-28T12:00Z", "2026-03-29T12:00Z") == [("28T21:00", "29T04:00")]
    assert spelled(windows, "2026-10-24T12:00Z", "2026-10-25T12:00Z") == [("24T20:00", "25T05:00")]


@settings(max_examples=60, deadline=None)
@given(WINDOWS, MOMENTS_UNIX)
def test_spans_say_the_same_as_a_look_at_every_minute(windows: Windows, start: int) -> None:
    end = start + 2 * DAY_S
    spans = list(windows.spans(start, end))
    assert all(one.end_unix < two.start_unix for one, two in itertools.pairwise(spans))
    inside = {
        minute for minute in range(start, end, 60) if any(span.start_unix <= minute < span.end_unix for span in spans)
    }
    assert inside == {minute for minute in range(start, end, 60) if windows.is_open(minute)}


@settings(max_examples=200, deadline=None)
@given(WINDOWS, MOMENTS_UNIX)
def test_the_next_opening_is_open_and_nothing_before_it_is(windows: Windows, start: int) -> None:
    opens = windows.next_open_unix(start)
    assert windows.is_open(opens)
    assert list(windows.spans(start, opens)) == []
    assert opens - start < 15 * DAY_S, "a window that a change of clocks leaves out comes a week later"


def test_the_wall_clock_is_that_of_the_c_library() -> None:
    """The host's own zone, with glibc for an oracle of what clocks show there."""
    program = """
import sys, time
from iovigil.agent.windows import Window, Windows
windows = Windows((Window(frozenset({0, 5, 6}), 22 * 3600, 2 * 3600 + 1800), Window(frozenset({6}), 9000, 10800)))
for unix in range(1772300000, 1772300000 + 300 * 86400, 600):
    tm = time.localtime(unix)
    s, day = tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec, tm.tm_wday
    shown = (day in (0, 5, 6) and s >= 79200) or (day in (1, 6, 0) and s < 9000) or (day == 6 and 9000 <= s < 10800)
    assert windows.is_open(unix) == shown, (unix, tm)
spans = list(windows.spans(1772300000, 1772300000 + 300 * 86400))
inside = lambda unix: any(a <= unix < b for a, b in spans)
assert all(windows.is_open(unix) == inside(unix) for unix in range(1772300000, 1772300000 + 300 * 86400, 3000))
print(len(spans))
"""
    for zone in ("Europe/Zurich", "Australia/Lord_Howe"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TZ": zone},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 100


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", "mon tue wed thu fri"),
        ("fri-mon", "mon fri sat sun"),
        ("SAT, sun", "sat sun"),
        ("wed", "wed"),
        ("mon-sun", " ".join(WEEKDAYS)),
        ("tue,thu-fri", "tue thu fri"),
    ],
)
def test_days_are_lists_and_ranges(text: str, days: str) -> None:
    assert parse_days(text) == {WEEKDAYS.index(day) for day in days.split()}


@pytest.mark.parametrize("text", ["", "monday", "mon-", "1-5", "mon fri", "mon,,tue"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a day"):
        parse_days(text)


@pytest.mark.parametrize("text", ["", "24:01", "25:00", "12", "12:60", "-1:00", "12:00:00", "1260"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time of day"):
        parse_time_s(text)

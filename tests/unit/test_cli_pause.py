"""`iovigil pause`: how its end is spelled; the rest is tried on a real agent."""

import argparse
from datetime import datetime

import pytest

from iovigil.agent.cli.pause import instant, interval, spell

NOON = datetime(2026, 12, 20, 12, 0, 0)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("22:00", (2026, 12, 20, 22, 0)),
        ("8:30", (2026, 12, 21, 8, 30)),
        ("12:00", (2026, 12, 21, 12, 0)),
        ("24:00", (2026, 12, 21, 0, 0)),
        ("2026-12-24", (2026, 12, 24, 0, 0)),
        ("2026-12-24 08:15", (2026, 12, 24, 8, 15)),
        ("2026-12-24T08:15", (2026, 12, 24, 8, 15)),
    ],
)
def test_an_end_is_the_next_such_time_or_a_date(text: str, meant: tuple[int, int, int, int, int]) -> None:
    assert instant(text, NOON) == datetime(*meant).timestamp()


@pytest.mark.parametrize("text", ["tomorrow", "25:00", "24:30", "2026-12-20", "2026-13-01", "", "1e9", "9999999999"])
def test_what_is_no_time_to_come_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        instant(text, NOON)


def test_a_length_is_spelled_as_in_the_configuration() -> None:
    assert (interval("2h"), interval("90")) == (7200.0, 90.0)
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time"):
        interval("soon")


def test_a_pause_is_told_in_words() -> None:
    pause = {"disk": "data*", "probe": "*", "until_unix": None, "reason": "new cable"}
    assert spell(pause) == "every probe on data*: new cable"

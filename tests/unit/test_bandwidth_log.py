"""The aggregate log has a line for each interval and direction, with rates that add up to what was transferred."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.fio.bandwidth_log import FILES, Sample, texts

MIB = 1 << 20


def test_each_interval_is_a_line_in_the_log_of_each_direction() -> None:
    samples = [
        Sample(0, (0, 0, 0)),
        Sample(500, (MIB, 5 * MIB, 0)),
        Sample(1100, (MIB, 8 * MIB, 0)),
    ]
    assert texts(samples) == (
        "500, 2048, 0, 0, 0\n1100, 0, 0, 0, 0\n",
        "500, 10240, 1, 0, 0\n1100, 5120, 1, 0, 0\n",
        "500, 0, 2, 0, 0\n1100, 0, 2, 0, 0\n",
    )
    assert len(FILES) == 3


@pytest.mark.parametrize("samples", [[], [Sample(0, (0, 0, 0))], [Sample(7, (0, 0, 0)), Sample(7, (9, 9, 9))]])
def test_without_an_interval_there_is_no_line(samples: list[Sample]) -> None:
    assert texts(samples) == ("", "", "")


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 1 << 40)), min_size=1, max_size=50))
def test_rates_times_intervals_make_what_was_transferred(steps: list[tuple[int, int]]) -> None:
    samples = [Sample(0, (0, 0, 0))]
    for gap_ms, length in steps:
        last = samples[-1]
        samples.append(Sample(last.time_ms + gap_ms, (last.transferred[0] + length, 0, 0)))
    total = 0.0
    time_ms = 0
    for line in texts(samples)[0].splitlines():
        at, rate, _ddir, _bs, _priority = map(int, line.split(", "))
        total += rate * (at - time_ms) * 1024 / 1000
        time_ms = at
    lost_at_most = 1024 * sum(gap_ms for gap_ms, _length in steps) / 1000 + len(steps)
    assert samples[-1].transferred[0] - lost_at_most - 1 <= total <= samples[-1].transferred[0] + 1

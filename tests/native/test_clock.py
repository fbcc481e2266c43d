"""The clock that I/O is stamped with agrees with the system's, and goes on doing so."""

import time

import pytest

from iovigil.engines.clock import Clock, tsc_is_sound

MADE_AT_START = Clock()
STARTED_NS = time.monotonic_ns()

requires_tsc = pytest.mark.skipif(not tsc_is_sound(), reason="the kernel does not keep time by the TSC here")


def rate(source: tuple[int, int, int, int]) -> float:
    """Ticks per nanosecond."""
    return (1 << 32) / source[2]


def test_a_source_is_a_point_on_the_monotonic_clock() -> None:
    before = time.monotonic_ns()
    _, base_ns, mult, is_tsc = Clock().source()
    after = time.monotonic_ns()
    if is_tsc:
        assert before <= base_ns <= after
        assert 0 < mult < 1 << 40
    else:
        assert (base_ns, mult) == (0, 0)


@requires_tsc
def test_two_clocks_measure_the_same_rate() -> None:
    assert rate(Clock().source()) == pytest.approx(rate(Clock().source()), rel=2e-3)


@requires_tsc
def test_a_clock_is_right_after_more_nanoseconds_than_32_bits_hold() -> None:
    """Nanoseconds times 2^32 pass 64 bits after 4.3 seconds."""
    time.sleep(max(4.5 - (time.monotonic_ns() - STARTED_NS) / 1e9, 0))
    source = MADE_AT_START.source()
    assert rate(source) == pytest.approx(rate(Clock().source()), rel=2e-3)


@requires_tsc
def test_moments_taken_apart_lie_on_the_line_that_was_measured() -> None:
    clock = Clock()
    ticks, ns, mult, _ = clock.source()
    time.sleep(0.05)
    later_ticks, later_ns, _, _ = clock.source()
    predicted_ns = ns + ((later_ticks - ticks) * mult >> 32)
    assert abs(predicted_ns - later_ns) < 50_000

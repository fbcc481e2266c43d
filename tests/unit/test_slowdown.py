"""A disk against its own past: what is slow, what only looks like it, and for how long."""

import contextlib
import itertools
import math
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_runs import DAY_S, HOUR_S, P50_S, Disk, settled

from iovigil.agent.slowdown import score
from iovigil.agent.slowdown.baseline import WARM_RUNS, Baseline
from iovigil.agent.slowdown.figures import Figures, figures
from iovigil.agent.slowdown.foreign_load import ForeignLoad
from iovigil.agent.slowdown.sample import Last, Pick
from iovigil.agent.slowdown.standing import slowness_of
from iovigil.agent.slowdown.track import Measurement, State, Track, TrackState


def test_nothing_is_said_before_there_are_runs_enough() -> None:
    disk = Disk()
    states = [disk.run() for _ in range(WARM_RUNS + 1)]
    assert states == [*[State.LEARNING] * WARM_RUNS, State.USUAL]
    assert disk.track.usual is not None
    assert math.exp(disk.track.usual.p50) == pytest.approx(P50_S, rel=0.05)


def test_a_disk_like_always_has_a_ratio_of_one_and_no_score() -> None:
    disk = settled()
    assert disk.live(7 * DAY_S) == {State.USUAL}
    assert disk.track.ratio == pytest.approx(1.0, rel=0.1)
    assert disk.track.score == 0.0


@pytest.mark.parametrize(("factor", "least_h", "most_h"), [(2, 60, 72), (3, 42, 55), (5, 1.5, 3), (20, 1.0, 3)])
def test_the_slower_it_is_the_sooner_patience_is_over(factor: float, least_h: float, most_h: float) -> None:
    assert least_h <= settled().hours_to_1(factor) <= most_h


@pytest.mark.parametrize("interval_s", [30.0, 600.0, 3600.0])
def test_that_does_not_hang_on_how_often_a_probe_runs(interval_s: float) -> None:
    assert 1.5 <= settled(interval_s).hours_to_1(5.0) <= 3.0


def test_one_slow_run_after_a_long_time_is_not_a_verdict() -> None:
    disk = settled(interval_s=DAY_S)
    disk.live(60 * DAY_S)
    disk.run(50.0)
    assert disk.track.score < 0.5


def test_a_disk_that_is_well_again_is_known_to_be_within_a_day() -> None:
    disk = settled()
    disk.live(10 * DAY_S, 6.0)
    assert disk.track.score > 1.0
    disk.live(DAY_S)
    assert disk.track.score < 1.0
    disk.live(8 * DAY_S)
    assert disk.track.score == 0.0


def test_hours_now_and_then_do_not_add_up() -> None:
    disk = settled()
    for _ in range(12):
        disk.live(12 * HOUR_S, 2.2)
        disk.live(14 * DAY_S)
        assert disk.track.score < 0.3


def test_half_of_the_time_does() -> None:
    disk = settled()
    for _ in range(30):
        disk.live(6 * HOUR_S, 3.0)
        disk.live(6 * HOUR_S)
    assert disk.track.score >= 0.9


def test_a_disk_that_stays_slow_does_not_teach_that_this_is_usual() -> None:
    disk = settled()
    before = disk.track.usual
    disk.live(60 * DAY_S, 2.5)
    assert disk.track.usual == before
    assert disk.track.state is State.SLOW
    assert disk.track.score > 1.0


def test_one_that_gets_slower_by_a_little_each_day_does_not_either() -> None:
    disk = settled()
    for day in range(180):
        disk.live(DAY_S, 2.6 ** (day / 180))
    assert disk.track.usual is not None
    assert math.exp(disk.track.usual.p50) <= P50_S * 1.3
    assert disk.track.score >= 1.0


def test_a_first_day_that_was_slow_is_forgotten() -> None:
    disk = Disk()
    disk.live(2 * DAY_S, 2.0)
    disk.live(30 * DAY_S)
    assert disk.track.usual is not None
    assert math.exp(disk.track.usual.p50) == pytest.approx(P50_S, rel=0.05)


def test_a_busy_disk_is_not_a_bad_disk() -> None:
    disk = settled()
    assert disk.live(3 * DAY_S, 8.0, in_flight=5.0) == {State.BUSY}
    assert disk.track.score == 0.0
    assert disk.run() is State.USUAL


def test_runs_beside_others_are_compared_with_runs_beside_others() -> None:
    disk = settled()
    assert disk.live(2 * DAY_S, 1.6, in_flight=0.4) == {State.LEARNING, State.USUAL}
    assert disk.track.ratio == pytest.approx(1.0, rel=0.1)
    assert disk.run(1.0) is State.USUAL


def test_a_slow_disk_with_a_little_work_is_not_taken_for_a_busy_one() -> None:
    """Ten reads a second keep a disk that takes 100 ms for each busy all the time."""
    disk = settled(p50_s=0.01)
    load = ForeignLoad(in_flight=1.0, ios_per_second=10.0, bytes_per_second=40960.0, stream_bytes_per_second=1e8)
    for _ in range(40):
        usual = load._replace(in_flight=0.1)
        disk.run(load=usual)
    assert {disk.run(10.0, load=load) for _ in range(20)} >= {State.SLOW}
    assert disk.track.state is State.SLOW


def test_what_is_learnt_while_it_is_slow_is_not_the_usual_of_another_load() -> None:
    disk = settled()
    disk.live(DAY_S, 5.0)
    disk.live(3 * DAY_S, 5.0, in_flight=0.2)
    assert disk.track.runs == 0


def test_a_slow_node_holds_the_score_back() -> None:
    disk = settled()
    assert State.NODE in disk.live(2 * DAY_S, 5.0, is_node_slow=True)
    assert disk.track.score == 0.0


@pytest.mark.parametrize("more", [{"ios": 10}, {"ios": 0, "p50_s": math.nan}])
def test_a_run_of_few_ios_says_nothing_and_teaches_nothing(more: dict[str, Any]) -> None:
    disk = settled()
    before = disk.track.kept()
    assert disk.run(9.0, **more) is State.FEW
    after = disk.track.kept()
    assert (after.score, after.baselines, after.ratio) == (before.score, before.baselines, before.ratio)


def test_the_first_run_after_a_rest_says_nothing() -> None:
    disk = settled()
    disk.now_unix += 5 * HOUR_S
    assert disk.run(9.0) is State.FEW
    assert disk.run() is State.USUAL


def test_time_without_runs_does_not_count_as_slow() -> None:
    disk = settled()
    disk.live(3 * HOUR_S, 2.0)
    before = disk.track.score
    disk.now_unix += 30 * DAY_S
    disk.run(2.0)
    disk.run(2.0)
    assert disk.track.score == pytest.approx(before, abs=0.02)


def test_a_clock_that_is_set_back_neither_adds_nor_breaks_anything() -> None:
    disk = settled()
    disk.live(3 * HOUR_S, 2.0)
    before = disk.track.score
    disk.now_unix -= 400 * DAY_S
    disk.run(2.0)
    assert disk.track.score == pytest.approx(before, abs=0.01)
    disk.live(3 * DAY_S)
    assert disk.track.state is State.USUAL


def test_throughput_and_the_tail_are_looked_at_as_well() -> None:
    disk = settled()
    disk.live(2 * HOUR_S, bytes_per_second=100_000.0)
    assert disk.track.ratio == pytest.approx(4.0, rel=0.1)
    disk = settled()
    disk.live(2 * HOUR_S, p99_s=0.11)
    assert disk.track.ratio == pytest.approx(4.0, rel=0.3)


def test_a_few_microseconds_are_the_cpu() -> None:
    disk = settled(p50_s=2e-6)
    assert disk.live(2 * HOUR_S, 5.0) == {State.USUAL}


def test_a_probe_that_varies_a_lot_has_to_be_slower_to_be_slow() -> None:
    disk = settled(noise=0.4)
    assert disk.live(14 * DAY_S) == {State.USUAL}
    assert disk.hours_to_1(12.0) < 6


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=3))
def test_of_a_track_that_was_kept_badly_nothing_is_an_error_later(damage: list[tuple[int, int]]) -> None:
    kept = bytearray(KEPT_BYTES)
    for place, byte in damage:
        kept[place % len(kept)] = byte
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        track = Track.restored(msgspec.msgpack.decode(bytes(kept), type=TrackState))
        slowness_of(track)
        for hour in (1, 2):
            track.look(Measurement(hour * HOUR_S, HOUR_S, 1000, P50_S, P50_S, 1e6, ForeignLoad()))
            track.settle(is_node_slow=False)
            slowness_of(track)


@pytest.mark.parametrize("change", [{"score": 1e300}, {"score": math.nan}, {"recent": [(0.0, 1e4)]}])
def test_a_track_that_cannot_have_been_is_not_gone_on_with(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no score"):
        Track.restored(msgspec.structs.replace(KEPT, **change))


def test_a_track_goes_on_where_it_was_kept() -> None:
    disk, other = settled(), settled()
    for each in (disk, other):
        each.live(DAY_S, 2.5)
    other.track = Track.restored(msgspec.msgpack.decode(msgspec.msgpack.encode(other.track.kept()), type=TrackState))
    for each in (disk, other):
        each.live(2 * HOUR_S)  # what the last hour was is not kept
        each.live(4 * DAY_S)
    assert other.track.usual == disk.track.usual
    assert other.track.score == pytest.approx(disk.track.score, abs=0.05)


def test_a_track_is_small() -> None:
    """480 of them, each at four foreign loads, are to be a few MB."""
    disk = Disk(interval_s=1200.0)
    for _ in range(60):
        for in_flight in (0.0, 0.1, 0.2, 0.4):
            disk.live(6 * HOUR_S, in_flight=in_flight)
    assert len(msgspec.msgpack.encode(disk.track.kept())) < 6000
    assert deep_size(disk.track) < 20_000


def deep_size(thing: object) -> int:
    """Bytes of an object and all it holds, numbers and types left out."""
    seen: set[int] = set()

    def size(each: object) -> int:
        if id(each) in seen or isinstance(each, type | State):
            return 0
        seen.add(id(each))
        below = [getattr(each, name) for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
        if isinstance(each, dict):
            below += each.values()
        elif isinstance(each, list | tuple | set) or type(each).__name__ == "deque":
            below += each  # type: ignore[arg-type]
        return sys.getsizeof(each) + sum(map(size, below))

    return size(thing)


latencies = st.floats(1e-3, 1.0)


def ratios(p50s: list[float], scale: float = 1.0) -> list[float]:
    """What is said after each of these runs, every ten minutes."""
    track, found = Track(), []
    for number, p50_s in enumerate(p50s):
        seconds = p50_s * scale
        track.look(Measurement(600.0 * (number + 1), 600.0, 500, seconds, 2 * seconds, 1 / scale, ForeignLoad()))
        track.settle(is_node_slow=False)
        found.append(track.ratio)
    return [ratio for ratio in found if not math.isnan(ratio)]


@given(st.lists(latencies, min_size=WARM_RUNS, max_size=80), st.floats(0.5, 100.0))
def test_a_disk_of_another_speed_has_the_same_ratios(p50s: list[float], scale: float) -> None:
    assert ratios(p50s, scale) == pytest.approx(ratios(p50s), rel=1e-6)


@given(st.lists(st.floats(0.95, 1.05), min_size=41, max_size=120), st.floats(1.0, 1000.0), st.data())
def test_up_to_a_third_of_outliers_does_not_move_what_is_usual(
    noise: list[float], outlier: float, data: st.DataObject
) -> None:
    places = data.draw(st.sets(st.integers(0, len(noise) - 1), max_size=len(noise) // 3))
    baseline = Baseline(0.0)
    for number, factor in enumerate(noise):
        baseline.learn(figures(0.01 * factor * (outlier if number in places else 1.0)), 60.0 * number)
    assert 0.0095 * 0.999 <= math.exp(baseline.usual.p50) <= 0.0105 * 1.001


@given(st.floats(1.0, 50.0), st.floats(1.0, 50.0))
def test_what_is_slower_has_no_lower_ratio_and_score(one: float, other: float) -> None:
    less, more = sorted((one, other))
    scores = []
    for factor in (less, more):
        disk = settled_copy()
        for _ in range(12):
            disk.run(factor)
        scores.append((disk.track.ratio, disk.track.score))
    assert scores[0][0] <= scores[1][0] * 1.0001
    assert scores[0][1] <= scores[1][1] + 1e-9


KEPT = settled(noise=0.0).track.kept()
KEPT_BYTES = msgspec.msgpack.encode(KEPT)


def settled_copy() -> Disk:
    disk = Disk(noise=0.0)
    disk.track = Track.restored(KEPT)
    disk.now_unix = KEPT.last_unix
    return disk


@given(st.floats(1.0, 1e6), st.floats(0.0, 1e9), st.floats(0.0, 1.1))
def test_a_score_stays_within_its_bounds(ratio: float, time_s: float, before: float) -> None:
    assert 0.0 <= score.after_usual(before, time_s) <= before
    assert before <= score.after_slow(before, ratio, time_s) <= 1.1


@given(st.integers(0, 1000), st.integers(2, 32).map(lambda half: 2 * half))
def test_a_pick_is_even_bounded_and_can_be_taken_up_again(length: int, most: int) -> None:
    pick, other = Pick(most), Pick(most)
    for number in range(length):
        pick.add(Figures(float(number), 0.0, 0.0))
        other.add(Figures(float(number), 0.0, 0.0))
        other = Pick(most, other.state())
    places = [row.p50 for row in pick.rows()]
    assert [row.p50 for row in other.rows()] == places
    assert len(places) < most
    gaps = {later - earlier for earlier, later in itertools.pairwise(places)}
    assert len(gaps) <= 1
    assert len(places) >= min(length, most // 2)


def test_the_last_ones_are_those() -> None:
    last = Last(3)
    for number in range(5):
        last.add(Figures(float(number), 0.0, 0.0))
    assert [row.p50 for row in last.rows()] == [2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="not figures"):
        Last(3, b"12345678")

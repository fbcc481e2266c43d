"""When runs are started and why not: the scheduling policy, with a clock that the test moves."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import DiskEntry, ProbeEntry, Skip
from iovigil.agent.rounds import Rounds, Turn
from iovigil.agent.windows import ALWAYS, Window, Windows
from iovigil.engines.options import JobOptions

START_UNIX = 1_000_000.0


class Disks:
    """Stands for the supervisor: says what is taken, and notes what was started."""

    def __init__(self) -> None:
        self.blockers: dict[tuple[str, str], Skip] = {}
        self.started: list[tuple[str, str]] = []
        self.planned_s: list[float | None] = []
        self.on_trial: set[tuple[str, str]] = set()

    def blocker(self, _disk: DiskSettings, entry: ProbeEntry) -> Skip | None:
        return self.blockers.get((entry.disk, entry.probe))

    def is_trial_due(self, _disk: DiskSettings, entry: ProbeEntry) -> bool:
        return (entry.disk, entry.probe) in self.on_trial

    def start(self, disk: DiskSettings, entry: ProbeEntry, planned_s: float | None = None) -> None:
        self.planned_s.append(planned_s)
        self.started.append((entry.disk, entry.probe))
        assert disk.name == entry.disk


class Holding:
    """Stands for what holds starts back."""

    def __init__(self) -> None:
        self.refusals: dict[str, Skip] = {}
        self.pressure: Skip | None = None

    def refusal(self, disk: str, _probe: str, _now_unix: float) -> Skip | None:
        return self.refusals.get(disk)

    def blocker(self) -> Skip | None:
        return self.pressure


class Scene:
    """Rounds on a clock; `at(s)` is a tick so many seconds after the start."""

    def __init__(self, *turns: Turn) -> None:
        self.disks = Disks()
        self.looked_at: list[str] = []
        self.holding = Holding()
        self.rounds = Rounds(self.disks, self.look, self.holding)
        self.rounds.adopt(turns, START_UNIX)
        self.boot_s = 50.0
        self.last_s = 0.0
        self.wall_shift_s = 0.0
        self.at(0)

    async def look(self, turns: Iterable[Turn]) -> None:
        self.looked_at += [turn.disk.name for turn in turns]

    def at(self, time_s: float) -> list[tuple[str, str]]:
        """What was started by this tick."""
        self.disks.started.clear()
        asyncio.run(self.rounds.tick(START_UNIX + time_s + self.wall_shift_s, self.boot_s + time_s))
        return list(self.disks.started)


def turn(
    disk: str = "d",
    probe: str = "p",
    *,
    every_s: float = 10,
    at_s: float = 5,
    is_present: bool = True,
    windows: Windows = ALWAYS,
) -> Turn:
    """A turn whose first planned start is `at_s` seconds after the start of the scene."""
    entry = ProbeEntry(disk=disk, probe=probe, options=JobOptions(), interval_s=every_s, timeout_s=1, engine="psync")
    return Turn(
        disk=DiskSettings(name=disk, file=f"/{disk}"),
        disk_entry=DiskEntry(name=disk, is_present=is_present),
        entry=entry,
        phase_s=(START_UNIX + at_s) % every_s,
        windows=windows,
    )


def opens(from_s: float, to_s: float) -> Windows:
    """A window from and to so many seconds after the start, which is a Monday, 13:46:40."""
    moment = datetime.fromtimestamp(START_UNIX, UTC)
    start_s = moment.hour * 3600 + moment.minute * 60 + moment.second
    return Windows(
        (Window(frozenset({moment.weekday()}), start_s + int(from_s), start_s + int(to_s)),), ZoneInfo("UTC")
    )


def skips(turn: Turn) -> dict[Skip, int]:
    return {reason: count for reason, count in turn.entry.skips.items() if count}


def test_a_run_starts_at_its_planned_time_and_not_before() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    assert scene.at(4.9) == []
    assert scene.at(5.0) == [("d", "p")]
    assert scene.at(5.1) == []
    assert scene.at(14.9) == []
    assert scene.at(15.0) == [("d", "p")]
    assert skips(one) == {}


def test_a_late_tick_starts_the_run_once_and_stays_on_the_grid() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    assert scene.at(8) == [("d", "p")]
    assert scene.at(15) == [("d", "p")]


def test_a_run_waits_for_its_disk_and_then_starts() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    scene.disks.blockers["d", "p"] = Skip.CONCURRENCY
    assert scene.at(5) == []
    assert scene.at(9) == []
    scene.disks.blockers.clear()
    assert scene.at(10) == [("d", "p")]
    assert skips(one) == {}


def test_a_run_that_waited_until_its_next_start_is_skipped_once_with_its_reason() -> None:
    for reason in (Skip.OVERLAP, Skip.CONCURRENCY, Skip.STUCK, Skip.QUARANTINED):
        one = turn(at_s=5)
        scene = Scene(one)
        scene.disks.blockers["d", "p"] = reason
        for time_s in range(5, 15):
            scene.at(time_s)
        assert skips(one) == {}
        scene.at(15)
        scene.at(16)
        assert skips(one) == {reason: 1}
        scene.disks.blockers.clear()
        assert scene.at(17) == [("d", "p")], "the start planned for 15 is still due"


def test_a_disk_that_hung_is_tried_when_its_back_off_is_over_and_not_only_at_its_next_planned_start() -> None:
    one = turn(every_s=3600, at_s=3000)
    scene = Scene(one)
    scene.disks.blockers["d", "p"] = Skip.QUARANTINED
    assert scene.at(10) == []
    scene.disks.blockers.clear()
    scene.disks.on_trial.add(("d", "p"))
    assert scene.at(11) == [("d", "p")]
    assert scene.disks.planned_s == [None], "it was not planned, so that it cannot be late"
    scene.disks.on_trial.clear()
    assert scene.at(12) == []
    assert scene.at(3000) == [("d", "p")], "the plan stays as it was"
    assert skips(one) == {}


def test_a_trial_is_not_made_where_nothing_may_start_and_is_not_missed_then() -> None:
    paused, away, shut = turn("a", every_s=3600), turn("b", is_present=False), turn("c", windows=opens(60, 120))
    scene = Scene(paused, away, shut)
    scene.holding.refusals["a"] = Skip.PAUSED
    scene.disks.on_trial |= {("a", "p"), ("b", "p"), ("c", "p")}
    assert scene.at(1) == []
    assert [skips(each) for each in (paused, away, shut)] == [{}, {}, {}]
    scene.holding.refusals.clear()
    assert scene.at(2) == [("a", "p")]
    assert scene.at(61) == [("a", "p"), ("c", "p")]


def test_a_trial_that_waits_is_given_up_without_a_word_when_it_may_not_take_place_any_more() -> None:
    one = turn(every_s=3600, at_s=3000)
    scene = Scene(one)
    scene.disks.on_trial.add(("d", "p"))
    scene.disks.blockers["d", "p"] = Skip.CONCURRENCY
    assert scene.at(1) == []
    assert [each.due_unix is None for each in scene.rounds.upcoming()] == [False]
    scene.holding.refusals["d"] = Skip.BLACKOUT
    scene.at(2)
    assert [each.due_unix is None for each in scene.rounds.upcoming()] == [True]
    assert skips(one) == {}


def test_of_the_probes_that_wait_for_a_disk_the_one_that_hung_tries_it() -> None:
    first, hung = turn(probe="a", at_s=5), turn(probe="hung", at_s=6)
    scene = Scene(first, hung)
    scene.disks.blockers |= {("d", "a"): Skip.QUARANTINED, ("d", "hung"): Skip.QUARANTINED}
    assert scene.at(7) == []
    scene.disks.blockers.clear()
    scene.disks.on_trial.add(("d", "hung"))
    assert scene.at(8)[0] == ("d", "hung")
    assert scene.disks.planned_s[0] == scene.boot_s + 6, "that start was planned"


def test_a_run_on_an_absent_disk_is_skipped_at_once() -> None:
    one = turn(at_s=5, is_present=False)
    scene = Scene(one)
    assert scene.at(5) == []
    assert skips(one) == {Skip.ABSENT: 1}
    one.disk_entry.is_present = True
    assert scene.at(6) == []
    assert scene.at(15) == [("d", "p")]


def test_presence_is_looked_up_only_for_disks_that_are_due() -> None:
    scene = Scene(turn("a", at_s=5), turn("b", at_s=8))
    scene.at(4)
    assert scene.looked_at == []
    scene.at(5)
    assert scene.looked_at == ["a"]


def test_starts_that_were_slept_through_are_missed() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    scene.at(4)
    assert scene.at(36) == [("d", "p")]
    assert skips(one) == {Skip.MISSED: 3}, "5, 15 and 25; the start at 35 takes place"


def test_a_clock_set_forward_misses_nothing() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    scene.at(4)
    scene.wall_shift_s = 50 * 365 * 86400.0
    assert scene.at(6) == [("d", "p")]
    assert skips(one) == {}


def test_a_clock_set_back_does_not_stop_the_probes() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    assert scene.at(5) == [("d", "p")]
    scene.wall_shift_s = -86400.0
    assert scene.at(6) == []
    started = [time_s for time_s in range(7, 40) if scene.at(time_s)]
    assert started == [15, 25, 35]
    assert skips(one) == {}


def test_of_several_that_wait_the_oldest_starts_first() -> None:
    scene = Scene(turn("a", at_s=7), turn("b", at_s=6), turn("c", at_s=5))
    for disk in "abc":
        scene.disks.blockers[disk, "p"] = Skip.CONCURRENCY
    scene.at(8)
    scene.disks.blockers.clear()
    assert scene.at(9) == [("c", "p"), ("b", "p"), ("a", "p")]


def test_sleeps_end_with_the_next_start_and_after_a_second_at_most() -> None:
    scene = Scene(turn(at_s=5))
    assert scene.rounds.sleep_s(START_UNIX) == 1.0
    assert abs(scene.rounds.sleep_s(START_UNIX + 4.7) - 0.3) < 1e-6
    assert scene.rounds.sleep_s(START_UNIX + 6) == 0.0
    assert Rounds(Disks(), scene.look).sleep_s(START_UNIX) == 1.0


def test_a_start_that_has_come_when_the_plan_changes_takes_place() -> None:
    scene = Scene(turn("a", at_s=5))
    scene.at(4)
    scene.rounds.adopt([turn("a", at_s=5)], START_UNIX + 5.01)
    assert scene.at(5.02) == [("a", "p")]


def test_a_new_interval_is_planned_afresh() -> None:
    scene = Scene(turn("a", at_s=5))
    scene.at(4)
    scene.rounds.adopt([turn("a", at_s=8, every_s=20)], START_UNIX + 5.01)
    assert scene.at(6) == []
    assert scene.at(8) == [("a", "p")]


def test_a_new_plan_keeps_what_waits_and_forgets_what_was_removed() -> None:
    kept, removed = turn("a", at_s=5), turn("b", at_s=5)
    scene = Scene(kept, removed)
    scene.disks.blockers = {("a", "p"): Skip.CONCURRENCY, ("b", "p"): Skip.CONCURRENCY}
    scene.at(5)
    again, moved = turn("a", at_s=5), turn("c", at_s=5)
    scene.rounds.adopt([again, moved], START_UNIX + 6)
    scene.disks.blockers.clear()
    assert scene.at(7) == [("a", "p")]
    assert scene.at(15) == [("a", "p"), ("c", "p")]


def test_a_start_outside_of_the_windows_is_skipped_at_its_time() -> None:
    one = turn(at_s=5, windows=opens(14, 30))
    scene = Scene(one)
    assert [time_s for time_s in range(50) if scene.at(time_s)] == [15, 25]
    assert skips(one) == {Skip.WINDOW: 3}, "5, 35 and 45"


def test_a_start_that_waits_until_its_window_closes_is_skipped_with_what_it_waited_for() -> None:
    one = turn(every_s=100, at_s=5, windows=opens(0, 30))
    scene = Scene(one)
    scene.disks.blockers["d", "p"] = Skip.CONCURRENCY
    scene.at(5)
    scene.at(29)
    assert skips(one) == {}
    scene.disks.blockers.clear()
    assert scene.at(31) == []
    assert skips(one) == {Skip.CONCURRENCY: 1}


def test_a_tick_that_is_late_does_not_cost_a_start_at_the_end_of_a_window() -> None:
    one = turn(every_s=100, at_s=29, windows=opens(0, 30))
    scene = Scene(one)
    scene.at(28)
    assert scene.at(31) == [("d", "p")]


def test_a_machine_that_wakes_after_the_window_has_missed_its_start() -> None:
    one = turn(every_s=1000, at_s=5, windows=opens(0, 30))
    scene = Scene(one)
    scene.at(4)
    assert scene.at(600) == []
    assert skips(one) == {Skip.MISSED: 1}


def test_starts_slept_through_outside_of_the_windows_were_not_missed() -> None:
    one = turn(at_s=5, windows=opens(14, 40))
    scene = Scene(one)
    scene.at(4)
    assert scene.at(96) == []
    # 15, 25 and 35 were in the window; 5, 45, 55, 65, 75, 85 and 95 were not.
    assert skips(one) == {Skip.MISSED: 3, Skip.WINDOW: 7}


def test_a_paused_start_is_skipped_at_once_and_leaves_no_queue() -> None:
    for reason in (Skip.PAUSED, Skip.BLACKOUT):
        one, other = turn("a", at_s=5), turn("b", at_s=5)
        scene = Scene(one, other)
        scene.holding.refusals["a"] = reason
        assert scene.at(5) == [("b", "p")]
        assert skips(one) == {reason: 1}
        scene.holding.refusals.clear()
        assert scene.at(6) == []
        assert scene.at(15) == [("a", "p"), ("b", "p")]


def test_a_start_that_waits_when_it_is_paused_is_skipped() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    scene.disks.blockers["d", "p"] = Skip.CONCURRENCY
    scene.at(5)
    scene.holding.refusals["d"] = Skip.PAUSED
    scene.disks.blockers.clear()
    assert scene.at(6) == []
    assert skips(one) == {Skip.PAUSED: 1}


def test_a_start_under_pressure_waits_and_is_counted_when_the_next_one_comes() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    scene.holding.pressure = Skip.PRESSURE
    assert not any(scene.at(time_s) for time_s in range(5, 15))
    assert skips(one) == {}
    scene.at(15)
    assert skips(one) == {Skip.PRESSURE: 1}
    scene.holding.pressure = None
    assert scene.at(17) == [("d", "p")]


def test_a_taken_disk_is_named_before_the_pressure() -> None:
    one = turn(at_s=5)
    scene = Scene(one)
    scene.holding.pressure = Skip.PRESSURE
    scene.disks.blockers["d", "p"] = Skip.STUCK
    scene.at(5)
    scene.at(15)
    assert skips(one) == {Skip.STUCK: 1}


def test_how_late_a_start_is_does_not_depend_on_the_wall_clock() -> None:
    one = turn(every_s=100, at_s=5)
    scene = Scene(one)
    scene.disks.blockers["d", "p"] = Skip.CONCURRENCY
    scene.at(4)
    scene.at(7)
    scene.wall_shift_s = 70.0
    scene.disks.blockers.clear()
    scene.at(20)
    assert scene.disks.planned_s == [scene.boot_s + 5]


def test_after_the_clock_was_set_forward_a_start_is_late_by_the_time_that_has_passed() -> None:
    one = turn(every_s=100, at_s=95)
    scene = Scene(one)
    scene.at(1)
    scene.wall_shift_s = 5000.0
    scene.at(2)
    [planned_s] = scene.disks.planned_s
    assert planned_s is not None
    assert scene.boot_s + 1 <= planned_s <= scene.boot_s + 2


def test_what_comes_is_the_next_start_in_a_window_with_what_waits_and_was_skipped() -> None:
    one, two = turn("a", at_s=5, windows=opens(24, 40)), turn("b", at_s=7)
    scene = Scene(one, two)
    scene.disks.blockers["b", "p"] = Skip.CONCURRENCY
    scene.at(8)
    first, second = scene.rounds.upcoming()
    assert (first.disk, first.probe, first.next_unix - START_UNIX, first.due_unix) == ("a", "p", 25, None)
    assert (first.last_skip, first.last_skip_unix) == (Skip.WINDOW, START_UNIX + 8)
    assert (second.disk, second.next_unix - START_UNIX, second.due_unix) == ("b", 17, START_UNIX + 7)
    assert (second.last_skip, second.last_skip_unix) == (None, 0.0)
    scene.at(25)
    assert scene.rounds.upcoming()[0].next_unix == START_UNIX + 35


STEPS = st.lists(
    st.tuples(
        st.floats(0.01, 60),
        st.sampled_from([None, None, Skip.CONCURRENCY, Skip.OVERLAP, Skip.STUCK]),
        st.sampled_from([None, None, None, Skip.PAUSED, Skip.BLACKOUT]),
        st.sampled_from([None, None, Skip.PRESSURE]),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS, st.floats(0.1, 9.9), st.integers(0, 200), st.integers(1, 400))
def test_every_planned_start_takes_place_or_is_counted_once(
    steps: list[tuple[float, Skip | None, Skip | None, Skip | None, bool]], at_s: float, from_s: int, length_s: int
) -> None:
    one = turn(at_s=at_s, windows=opens(from_s, from_s + length_s))
    scene = Scene(one)
    time_s, started = 0.0, 0
    for step_s, blocker, refusal, pressure, is_present in steps:
        time_s += step_s
        scene.disks.blockers = {("d", "p"): blocker} if blocker else {}
        scene.holding.refusals = {"d": refusal} if refusal else {}
        scene.holding.pressure = pressure
        one.disk_entry.is_present = is_present
        before = one.due_unix
        started += len(scene.at(time_s))
        assert before is None or one.due_unix is None or one.due_unix >= before
    planned = sum(1 for k in range(10_000) if at_s + 10 * k <= time_s)
    # A float's grid and this one may differ by the last start, where that is at this very moment.
    assert abs(started + sum(skips(one).values()) + (one.due_unix is not None) - planned) <= (
        1 if abs((time_s - at_s) % 10 - 5) > 4.999 else 0
    )
    outside = sum(1 for k in range(planned) if not one.windows.is_open(START_UNIX + at_s + 10 * k))
    assert abs(skips(one).get(Skip.WINDOW, 0) - outside) <= 1


@given(STEPS, st.lists(st.floats(-100_000, 100_000), min_size=60, max_size=60))
def test_however_the_wall_clock_is_set_starts_are_at_most_one_an_interval(
    steps: list[tuple[float, Skip | None, Skip | None, Skip | None, bool]], jumps_s: list[float]
) -> None:
    """A clock that jumps may bring one start forward at each jump; nothing is missed but what was slept through."""
    one = turn(at_s=5)
    scene = Scene(one)
    time_s, started = 0.0, 0
    for number, (step_s, *_) in enumerate(steps):
        time_s += step_s
        scene.wall_shift_s += jumps_s[number] if number % 7 == 3 else 0.0
        started += len(scene.at(time_s))
    jumps = sum(1 for number in range(len(steps)) if number % 7 == 3)
    assert started + skips(one).get(Skip.MISSED, 0) <= time_s / 10 + 1 + jumps
    time_s += 10.01
    scene.at(time_s)
    assert abs(one.next_unix - (START_UNIX + time_s + scene.wall_shift_s)) <= 10.01, "it stays on the grid"

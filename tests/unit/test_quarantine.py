"""How long a disk that hung is left alone, what lifts its quarantine, and what a restart keeps of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.quarantine import (
    FIRST_S,
    JITTER,
    LONGEST_S,
    RELAPSE_S,
    Case,
    Medium,
    Quarantines,
    back_off_s,
)

NOW_UNIX = 1_800_000_000.0
SDA = Medium(path="/dev/disk/by-path/slot-3", device="sda", sequence="7", number="wwn-1")

places = st.text(min_size=1, max_size=40)


def hang(
    quarantines: Quarantines, now_s: float, medium: Medium = SDA, probe: str = "latency", place: str = "data0"
) -> Case:
    return quarantines.hang(place, medium, probe, hung_s=12.0, now_s=now_s, now_unix=NOW_UNIX)


@given(place=places, hangs=st.integers(1, 100_000))
def test_a_back_off_doubles_up_to_an_hour_and_is_never_shorter_than_that(place: str, hangs: int) -> None:
    expected_s = min(FIRST_S * 2 ** min(hangs - 1, 60), LONGEST_S)
    assert expected_s <= back_off_s(place, hangs) <= expected_s * (1 + JITTER)
    assert back_off_s(place, hangs) <= back_off_s(place, hangs + 1)
    assert back_off_s(place, hangs) == back_off_s(place, hangs)


def test_disks_that_hang_together_are_not_all_tried_together() -> None:
    ends = {round(back_off_s(f"/dev/disk/by-id/ata-{number}", 1), 2) for number in range(20)}
    assert len(ends) > 15


@given(gaps_s=st.lists(st.floats(0, 10_000), min_size=1, max_size=30), outcomes=st.data())
def test_whatever_happens_a_disk_is_tried_within_an_hour_or_so_of_its_last_hang(
    gaps_s: list[float], outcomes: st.DataObject
) -> None:
    quarantines, now_s, quarantined, begun = Quarantines(), 1000.0, False, 0
    for gap_s in gaps_s:
        now_s += gap_s
        event = outcomes.draw(st.sampled_from(["hang", "answer", "tell nothing", "by hand"]))
        if event == "hang":
            begun += not quarantined
            quarantined = True
            hang(quarantines, now_s)
        elif event == "answer":
            quarantined = False
            assert (quarantines.recover(SDA, now_s) is None) or not quarantines
        elif event == "tell nothing":
            quarantines.postpone(SDA, now_s)
        else:
            quarantines.end_back_off(SDA, now_s)
        case = quarantines.on(SDA)
        assert (case is not None) == quarantined == bool(quarantines)
        assert quarantines.begun("data0") == begun
        if case is not None:
            assert case.end_s <= now_s + LONGEST_S * (1 + JITTER)
            if event == "hang":
                assert case.end_s >= now_s + FIRST_S


def test_trials_that_hang_are_one_quarantine_and_the_age_is_that_of_the_first_io() -> None:
    quarantines = Quarantines()
    first = hang(quarantines, 100.0)
    assert (first.begun, first.hangs, first.hung_since_s) == (1, 1, 88.0)
    first_end_s = first.end_s
    assert not first.is_over(first_end_s - 0.1)
    assert first.is_over(first_end_s)
    again = hang(quarantines, first_end_s + 12)
    assert (again.begun, again.hangs, again.hung_since_s) == (1, 2, 88.0)
    assert again.end_s - (first_end_s + 12) == pytest.approx(2 * (first_end_s - 100))


def test_a_disk_that_comes_and_goes_is_left_alone_for_longer_each_time() -> None:
    quarantines = Quarantines()
    first_s = hang(quarantines, 100.0).end_s - 100
    quarantines.recover(SDA, 200.0)
    relapse = hang(quarantines, 300.0)
    assert (relapse.begun, relapse.hangs) == (2, 2)
    assert relapse.end_s - 300 == pytest.approx(2 * first_s)
    quarantines.recover(SDA, 400.0)
    assert hang(quarantines, 400.0 + RELAPSE_S + 1).hangs == 1, "that was another story"


def test_a_trial_that_says_nothing_is_repeated_after_the_same_time() -> None:
    quarantines = Quarantines()
    case = hang(quarantines, 100.0)
    length_s = case.end_s - 100
    quarantines.postpone(SDA, 110.0)
    assert case.end_s == 100 + length_s, "not before the trial"
    quarantines.postpone(SDA, case.end_s + 5)
    assert case.end_s == pytest.approx(100 + 2 * length_s + 5)
    assert case.hangs == 1


def test_released_by_hand_a_disk_is_tried_at_once_and_is_not_yet_good() -> None:
    quarantines = Quarantines()
    hang(quarantines, 100.0)
    case = quarantines.end_back_off(SDA, 101.0)
    assert case is not None
    assert case.is_over(101.0)
    assert quarantines
    assert quarantines.end_back_off(Medium(path="/elsewhere"), 101.0) is None


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (SDA, True),
        (Medium(path="/srv/a", device="sda", sequence="7", number="wwn-1"), True),
        (Medium(path="/srv/a", device="sda", sequence="", number=""), True),
        (Medium(path=SDA.path), True),
        (Medium(path="/srv/a"), False),
        (Medium(path="/srv/a", device="sdb", sequence="8", number="wwn-2"), False),
        (Medium(path=SDA.path, device="sdb", sequence="8", number="wwn-1"), False),
        (Medium(path=SDA.path, device="sda", sequence="9", number="wwn-1"), False),
        (Medium(path=SDA.path, device="sda", sequence="", number="wwn-2"), False),
    ],
)
def test_a_disk_is_the_same_by_any_path_and_another_one_at_the_same_path_is_not(other: Medium, is_same: bool) -> None:
    assert SDA.is_same(other) is is_same
    assert other.is_same(SDA) is is_same


def test_another_disk_in_the_place_of_one_that_hung_is_in_no_quarantine() -> None:
    quarantines = Quarantines()
    hang(quarantines, 100.0)
    other = Medium(path=SDA.path, device="sda", sequence="9", number="wwn-2")
    assert quarantines.on(other) is None
    assert quarantines.see("data0", SDA, 110.0) is None
    assert quarantines.on(SDA) is not None
    assert quarantines.see("data0", other, 110.0) is not None
    assert not quarantines
    assert quarantines.begun("data0") == 1
    assert hang(quarantines, 120.0, other).hangs == 1, "nothing of the other one's is held against it"


def test_the_same_disk_plugged_in_again_is_tried_at_once() -> None:
    quarantines = Quarantines()
    hang(quarantines, 100.0)
    back = Medium(path=SDA.path, device="sdb", sequence="9", number="wwn-1")
    assert quarantines.see("data0", back, 110.0) is None
    case = quarantines.on(back)
    assert case is not None
    assert case.is_over(110.0)
    assert quarantines.recover(back, 112.0) is case


def test_a_disk_in_quarantine_is_so_by_every_name_that_it_has() -> None:
    quarantines = Quarantines()
    case = hang(quarantines, 100.0)
    file = Medium(path="/srv/data0/probe", device="sda", sequence="7", number="wwn-1")
    assert quarantines.on(file) is case
    assert hang(quarantines, case.end_s + 12, file, "deep", place="files") is case
    assert (quarantines.begun("data0"), quarantines.begun("files")) == (1, 0)
    assert quarantines.recover(file, 1000.0) is case


def test_a_disk_that_is_not_watched_any_more_is_forgotten() -> None:
    quarantines = Quarantines()
    hang(quarantines, 100.0)
    changes = quarantines.changes
    quarantines.retain({"data0"})
    assert (quarantines.changes, bool(quarantines)) == (changes, True)
    quarantines.retain(())
    assert not quarantines
    assert quarantines.begun("data0") == 0


def kept(quarantines: Quarantines) -> list[Case]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(quarantines.kept()), type=list[Case])


def test_a_restart_keeps_what_is_known_and_a_reboot_the_count_alone() -> None:
    quarantines = Quarantines()
    hang(quarantines, 100.0)
    case = hang(quarantines, 200.0)
    restarted, rebooted = Quarantines(), Quarantines()
    restarted.restore(kept(quarantines), 210.0, is_same_boot=True)
    assert restarted.on(SDA) == case
    rebooted.restore(kept(quarantines), 5.0, is_same_boot=False)
    assert not rebooted
    assert rebooted.begun("data0") == 1
    again = hang(rebooted, 6.0)
    assert (again.begun, again.hangs, again.end_s) == (2, 1, 6.0 + back_off_s("data0", 1))


def test_a_time_that_cannot_be_does_not_keep_a_disk_for_ever() -> None:
    quarantines = Quarantines()
    case = hang(quarantines, 100.0)
    case.end_s = case.hung_since_s = 1e300
    restarted = Quarantines()
    restarted.restore(kept(quarantines), 210.0, is_same_boot=True)
    found = restarted.on(SDA)
    assert found is not None
    assert found.is_over(210.0 + LONGEST_S * (1 + JITTER))
    assert found.hung_since_s == 210.0

"""I/O pressure: what is read, and when it holds starts back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent import pressure
from iovigil.agent.config import PressureSettings
from iovigil.agent.pressure import BackOff, PressureUnknown, Reading

SETTINGS = PressureSettings(hold_some=80, resume_some=60, hold_full=30, resume_full=15, longest_s=900.0)


def psi(some: float, full: float) -> str:
    return (
        f"some avg10={some:.2f} avg60=6.55 avg300=6.32 total=1600311598\n"
        f"full avg10={full:.2f} avg60=2.96 avg300=2.38 total=1106012043\n"
    )


def machine(root: Path, host: str, **cgroups: str) -> str:
    (root / "proc/pressure").mkdir(parents=True)
    (root / "proc/pressure/io").write_text(host)
    for name, text in cgroups.items():
        (root / "sys/fs/cgroup" / name).mkdir(parents=True)
        (root / "sys/fs/cgroup" / name / "io.pressure").write_text(text)
    return str(root)


def read(root: str, *cgroups: str) -> Reading:
    settings = PressureSettings(cgroups=tuple(f"/sys/fs/cgroup/{name}" for name in cgroups))
    return pressure.read(pressure.sources(settings, root))


def states(*readings: tuple[float, float], settings: PressureSettings = SETTINGS) -> list[bool]:
    """Whether it holds after each (some, full), two seconds apart."""
    back_off = BackOff(settings)
    held = []
    for number, reading in enumerate(readings):
        back_off.note(Reading(*reading), number * 2.0)
        held.append(back_off.is_active(number * 2.0))
    return held


def test_the_average_of_ten_seconds_is_read(tmp_path: Path) -> None:
    assert read(machine(tmp_path, psi(6.25, 0.35))) == Reading(6.25, 0.35)


def test_this_kernels_file_is_read() -> None:
    file = Path("/proc/pressure/io")
    if not file.exists():
        pytest.skip("this kernel has no PSI")
    reading = pressure.read([file])
    assert 0 <= reading.full <= reading.some <= 100


def test_of_the_host_and_its_cgroups_the_highest_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, psi(10, 5), db=psi(40, 1), web=psi(2, 20))
    assert read(root, "db") == Reading(40, 5)
    assert read(root, "db", "web", "gone") == Reading(40, 20)


def test_a_kernel_without_psi_is_named(tmp_path: Path) -> None:
    with pytest.raises(PressureUnknown, match=r"proc/pressure/io is not there: the kernel needs CONFIG_PSI"):
        read(str(tmp_path))


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(PressureUnknown, match="has no line of some"):
        read(machine(tmp_path, "hello\n"))


def test_it_holds_from_the_upper_threshold_until_below_the_lower() -> None:
    assert states((79, 0), (80, 0), (70, 0), (60, 0), (59, 0), (79, 0)) == [False, True, True, True, False, False]
    assert states((40, 29), (40, 30), (40, 15), (40, 14)) == [False, True, True, False]


def test_both_kinds_have_to_be_below_before_it_lets_go() -> None:
    assert states((90, 40), (90, 10), (50, 20), (50, 10)) == [True, True, True, False]


def test_a_kind_with_a_threshold_of_zero_is_not_looked_at() -> None:
    settings = PressureSettings(hold_some=0, hold_full=30, resume_full=15)
    assert states((100, 0), (100, 30), (100, 14), settings=settings) == [False, True, False]


def test_pressure_that_goes_on_does_not_stop_the_probes_for_ever() -> None:
    back_off = BackOff(SETTINGS)
    back_off.note(Reading(100, 100), 0)
    back_off.note(Reading(100, 100), 899)
    assert back_off.is_active(899)
    back_off.note(Reading(100, 100), 900)
    assert not back_off.is_active(900)
    back_off.note(Reading(100, 100), 5000)
    assert not back_off.is_active(5000), "not before it has once been low"
    back_off.note(Reading(0, 0), 5001)
    back_off.note(Reading(100, 100), 5002)
    assert back_off.is_active(5002)


def test_without_settings_nothing_holds() -> None:
    back_off = BackOff(SETTINGS)
    back_off.note(Reading(100, 100), 0)
    back_off.adopt(None)
    back_off.note(Reading(100, 100), 1)
    assert not back_off.is_active(1)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=100))
def test_it_changes_only_across_a_threshold(readings: list[tuple[float, float]]) -> None:
    was_held = False
    for (some, full), is_held in zip(readings, states(*readings), strict=True):
        if is_held and not was_held:
            assert some >= 80 or full >= 30
        if was_held and not is_held:
            assert some < 60
            assert full < 15
        was_held = is_held

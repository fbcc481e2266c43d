"""Every fault of the table is seen in the metrics in time, its repair too, and nothing else suffers meanwhile."""

import faulthandler
import statistics
from pathlib import Path

import fault_report
import pytest
import reliability_page
from fault_alerts import complaints
from fault_cases import CASES, Case, Place
from fault_report import PAGE, render, without_times
from fault_signs import Sign
from fault_watch import WATCHDOG_S, Beside, Report

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop, pytest.mark.slow]

SCRAPE_S = 0.1
LATE_S: dict[Place, float] = {"here": 1.0, "machine": 10.0}
"""After its planned time, at most, a run begins; there, before the next one is due."""

BUSY = 0.8

MARKS = {"io_uring": [pytest.mark.requires_io_uring]}


def mark_of(name: str) -> pytest.MarkDecorator:
    found = getattr(pytest.mark, name)
    assert isinstance(found, pytest.MarkDecorator)
    return found


PARAMETERS = [
    pytest.param(
        case,
        marks=[*MARKS.get(case.engine, ()), *(getattr(pytest.mark, mark) for mark in case.fault.needs)],
        id=case.disk,
    )
    for case in CASES
]

Reports = dict[Place, Report]


@pytest.fixture(scope="module")
def tried(request: pytest.FixtureRequest) -> fault_report.Tried:
    """All faults whose tests are to be run, each by the I/O engines whose tests are."""
    chosen = {
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and hasattr(item, "callspec")
        and "case" in item.callspec.params
        and not any(mark.name == "skip" for mark in item.iter_markers())
    }
    # Longer than any one test may take, and it ends by itself.
    faulthandler.dump_traceback_later(fault_report.MOST_S, exit=True)
    return fault_report.tried([case for case in CASES if case in chosen])


def report_of(tried: fault_report.Tried, place: Place) -> Report:
    if place not in tried:
        pytest.skip("none of its faults was tried")
    found = tried[place]
    if not isinstance(found, Report):
        pytest.skip(f"no virtual machine: {found}")
    return found


def beside_of(tried: fault_report.Tried, place: Place) -> Beside:
    """Skips where the host had too much to do for a millisecond to mean anything; faults have to be seen even so."""
    beside = report_of(tried, place).beside
    if beside.cpu_wait > BUSY:
        pytest.skip(f"something waited for a CPU for {beside.cpu_wait:.0%} of the time")
    return beside


def late(signs: tuple[Sign, ...], noted: dict[str, float]) -> list[str]:
    """Signs that were not seen in time, and when."""
    return [
        f"{sign}: {noted.get(str(sign), 'never')} s, of {sign.within_s:g}"
        for sign in signs
        if noted.get(str(sign), sign.within_s + 1) > sign.within_s
    ]


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_fault_is_seen_in_time_and_so_is_its_repair(tried: fault_report.Tried, case: Case) -> None:
    report = report_of(tried, case.fault.place)
    seen = report.seen[case.disk]
    lines = "\n".join(line for line in report.log.splitlines() if case.disk in line)
    assert late(case.fault.signs, seen.signs) == [], lines
    assert late(case.fault.clears, seen.clears) == [], lines


@pytest.mark.parametrize("place", ["here", "machine"])
def test_the_disk_beside_them_keeps_its_schedule(tried: fault_report.Tried, place: Place) -> None:
    beside = beside_of(tried, place)
    assert (beside.skipped, beside.failed) == (0, 0)
    assert beside.runs >= beside.planned - 1
    assert max(beside.starts_late_s) < LATE_S[place]


@pytest.mark.parametrize("place", ["here", "machine"])
def test_the_main_loop_goes_round(tried: fault_report.Tried, place: Place) -> None:
    beside = beside_of(tried, place)
    assert beside.watchdog_gaps_s
    assert max(beside.watchdog_gaps_s) < WATCHDOG_S


def test_a_scrape_takes_no_longer(tried: fault_report.Tried) -> None:
    """Here alone: in the virtual machine everything takes ten times as long."""
    scrapes_s = beside_of(tried, "here").scrapes_s
    assert statistics.quantiles(scrapes_s, n=20)[-1] < SCRAPE_S
    assert max(scrapes_s) < 10 * SCRAPE_S, "the machine may do something else for a moment"


@pytest.mark.requires_promtool
def test_what_was_seen_raises_the_alert_of_the_table(tried: fault_report.Tried, tmp_path: Path) -> None:
    witnesses = fault_report.witnesses(tried)
    assert witnesses
    assert complaints(witnesses, tmp_path) == ""


def test_the_table_is_that_of_the_cases() -> None:
    table, _, _ = reliability_page.read(PAGE).partition("\n\n")
    assert without_times(table) == render({}), "run: python tests/system/fault_report.py"

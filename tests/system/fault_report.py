"""All faults of the table, tried on this machine and in a virtual one at the same time, and what is written of it.

`python tests/system/fault_report.py` tries all of them and writes the table into docs/reliability.md.
"""

import concurrent.futures
import math
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import fault_benches
import fault_watch
import reliability_page
import virtual_machine
from fault_alerts import Witness
from fault_cases import CASES, FAULTS, Case, Place, engines_by_fault
from fault_signs import Sign
from fault_watch import Beside, Report, Seen
from loop import attached

PROGRAM: Final = Path(__file__).with_name("faults_in_the_machine.py")
PROGRAM_S: Final = 450.0
MOST_S: Final = virtual_machine.START_S + PROGRAM_S + 100.0
TRUE_CLOCK: Final = "clocksource=hpet"
"""How fast the other one goes is found out at the start, and wrongly where the machine is kept waiting then."""
NOT_SEEN: Final = "-"
PAGE: Final = "seen"

Tried = dict[Place, Report | virtual_machine.CannotMake]


def tried_here(directory: Path, cases: Sequence[Case]) -> Report:
    image = directory / "healthy.img"
    with image.open("wb") as file:
        file.truncate(fault_benches.DISK_BYTES)
    with (
        attached(image) as healthy,
        fault_watch.all_benches(directory, engines_by_fault(cases), fault_benches.BENCHES) as benches,
    ):
        return fault_watch.watch(directory, benches, f"device: {healthy}")


def tried_in_the_machine(share: Path, cases: Sequence[Case]) -> Report:
    """Raises CannotMake."""
    machine = virtual_machine.virtual_machine()
    ended = machine.run(
        PROGRAM, share, PROGRAM_S, arguments=[case.disk for case in cases], kernel_parameters=TRUE_CLOCK
    )
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    return Report.from_json(ended.output)


def tried(cases: Sequence[Case]) -> Tried:
    """What came of each place that has a case; both at the same time, for each of them mostly waits."""
    found: Tried = {}
    begun_s, waited_s = time.monotonic(), fault_watch.waited_s()
    # Under /dev, as links to devices have to be.
    with (
        tempfile.TemporaryDirectory(prefix="iovigil-test-", dir="/dev/shm") as here,
        tempfile.TemporaryDirectory(prefix="iovigil-test-") as share,
        concurrent.futures.ThreadPoolExecutor(1) as beside,
    ):
        far = [case for case in cases if case.fault.place == "machine"]
        near = [case for case in cases if case.fault.place == "here"]
        machine = beside.submit(tried_in_the_machine, Path(share), far) if far else None
        if near:
            found["here"] = tried_here(Path(here), near)
        if machine is not None:
            try:
                found["machine"] = machine.result()
            except virtual_machine.CannotMake as reason:
                found["machine"] = reason
    cpu_wait = (fault_watch.waited_s() - waited_s) / (time.monotonic() - begun_s)
    for report in found.values():
        if isinstance(report, Report):
            report.beside.cpu_wait = cpu_wait
    return found


def witnesses(found: Tried) -> list[Witness]:
    """Of each case that was seen, what raises its alert."""
    seen = {disk: each for report in found.values() if isinstance(report, Report) for disk, each in report.seen.items()}
    return [
        Witness(case.disk, case.fault.alert, seen[case.disk].good, seen[case.disk].bad)
        for case in CASES
        if case.disk in seen
    ]


def render(seen: Mapping[str, Seen]) -> str:
    """The table, in Markdown; without what was measured where nothing was."""
    lines = [
        "| fault | how it is made | I/O engines | seen: after s, of those allowed | gone after the repair: s, of "
        "those allowed | alert |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for fault in FAULTS:
        each = [seen.get(Case(fault, engine).disk, Seen()) for engine in fault.engines]
        shown = ", ".join(fault.engines)
        signs = said(fault.signs, [one.signs for one in each])
        clears = said(fault.clears, [one.clears for one in each])
        lines.append(f"| {fault.name} | {fault.made} | {shown} | {signs} | {clears} | {fault.alert} |")
    return "\n".join(lines)


def said(signs: Sequence[Sign], noted: Sequence[Mapping[str, float]]) -> str:
    """Each sign with the longest time that it took."""
    parts = []
    for sign in signs:
        times_s = [each[str(sign)] for each in noted if str(sign) in each]
        longest = str(math.ceil(max(times_s))) if len(times_s) == len(noted) else NOT_SEEN
        parts.append(f"{sign}: {longest} of {sign.within_s:.0f}")
    return "; ".join(parts)


def without_times(table: str) -> str:
    return re.sub(r": \d+ of ", f": {NOT_SEEN} of ", table)


def render_beside(beside: Mapping[Place, Beside]) -> str:
    lines = [
        "| meanwhile | on this machine | in the virtual machine |",
        "| --- | --- | --- |",
    ]
    columns = [beside[place] for place in ("here", "machine")]
    for what, show in (
        ("runs on the healthy disk, of those planned", lambda it: f"{it.runs} of {it.planned}"),
        ("of these skipped; failed", lambda it: f"{it.skipped}; {it.failed}"),
        (
            "start of a run after its time, s: median; longest",
            lambda it: f"{statistics.median(it.starts_late_s):.3f}; {max(it.starts_late_s):.3f}",
        ),
        (
            "scrapes; how long they took, ms: median; longest",
            lambda it: (
                f"{len(it.scrapes_s)}; {1e3 * statistics.median(it.scrapes_s):.0f}; {1e3 * max(it.scrapes_s):.0f}"
            ),
        ),
        (
            f"longest time between two signs of life, with WatchdogSec={fault_watch.WATCHDOG_S:g}, s",
            lambda it: f"{max(it.watchdog_gaps_s):.1f}",
        ),
        ("share of the time in which something on the host waited for a CPU", lambda it: f"{it.cpu_wait:.0%}"),
    ):
        lines.append(f"| {what} | {' | '.join(show(column) for column in columns)} |")
    return "\n".join(lines)


def main() -> int:
    reports: dict[Place, Report] = {}
    for place, report in tried(CASES).items():
        if not isinstance(report, Report):
            print(report)
            return 1
        reports[place] = report
    seen = {disk: each for report in reports.values() for disk, each in report.seen.items()}
    beside = {place: report.beside for place, report in reports.items()}
    reliability_page.write(PAGE, f"{render(seen)}\n\n{render_beside(beside)}")
    table = render(seen)
    print(table)
    return int(f": {NOT_SEEN} of " in table)


if __name__ == "__main__":
    sys.exit(main())

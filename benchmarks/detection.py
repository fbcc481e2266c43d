"""How good is the detection of slow disks: simulated disk-months through the agent's detector and the shipped rules."""

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import restated_rules as rules
import simulated_disks as disks
from restated_rules import Array, Flags
from simulated_disks import DAY_S, HOUR_S, Fault, Healthy, Months

from iovigil.agent.slowdown.foreign_load import ForeignLoad
from iovigil.agent.slowdown.node import Node
from iovigil.agent.slowdown.track import Measurement, State, Track

DISKS: Final = 60
YEAR_DAYS: Final = 365.25
BEGAN_UNIX: Final = 1_700_000_000.0
FAULT_DAY: Final = 10.0
WARNINGS: Final = ("DiskSlow", "DiskVerySlow", "DiskSlowVsPeers", "DiskVerySlowVsPeers")
"""Of severity warning and more, about one disk. The others are information, or about a node."""
SEPARATE_H: Final = 24.0
"""Warnings of one disk that are closer are one."""


@dataclass(frozen=True)
class Case:
    """One way to be, on nodes of sixty disks."""

    name: str
    nodes: int
    days: float
    healthy: Healthy = Healthy()  # noqa: RUF009 - immutable
    fault: Fault | None = None
    faulty: int = 0
    busy: int = 0
    node: tuple[float, float, float] | None = None
    within_h: float = math.inf
    """By when it is to be told."""
    interval_s: float = 1800.0
    """Of the probe; a divisor of an hour. config/node.yml has 30 s, which takes a day to play."""


@dataclass
class Count:
    """What became of one node, or of several."""

    faulty: int = 0
    found: int = 0
    in_time: int = 0
    hours: list[float] = field(default_factory=list)
    false: dict[str, int] = field(default_factory=dict)
    """Warnings about disks that were well."""
    true: dict[str, int] = field(default_factory=dict)
    node_hours: float = 0.0
    """For which it was told that the node is slow."""
    unknown: float = 0.0
    """Share of the runs that nothing could be told of."""

    def add(self, other: "Count") -> None:
        self.faulty, self.found, self.in_time = (
            self.faulty + other.faulty, self.found + other.found, self.in_time + other.in_time,
        )  # fmt: skip
        self.hours += other.hours
        for name, number in other.false.items():
            self.false[name] = self.false.get(name, 0) + number
        for name, number in other.true.items():
            self.true[name] = self.true.get(name, 0) + number
        self.node_hours += other.node_hours
        self.unknown += other.unknown


@dataclass(frozen=True)
class Detected:
    """What the agent's own detector says of each disk after each run."""

    score: Array
    ratio: Array
    is_busy: Flags
    slow_disks: Array
    """Of the node."""
    unknown: float
    """Share of the runs that nothing could be told of."""


def detected(months: Months, interval_s: float) -> Detected:
    number, runs = months.p50_s.shape
    tracks, node = [Track() for _ in range(number)], Node()
    score, ratio, slow_disks = np.zeros((number, runs)), np.full((number, runs), np.nan), np.zeros(runs)
    is_busy = np.zeros((number, runs), dtype=np.bool_)
    keys = [(f"disk{disk}", "latency", "read") for disk in range(number)]
    unknown = 0
    p50_s, p99_s, speed, in_flight = (
        each.T.tolist() for each in (months.p50_s, months.p99_s, months.bytes_per_second, months.in_flight)
    )
    for run in range(runs):
        now_unix = BEGAN_UNIX + run * interval_s
        for disk, track in enumerate(tracks):
            foreign_iops = in_flight[run][disk] / p50_s[run][disk]
            load = ForeignLoad(in_flight[run][disk], 0.0, foreign_iops, 4096 * foreign_iops, 1e8)
            state = track.look(
                Measurement(now_unix, interval_s, 400, p50_s[run][disk], p99_s[run][disk], speed[run][disk], load)
            )
            word = None if state in (State.LEARNING, State.BUSY, State.FEW) else state is State.SLOW
            node.note(keys[disk], word, now_unix, interval_s)
            track.settle(is_node_slow=node.is_slow)
            score[disk, run], ratio[disk, run] = track.score, track.ratio
            is_busy[disk, run] = state is State.BUSY
            unknown += word is None
        slow_disks[run] = node.slow_ratio
    return Detected(score, ratio, is_busy, slow_disks, unknown / (number * runs))


def episodes(flags: Flags, interval_s: float) -> int:
    """How often a disk was warned of."""
    gap = round(SEPARATE_H * HOUR_S / interval_s)
    total = 0
    for row in flags:
        at = np.flatnonzero(row)
        total += int(len(at) > 0) + int((np.diff(at) > gap).sum())
    return total


def play(case: Case, seed: int) -> Count:
    """One node."""
    rng, interval_s = np.random.default_rng(seed), case.interval_s
    chosen = rng.permutation(DISKS)
    faulty = sorted(chosen[: case.faulty].tolist())
    busy = set(chosen[case.faulty : case.faulty + case.busy].tolist())
    faults = {disk: case.fault for disk in faulty if case.fault is not None}
    months = disks.months(
        rng, DISKS, case.days, interval_s, case.healthy, faults, fault_day=FAULT_DAY, busy=busy, node=case.node
    )
    found = detected(months, interval_s)
    series = rules.recorded(months.p50_s, months.bytes_per_second, found.is_busy, interval_s)
    firing = rules.alerts(series, found.score, found.ratio, interval_s)
    first = np.searchsorted(months.times_s, FAULT_DAY * DAY_S)
    firing = {name: flags[:, first:] for name, flags in firing.items()}
    well = [disk for disk in range(DISKS) if disk not in faults]
    union = np.logical_or.reduce([firing[name] for name in WARNINGS])
    count = Count(faulty=len(faulty), unknown=found.unknown)
    for name, flags in {**firing, "any": union}.items():
        if name != "NodeStorageSlowdown":
            count.false[name] = episodes(flags[well], interval_s)
            count.true[name] = int(flags[faulty].any(axis=1).sum()) if faulty else 0
    count.node_hours = float((found.slow_disks > 0.5).sum()) * interval_s / HOUR_S
    for disk in faulty:
        at = np.flatnonzero(union[disk])
        if len(at):
            hours = (months.times_s[first + at[0]] - FAULT_DAY * DAY_S) / HOUR_S
            count.hours.append(hours)
            count.found += 1
            count.in_time += hours <= case.within_h
    return count


def cases(years: float) -> list[Case]:
    days = FAULT_DAY + YEAR_DAYS * years
    healthy = [
        Case(
            f"healthy, {100 * share:.1f} % of hours slow, {hours} h at a time",
            1,
            days,
            Healthy(share, hours),
            interval_s=3600.0,
        )
        for share in (0.002, 0.006)
        for hours in (3, 6, 12)
    ]
    worse = Case("healthy, 0.6 % slow, 6 h at a time, 2.5 times", 1, days, Healthy(0.006, 6, 0.5), interval_s=3600.0)
    usual = Healthy(0.006, 6)
    month = FAULT_DAY + 30.0
    return [
        *healthy,
        worse,
        Case("busy: a third of the disks for days", 4, month, usual, busy=20),
        Case("5x", 4, FAULT_DAY + 2.0, usual, partial(disks.steady, factor=5.0), 12, within_h=3.0, interval_s=600.0),
        Case("3x", 4, FAULT_DAY + 6.0, usual, partial(disks.steady, factor=3.0), 12, within_h=72.0),
        Case("2x", 4, FAULT_DAY + 6.0, usual, partial(disks.steady, factor=2.0), 12, within_h=72.0, interval_s=600.0),
        Case("creeping: twice as slow in 60 days", 2, FAULT_DAY + 120.0, usual,
             partial(disks.creeping, doubling_days=60.0), 6),
        Case("intermittent: 3x for 6 h of 12", 4, month, usual,
             partial(disks.intermittent, factor=3.0, period_h=12.0, share=0.5), 6),
        Case("intermittent: 5x for 1 h of 8", 4, month, usual,
             partial(disks.intermittent, factor=5.0, period_h=8.0, share=0.125), 6),
        Case("node-wide: all disks 3x for a day", 4, month, usual, node=(20.0, 24.0, 3.0)),
        Case("node-wide: all disks 6x for a day", 4, month, usual, node=(20.0, 24.0, 6.0)),
    ]  # fmt: skip


def row(case: Case, count: Count) -> list[str]:
    hours = sorted(count.hours)
    false = count.false["any"]
    disk_years = (DISKS - case.faulty) * case.nodes * (case.days - FAULT_DAY) / YEAR_DAYS
    told = count.true["any"] + false
    return [
        case.name,
        f"{case.nodes} x {case.days - FAULT_DAY:.0f} d",
        f"{100 * count.found / count.faulty:.0f} %" if count.faulty else "",
        f"{100 * count.in_time / count.faulty:.0f} %" if count.faulty and case.within_h < math.inf else "",
        f"{100 * count.true['any'] / told:.0f} %" if count.faulty and told else "",
        f"{quantile(hours, 0.5)} / {quantile(hours, 0.95)}" if hours else "",
        f"{false * DISKS / disk_years:.1f}",
        f"{count.node_hours / case.nodes:.1f}" if case.node or count.node_hours else "",
        f"{100 * count.unknown / case.nodes:.0f} %",
    ]


def quantile(hours: Sequence[float], q: float) -> str:
    value = hours[min(int(q * len(hours)), len(hours) - 1)]
    return f"{value:.1f} h" if value < 100 else f"{value / 24:.0f} d"


def of_alerts(case: Case, count: Count) -> list[str]:
    node_years = (DISKS - case.faulty) * case.nodes * (case.days - FAULT_DAY) / YEAR_DAYS / DISKS
    return [case.name, *(f"{count.false[name] / node_years:.1f}" for name in NAMES)]


NAMES: Final = (*WARNINGS, "DiskSlowSuspect", "DiskLatencyRegression", "DiskThroughputDrop")
HEADING: Final = (
    "case", "played", "found", "in time", "precision", "time to tell, median / 95 %", "false a node-year",
    "node slow, h", "cannot tell",
)  # fmt: skip


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(each)} |" for each in (heading, *rows)]
    return "\n".join([lines[0], f"|{' --- |' * lines[0].count(' | ')} --- |", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases in whose name this regular expression is found")
    parser.add_argument("--years", type=float, default=1.0, help="node-years of each sort of healthy disks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    chosen = [case for case in cases(args.years) if re.search(args.only, case.name)]
    begun_s = time.monotonic()
    jobs = [
        (case, args.seed + 1000 * number + node) for number, case in enumerate(chosen) for node in range(case.nodes)
    ]
    total: dict[str, Count] = {case.name: Count() for case in chosen}
    with ProcessPoolExecutor(args.processes) as pool:
        played = pool.map(play_job, jobs)
        for number, ((case, _), count) in enumerate(zip(jobs, played, strict=True), 1):
            total[case.name].add(count)
            print(
                f"{number} of {len(jobs)} nodes: {case.name}, {count.false['any']} false", file=sys.stderr, flush=True
            )
    print(table(HEADING, (row(case, total[case.name]) for case in chosen)))
    print("\nFalse warnings a node-year, by alert:\n")
    print(table(("case", *NAMES), (of_alerts(case, total[case.name]) for case in chosen)))
    print(f"\nSeed {args.seed}, {time.monotonic() - begun_s:.0f} s.")


def play_job(job: tuple[Case, int]) -> Count:
    return play(*job)


if __name__ == "__main__":
    main()

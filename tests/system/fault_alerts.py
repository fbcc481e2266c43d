"""Whether what was scraped of a disk that went wrong raises its alert: promtool gets the scrapes, drawn out in time.

A series is for a long time what it was just before the fault, and then what it was just before the repair.
"""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import monitoring
import yaml
from fault_signs import Samples
from fault_watch import HEALTHY, Scrape

DEADLINE_S: Final = 60.0
MISSING, GONE = "_", "stale"
JOB: Final = "disks"
TIMESTAMP: Final = "_timestamp_seconds"

Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Pace:
    """How long each of the two stretches is, in steps of so many minutes."""

    step_min: int
    good_steps: int
    bad_steps: int

    @property
    def steps(self) -> int:
        return self.good_steps + self.bad_steps


SHORT: Final = Pace(1, 120, 15)
LONG: Final = Pace(4, 15 * 30, 15 * 9)
"""For what is measured against the time before, but for the last day."""
PACES: Final = {"DiskLatencyRegression": LONG}
UNJUDGED: Final = 'alertname!="DiskNotJudged"'
"""A run that others disturb, or that is short of I/Os, comes to a day of them when it is drawn out."""


@dataclass(frozen=True)
class Witness:
    """A disk, the alert that it is to raise, and what was scraped of it."""

    disk: str
    alert: str
    good: Scrape
    bad: Scrape


def complaints(witnesses: Sequence[Witness], directory: Path) -> str:
    """What promtool says against it that each raises its alert, the healthy disk none, and nobody any before.

    Of alerts about slow disks the healthy one is not asked: it too takes twice as long for a moment, which is drawn out
    here to hours.
    """
    said = ""
    for pace in (SHORT, LONG):
        chosen = [witness for witness in witnesses if PACES.get(witness.alert, SHORT) is pace]
        if chosen:
            file = directory / f"every-{pace.step_min}m.yml"
            file.write_text(yaml.safe_dump(rule_test(chosen, pace), width=1000))
            done = subprocess.run(
                ["promtool", "test", "rules", file], capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
            said += done.stdout * bool(done.returncode) + done.stderr
    return said


def rule_test(witnesses: Sequence[Witness], pace: Pace) -> dict[str, Any]:
    end_min, before_min = pace.steps * pace.step_min, (pace.good_steps - 1) * pace.step_min

    def firing(minutes: int, matchers: str, expected: Sequence[str]) -> dict[str, Any]:
        return {
            "expr": f'group by (alertname) (ALERTS{{alertstate="firing",{matchers}}})',
            "eval_time": f"{minutes}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected],
        }

    return {
        "rule_files": [str(monitoring.RULES)],
        "evaluation_interval": f"{pace.step_min}m",
        "group_eval_order": monitoring.group_names(),
        "tests": [
            {
                "interval": f"{pace.step_min}m",
                "input_series": [line for witness in witnesses for line in input_series(witness, pace)],
                "promql_expr_test": [
                    firing(before_min, UNJUDGED, []),
                    *([firing(end_min, f'disk="{HEALTHY}",{UNJUDGED}', [])] if pace is SHORT else []),
                    *(
                        firing(end_min, f'disk="{witness.disk}",alertname="{witness.alert}"', [witness.alert])
                        for witness in witnesses
                    ),
                ],
            }
        ],
    }


def input_series(witness: Witness, pace: Pace) -> Iterable[dict[str, str]]:
    """One instance for each witness: it is alone with the healthy disk."""
    good, bad = (series_of(scrape, witness.disk) for scrape in (witness.good, witness.bad))
    for name, labels in sorted({*good, *bad}):
        where = {"job": JOB, "instance": witness.disk, **dict(labels)}
        matchers = ",".join(f'{label}="{value}"' for label, value in where.items())
        before, after = good.get((name, labels)), bad.get((name, labels))
        if name.endswith(TIMESTAMP):
            values = times(before, after, witness, pace)
        else:
            values = f"{stretch(before, pace.good_steps)} {stretch(after, pace.bad_steps)}"
        yield {"series": f"{name}{{{matchers}}}", "values": values}


def series_of(scrape: Scrape, disk: str) -> Mapping[Series, float]:
    """Those of this disk, of the healthy one and of the agent that rules ask for."""
    wanted = {
        selector.metric for expr in monitoring.rule_expressions().values() for selector in monitoring.selectors(expr)
    }
    return {
        (name, tuple(labels.items())): value
        for name, labels, value in Samples(scrape.text)
        if name in wanted and labels.get("disk", HEALTHY) in (disk, HEALTHY)
    }


def stretch(value: float | None, steps: int) -> str:
    """That many samples of this value, in promtool's words; of None there are none, from the first on."""
    return f"{GONE} {MISSING}x{steps - 1}" if value is None else f"{value!r}x{steps - 1}"


def times(before: float | None, after: float | None, witness: Witness, pace: Pace) -> str:
    """A time that moves along with the clock, and stands still from the fault on unless it has moved since."""
    step_s = pace.step_min * 60
    if not before:
        first, last_s = stretch(before, pace.good_steps), 0.0
    else:
        start_s = before - witness.good.at_unix
        first, last_s = moving(start_s, step_s, pace.good_steps), start_s + (pace.good_steps - 1) * step_s
    if not after:
        second = stretch(after, pace.bad_steps)
    elif after == before:
        second = stretch(last_s, pace.bad_steps)
    else:
        second = moving(pace.good_steps * step_s + after - witness.bad.at_unix, step_s, pace.bad_steps)
    return f"{first} {second}"


def moving(start_s: float, step_s: int, steps: int) -> str:
    return f"{start_s:.3f}+{step_s}x{steps - 1}"

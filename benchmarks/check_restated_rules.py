"""Are the restated rules the shipped ones? promtool runs those on a week of simulated disks, and has to agree."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import restated_rules as rules
import yaml
from restated_rules import Array, Flags

RULES: Final = Path(__file__).resolve().parent.parent / "grafana" / "rules" / "iovigil.rules.yml"
DISKS: Final = 6
DAYS: Final = 6
INTERVAL_S: Final = 1200
STEP_S: Final = 240
"""promtool evaluates every group at this pace: less than the lookback, and a divisor of the interval."""
UNSURE_S: Final = 5400
"""Around a change the two may differ: here the hourly group is evaluated by the hour, there all the time."""
PROMTOOL_S: Final = 300.0
EVERY: Final = 4
"""Of the sure moments so many are looked at."""


def week() -> tuple[Array, Array, Array, Array, Flags]:
    """p50, throughput, score, ratio and business of disks that have every alert, for a while."""
    runs = DAYS * 86_400 // INTERVAL_S
    day = 86_400 // INTERVAL_S
    factor = np.ones((DISKS, runs))
    factor[1, 2 * day : int(5.1 * day)] = 3.0
    factor[2, int(2.3 * day) : int(2.8 * day)] = 7.0
    factor[3, int(2.6 * day) : int(2.75 * day)] = 2.6
    factor[3, int(3.2 * day) : int(3.8 * day)] = 2.6
    factor[:, int(5.2 * day) : int(5.5 * day)] *= 4.0
    rng = np.random.default_rng(7)
    p50_s = 0.008 * factor * np.exp(rng.normal(0, 0.02, factor.shape))
    gain = np.where(factor > 5, 0.15, np.where(factor > 2, 0.012, -0.006))
    score = np.clip(np.cumsum(gain, axis=1), 0, 1.1)
    is_busy = np.zeros(factor.shape, dtype=np.bool_)
    is_busy[5, int(2.2 * day) : int(3.4 * day)] = True
    p50_s[is_busy] *= 9.0
    return p50_s, 4096 / p50_s, score, factor, is_busy


def series(name: str, labels: str, values: Iterator[str] | list[str]) -> dict[str, str]:
    return {"series": f'{name}{{job="disks",instance="n",{labels}}}', "values": " ".join(values)}


def held_values(row: Array) -> list[str]:
    """Each value until the next run."""
    return [f"{value:.6g}x{INTERVAL_S // STEP_S - 1}" for value in row.tolist()]


def there_or_not(flags: Flags) -> list[str]:
    steps = INTERVAL_S // STEP_S
    return [f"1x{steps - 1}" if flag else f"_x{steps}" for flag in flags.tolist()]


def inputs(p50_s: Array, speed: Array, score: Array, ratio: Array, is_busy: Flags) -> list[dict[str, str]]:
    steps = p50_s.shape[1] * INTERVAL_S // STEP_S
    found = [
        series("iovigil_config_last_reload_success_timestamp_seconds", 'x="y"', [f"0x{steps}"]),
    ]
    found[0]["series"] = found[0]["series"].replace(',x="y"', "")
    for disk in range(DISKS):
        probe = f'disk="d{disk}",probe="p"'
        operation = f'{probe},operation="read"'
        found += [
            series("iovigil_interval_seconds", probe, [f"1000000x{steps}"]),
            series("iovigil_timeout_seconds", probe, [f"10x{steps}"]),
            series("iovigil_disk_info", f'disk="d{disk}",device="s{disk}",model="M"', [f"1x{steps}"]),
            series("iovigil_last_run_latency_seconds", f'{operation},q="0.5"', held_values(p50_s[disk])),
            series("iovigil_last_run_bytes_per_second", operation, held_values(speed[disk])),
            series("iovigil_slowdown_score", operation, held_values(score[disk])),
            series("iovigil_slowdown_ratio", operation, held_values(ratio[disk])),
            *(
                series("iovigil_slowdown_state", f'{operation},state="{state}"', there_or_not(flags))
                for state, flags in (("busy", is_busy[disk]), ("usual", ~is_busy[disk]))
            ),
        ]
    return found


def expected(firing: dict[str, Flags]) -> list[dict[str, Any]]:
    """What promtool has to find, at moments around which nothing changes."""
    margin = UNSURE_S // INTERVAL_S
    cases = []
    for name, flags in firing.items():
        rows = flags[:1] if name == "NodeStorageSlowdown" else flags
        runs = rows.shape[1]
        sure = [
            run
            for run in range(margin + 1, runs - margin - 1)
            if all((rows[:, place] == rows[:, run]).all() for place in range(run - margin, run + margin + 1))
        ]
        for run in sure[::EVERY]:
            fired = np.flatnonzero(rows[:, run]).tolist()
            labels = [f'{{alertname="{name}"}}' if rows is not flags else f'{{disk="d{disk}"}}' for disk in fired]
            by = "alertname" if len(rows) == 1 else "disk"
            cases.append(
                {
                    "expr": f'count by ({by}) (ALERTS{{alertname="{name}",alertstate="firing"}})',
                    # In the middle of what the run's value is held for.
                    "eval_time": f"{run * INTERVAL_S + INTERVAL_S // 2}s",
                    "exp_samples": [{"labels": each, "value": 1} for each in labels],
                }
            )
    return cases


def main() -> int:
    p50_s, speed, score, ratio, is_busy = week()
    firing = rules.alerts(rules.recorded(p50_s, speed, is_busy, INTERVAL_S), score, ratio, INTERVAL_S)
    cases = expected(firing)
    groups = [group["name"] for group in yaml.safe_load(RULES.read_text())["groups"]]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{STEP_S}s",
        "group_eval_order": groups,
        "tests": [
            {
                "interval": f"{STEP_S}s",
                "input_series": inputs(p50_s, speed, score, ratio, is_busy),
                "promql_expr_test": cases,
            }
        ],
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "restated.yml"
        path.write_text(yaml.safe_dump(test, width=1 << 20))
        done = subprocess.run(
            ["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=PROMTOOL_S, check=False
        )
    fired = {name: sum(bool(case["exp_samples"]) for case in cases if f'"{name}"' in case["expr"]) for name in firing}
    print(f"{len(cases)} moments; firing in: {fired}")
    print(done.stdout + done.stderr)
    return done.returncode or int(not all(fired.values()))


if __name__ == "__main__":
    sys.exit(main())

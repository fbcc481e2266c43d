"""A past for a Prometheus that begins now: hours in which the probes of an agent measured what they measure today."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

HOUR_S = 3600
# Baselines leave a day out and want 24 hours.
HOURS_AGO = range(60, 26, -1)
SCATTER = (0.9, 1.0, 1.1)

KEPT = {
    "iovigil_last_run_latency_seconds": "probe:iovigil_latency_p50:hourly",
    "iovigil_last_run_bytes_per_second": "probe:iovigil_bytes_per_second:hourly",
}


def write(tsdb: Path, metrics: str, *, job: str, instance: str) -> None:
    """Make blocks of what the hourly rules would have recorded of these metrics. Raises CalledProcessError."""
    text = tsdb.with_suffix(".openmetrics")
    text.write_text("\n".join(lines(metrics, job, instance)) + "\n# EOF\n")
    command: list[str | Path] = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, tsdb]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


def lines(metrics: str, job: str, instance: str) -> Iterator[str]:
    measured = [
        (KEPT[sample.name], sample.labels, sample.value)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name in KEPT and sample.labels.get("q", "0.5") == "0.5"
    ]
    now = time.time()
    for recorded in KEPT.values():
        yield f"# TYPE {recorded} gauge"
        for name, labels, value in measured:
            if name != recorded:
                continue
            of_target = {"job": job, "instance": instance, **{key: labels[key] for key in labels if key != "q"}}
            text = ",".join(f'{key}="{of_target[key]}"' for key in sorted(of_target))
            for hours in HOURS_AGO:
                scattered = value * SCATTER[hours % len(SCATTER)]
                yield f"{name}{{{text}}} {scattered:.9g} {now - hours * HOUR_S:.0f}"

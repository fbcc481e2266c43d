"""Runs in the virtual machine: an agent, and a clock that is set back and forward under it; what was seen, as JSON."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

PORT = 9942
DAY_S = 86_400.0
EVERY_S = 5.0
PHASE_S = 16.0
START_S = 100.0
"""By its own clock, which goes on faster than it can work."""
JUMPS = {"before": 0.0, "back a day": -DAY_S, "forward three days": 3 * DAY_S, "back to where it was": -2 * DAY_S}

CONFIG = """\
agent:
  listen: 127.0.0.1:9942
  state_directory: /run/state
  web: {enable_control: true}
  history: {days: 1, failure_days: 1}
disks: [{name: d, file: /run/d, size: 1MiB}]
probes:
  latency: {every: 5s, job: {rw: randread, bs: 4k, runtime: 300ms, rate_iops: 20, ioengine: psync}}
  paused: {every: 5s, job: {rw: randread, bs: 4k, runtime: 300ms, rate_iops: 20, ioengine: psync}}
"""


def asked(path: str, order: dict[str, Any] | None = None) -> bytes:
    body = None if order is None else json.dumps(order).encode()
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def metrics() -> dict[str, float]:
    lines = asked("/metrics").decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def of_probe(shown: dict[str, float], name: str, probe: str = "latency", **more: str) -> float:
    words = [f'probe="{probe}"', *(f'{label}="{value}"' for label, value in more.items())]
    return sum(
        v for series, v in shown.items() if series.startswith(f"iovigil_{name}{{") and all(w in series for w in words)
    )


def wait_for_agent() -> None:
    end_s = time.monotonic() + START_S
    while True:
        try:
            if of_probe(metrics(), "runs_total") >= 1:
                return
        except OSError:
            pass
        assert time.monotonic() < end_s, Path("/run/agent.log").read_text()
        time.sleep(1)


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=20)
    config, log = Path("/run/agent.yml"), Path("/run/agent.log")
    config.write_text(CONFIG)
    command = [sys.executable, "-c", "from iovigil.agent.cli import main; raise SystemExit(main())"]
    with log.open("wb") as output:
        agent = subprocess.Popen([*command, "agent", "--config", config], stdout=output, stderr=subprocess.STDOUT)
    wait_for_agent()
    asked("/api/v1/pause", {"disk": "d", "probe": "paused", "reason": "for ever"})
    phases = {}
    for name, jump_s in JUMPS.items():
        time.clock_settime(time.CLOCK_REALTIME, time.time() + jump_s)
        began_s, before = time.monotonic(), metrics()
        time.sleep(PHASE_S)
        now, passed_s = metrics(), time.monotonic() - began_s
        phases[name] = {
            "planned": passed_s / EVERY_S,
            "runs": of_probe(now, "runs_total") - of_probe(before, "runs_total"),
            "missed": of_probe(now, "runs_skipped_total", reason="missed"),
            "fell": [series for series, value in before.items() if "_total" in series and now.get(series, 0) < value],
            "last run ended ago": time.time() - of_probe(now, "last_run_end_timestamp_seconds"),
            "last success ago": time.time() - of_probe(now, "last_success_timestamp_seconds"),
            "healthy": asked("/-/healthy").decode().strip(),
            "runs of what is paused": of_probe(now, "runs_total", "paused"),
        }
    last = metrics()
    runs = json.loads(asked("/api/v1/runs?limit=500"))["runs"]
    found = {
        "phases": phases,
        # Where others use the host, a child takes longer to start than a run may take.
        "failures": of_probe(last, "run_failures_total") - of_probe(last, "run_failures_total", reason="timeout"),
        "runs": of_probe(last, "runs_total"),
        "kept": len(runs),
        "ids": [run["id"] for run in runs],
        "longest_s": max(run["duration_s"] for run in runs),
        "shortest_s": min(run["duration_s"] for run in runs),
        "delay_s": last["iovigil_run_start_delay_seconds_sum"] / last["iovigil_run_start_delay_seconds_count"],
    }
    agent.terminate()
    found["status"] = agent.wait(60)
    found["log"] = log.read_text()
    print(json.dumps(found))


if __name__ == "__main__":
    main()

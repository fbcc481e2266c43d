"""An agent and the Prometheus that scrapes it every second, with our rules loaded, and a past if one is wanted."""

import contextlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from processes import free_port, started, wait_until

IOVIGIL = Path(sys.executable).with_name("iovigil")
HTTP_DEADLINE_S = 5
# Prometheus scrapes for the first time 5 to 6 seconds after its start, whatever the interval.
DATA_DEADLINE_S = 60

AGENT_CONFIG = """\
agent:
  listen: 127.0.0.1:{port}
  state_directory: {directory}/state
"""
JOB = "disks"
PROMETHEUS_CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: disks
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
# Loop devices have no model, and only disks of one model are peers.
MODEL_OF_LOOP_DEVICES = {
    "source_labels": ["__name__", "model"],
    "regex": "iovigil_disk_info;",
    "target_label": "model",
    "replacement": "loop",
}


@dataclass(frozen=True)
class Stack:
    """Where the two listen, and what to ask them."""

    agent_port: int
    prometheus_port: int

    def is_ready(self) -> bool:
        try:
            get(f"http://127.0.0.1:{self.prometheus_port}/-/ready")
        except urllib.error.HTTPError:
            return False
        return True

    def metrics(self) -> bytes:
        return get(f"http://127.0.0.1:{self.agent_port}/metrics")

    def measured(self) -> int:
        """Probes on disks of which a run has ended well."""
        return self.metrics().count(b"\niovigil_last_success_timestamp_seconds{")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The result of an instant query. Raises AssertionError with what Prometheus says of a bad one."""
        url = f"http://127.0.0.1:{self.prometheus_port}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        try:
            answer = json.loads(get(url))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}\n{error.read().decode()}") from None
        return list(answer["data"]["result"])

    def wait_for(self, expr: str) -> list[dict[str, Any]]:
        return wait_until(lambda: self.query(expr), f"a result of {expr}", DATA_DEADLINE_S)


def get(url: str, deadline_s: float = HTTP_DEADLINE_S) -> bytes:
    with urllib.request.urlopen(url, timeout=deadline_s) as response:
        return bytes(response.read())


@contextlib.contextmanager
def scraped_agent(
    directory: Path,
    disks_and_probes: str,
    *,
    rules: Path | None = None,
    probes_with_past: int = 0,
    alertmanager_port: int | None = None,
) -> Iterator[Stack]:
    """Both, running with all their files under the directory.

    Without `rules` those that are shipped are used. With a past, Prometheus is started when so many probes have
    measured something, and begins with days of the same.
    """
    import monitoring  # of tests/unit, which programs in the virtual machine have not got
    import past

    stack = Stack(agent_port=free_port(), prometheus_port=free_port())
    agent_config, prometheus_config = directory / "agent.yml", directory / "prometheus.yml"
    agent_config.write_text(AGENT_CONFIG.format(port=stack.agent_port, directory=directory) + disks_and_probes)
    prometheus_config.write_text(configured(stack.agent_port, rules or monitoring.RULES, alertmanager_port))
    tsdb = directory / "tsdb"
    prometheus = [
        "prometheus",
        f"--config.file={prometheus_config}",
        f"--storage.tsdb.path={tsdb}",
        f"--web.listen-address=127.0.0.1:{stack.prometheus_port}",
    ]
    with started([IOVIGIL, "agent", "--config", agent_config], log=directory / "agent.log", port=stack.agent_port):
        if probes_with_past:
            wait_until(lambda: stack.measured() == probes_with_past, "a good run of every probe", DATA_DEADLINE_S)
            past.write(tsdb, stack.metrics().decode(), job=JOB, instance=f"127.0.0.1:{stack.agent_port}")
        with started(prometheus, log=directory / "prometheus.log", port=stack.prometheus_port):
            wait_until(stack.is_ready, "Prometheus has read its storage")
            yield stack


def configured(agent_port: int, rules: Path, alertmanager_port: int | None) -> str:
    config = yaml.safe_load(PROMETHEUS_CONFIG.format(port=agent_port, rules=rules))
    config["scrape_configs"][0]["metric_relabel_configs"] = [MODEL_OF_LOOP_DEVICES]
    if alertmanager_port is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]}
    return str(yaml.safe_dump(config))

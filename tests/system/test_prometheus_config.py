"""The Prometheus configuration as it is shipped: right for promtool, and finding and scraping an agent as it says."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import monitoring
import pytest
import yaml
from processes import free_port, started, wait_until
from scraping import AGENT_CONFIG, IOVIGIL, Stack

SHIPPED = monitoring.ROOT / "grafana" / "prometheus" / "prometheus.yml"
READS = """\
disks: [{{name: d0, file: {directory}/probe, size: 1MiB}}]
probes: {{reads: {{every: 2s, job: {{rw: randread, runtime: 200ms, rate_iops: 50}}}}}}
"""


@pytest.mark.requires_promtool
def test_promtool_accepts_it_and_finds_the_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", "--lint=all", "--lint-fatal", SHIPPED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(monitoring.rules())} rules found" in checked.stdout


def test_the_page_has_the_limits_of_the_file() -> None:
    page = (monitoring.ROOT / "docs" / "prometheus.md").read_text()
    for job in yaml.safe_load(SHIPPED.read_text())["scrape_configs"]:
        for setting in ("scrape_timeout", "sample_limit", "body_size_limit"):
            assert re.search(rf"^\| `{setting}` \| {job[setting]} \|", page, re.MULTILINE), setting


@pytest.mark.requires_prometheus
@pytest.mark.slow
def test_an_agent_of_a_file_is_scraped_under_its_labels(tmp_path: Path) -> None:
    stack = Stack(agent_port=free_port(), prometheus_port=free_port())
    shutil.copytree(SHIPPED.parent, tmp_path / "prometheus")
    shutil.copytree(monitoring.RULES.parent, tmp_path / "rules")
    config, targets = tmp_path / "prometheus" / "prometheus.yml", tmp_path / "prometheus" / "targets" / "storage.json"
    config.write_text(re.sub(r"scrape_(interval|timeout): \w+", r"scrape_\1: 1s", config.read_text()))
    groups = json.loads(targets.read_text())
    groups[0]["targets"] = [f"127.0.0.1:{stack.agent_port}"]
    targets.write_text(json.dumps(groups[:1]))
    agent = tmp_path / "agent.yml"
    agent.write_text(AGENT_CONFIG.format(port=stack.agent_port, directory=tmp_path) + READS.format(directory=tmp_path))
    prometheus = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{stack.prometheus_port}",
    ]
    with (
        started([IOVIGIL, "agent", "--config", agent], log=tmp_path / "agent.log", port=stack.agent_port),
        started(prometheus, log=tmp_path / "prometheus.log", port=stack.prometheus_port),
    ):
        wait_until(stack.is_ready, "Prometheus has read its storage")
        [ran] = stack.wait_for('iovigil_runs_total{job="iovigil-fleet"} >= 2')
        place = {"instance": f"127.0.0.1:{stack.agent_port}", "node": "127.0.0.1", **groups[0]["labels"]}
        assert place.items() <= ran["metric"].items()
        assert stack.query("iovigil_io_latency_seconds_bucket")
        assert stack.query("iovigil_io_response_seconds_count")
        assert stack.query("iovigil_io_response_seconds_bucket") == []

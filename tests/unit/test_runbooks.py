"""The runbooks: one for each alert, in four parts, whose commands exist and whose metrics are exported."""

import re
import subprocess

import monitoring
import pytest
import runbook

from iovigil.agent.cli import COMMANDS
from iovigil.agent.metrics.exposition import FAMILIES

ALERTS = {alert["alert"]: alert for alert in monitoring.alerts()}
PLACE = {"instance": "INSTANCE", "disk": "DISK", "probe": "PROBE"}
"""What stands for a label in a command; the rest of an alert's labels silence more narrowly than anybody wants."""

every_alert = pytest.mark.parametrize("alert", ALERTS)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    assert {path.stem for path in monitoring.RUNBOOKS.glob("*.md")} == ALERTS.keys()


@every_alert
def test_a_runbook_says_what_it_means_how_to_confirm_it_what_to_do_and_how_to_silence_it(alert):
    text = runbook.page(alert).read_text()
    assert text.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == runbook.PARTS
    assert all(len(runbook.part(alert, name).split()) >= 7 for name in runbook.PARTS)


@every_alert
def test_three_commands_or_more_confirm_it_and_the_shell_reads_them(alert):
    commands = runbook.commands(alert)
    assert len(commands) >= 3
    for command in commands:
        read = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, timeout=10, check=False)
        assert read.returncode == 0, f"{command}\n{read.stderr}"


@every_alert
def test_its_commands_of_iovigil_exist(alert):
    named = set(re.findall(r"\biovigil ([a-z][a-z-]+)\b", runbook.block(alert)))
    assert named <= COMMANDS.keys()


@pytest.fixture(scope="module")
def exposition(tmp_path_factory):
    """A scrape with one sample of every family, all of them of the disk and the probe of the page."""
    values = {"disk": "DISK", "probe": "PROBE", "q": "0.5"}
    lines = []
    for family in (family for group in FAMILIES.values() for family in group):
        labels = ",".join(f'{label}="{values.get(label, "x")}"' for label in family.labels)
        lines.append(f"{family.name}{{{labels}}} 1")
    file = tmp_path_factory.mktemp("scrape") / "metrics"
    file.write_text("\n".join(lines) + "\n")
    return file


@every_alert
def test_what_it_looks_for_in_the_metrics_is_there(alert, exposition):
    for command in runbook.commands(alert):
        here = command.replace("curl -s http://AGENT:9942/metrics", f"cat {exposition}")
        if here != command:
            found = subprocess.run(["bash", "-c", here], capture_output=True, text=True, timeout=10, check=False)
            assert found.stdout, command
    for name in re.findall(r"\biovigil_\w+[a-z]\b", runbook.page(alert).read_text()):
        assert any(name in known for known in monitoring.known()), name


@every_alert
def test_what_it_asks_prometheus_is_promql_about_series_that_exist(alert):
    for query in runbook.queries(alert):
        for selector in monitoring.selectors(query):
            assert selector.labels <= monitoring.known()[selector.metric]


@every_alert
def test_it_is_silenced_for_its_own_disk_and_probe_and_not_for_ever(alert):
    words = runbook.silence(alert)
    matchers = dict(word.split("=", 1) for word in words[3:] if not word.startswith("--"))
    labels = set(re.findall(r"\$labels\.(\w+)", ALERTS[alert]["annotations"]["summary"]))
    assert matchers == {"alertname": alert, **{label: PLACE[label] for label in labels & PLACE.keys()}}
    options = dict(word.split("=", 1) for word in words if word.startswith("--"))
    assert re.fullmatch(r"\d+[hd]", options["--duration"])
    assert options["--comment"]


@every_alert
def test_the_pages_it_sends_to_exist(alert):
    for link in re.findall(r"\]\(([^)#:]+)\)", runbook.page(alert).read_text()):
        assert (monitoring.RUNBOOKS / link).exists(), link

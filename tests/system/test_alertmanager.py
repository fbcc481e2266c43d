"""The Alertmanager file: accepted by amtool, and holding back on a real Alertmanager what it says, and nothing else."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import monitoring
import pytest
import runbook
import yaml
from alerting import SHIPPED, alertmanager, held_back, post, silenced
from processes import wait_until

SEVERITIES = ["info", "warning", "critical"]

INHIBITIONS = yaml.safe_load(SHIPPED.read_text())["inhibit_rules"]
ALERTS = {alert["alert"]: alert["labels"]["severity"] for alert in monitoring.alerts()}
PLACE = {"job": "disks", "instance": "n1:9942", "disk": "d0", "probe": "p"}


def named(matchers: list[str]) -> list[str]:
    """The alerts that an inhibition's matcher means."""
    [matcher] = matchers
    operator, pattern = re.fullmatch(r'alertname(=~?)"(.+)"', matcher).groups()  # type: ignore[union-attr]
    return [name for name in ALERTS if (name == pattern if operator == "=" else re.fullmatch(pattern, name))]


every_inhibition = pytest.mark.parametrize("inhibition", INHIBITIONS, ids=lambda rule: rule["source_matchers"][0])


@pytest.mark.requires_amtool
def test_amtool_accepts_the_file() -> None:
    checked = subprocess.run(
        ["amtool", "check-config", SHIPPED], capture_output=True, text=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(INHIBITIONS)} inhibit rules" in checked.stdout


@pytest.mark.requires_amtool
@pytest.mark.parametrize(("severity", "receiver"), [("critical", "pager"), ("warning", "tickets"), ("info", "daily")])
def test_each_severity_goes_to_its_receiver(severity: str, receiver: str) -> None:
    command = ["amtool", "config", "routes", "test", f"--config.file={SHIPPED}", f"--verify.receivers={receiver}"]
    routed = subprocess.run([*command, f"severity={severity}"], capture_output=True, text=True, timeout=30, check=False)
    assert routed.returncode == 0, routed.stdout + routed.stderr


@every_inhibition
def test_an_inhibition_names_alerts_that_exist_and_no_lesser_one_holds_back_a_greater(
    inhibition: dict[str, Any],
) -> None:
    sources, targets = named(inhibition["source_matchers"]), named(inhibition["target_matchers"])
    assert sources
    assert targets
    assert not set(sources) & set(targets)
    assert "DiskDataCorruption" not in targets
    greatest = max(SEVERITIES.index(ALERTS[name]) for name in targets)
    assert all(SEVERITIES.index(ALERTS[name]) >= greatest for name in sources)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    config = yaml.safe_load(SHIPPED.read_text())
    with alertmanager(tmp_path_factory.mktemp("alertmanager"), config) as port:
        yield port


@pytest.mark.requires_alertmanager
@every_inhibition
def test_alertmanager_holds_back_what_is_of_the_same_place_only(inhibition: dict[str, Any], port: int) -> None:
    # Each inhibition has a node of its own: what others fire does not reach it.
    here = {**PLACE, "instance": f"n{INHIBITIONS.index(inhibition)}"}
    [source, *_] = named(inhibition["source_matchers"])
    held = [{**here, "alertname": name} for name in named(inhibition["target_matchers"])]
    # In a place for each of them, where none of the others is.
    elsewhere = [
        {**alert, label: f"another-{here['instance']}-{alert['alertname']}"}
        for alert in held
        for label in {*inhibition["equal"], "instance"} - {"job"}
    ]
    post(port, [{**here, "alertname": source}, *held, *elsewhere])
    wait_until(lambda: all(map(held_back(port), held)), f"{source} to hold back {held}")
    is_held_back = held_back(port)
    assert not is_held_back({**here, "alertname": source})
    assert [alert for alert in elsewhere if is_held_back(alert)] == []


@pytest.mark.requires_alertmanager
@pytest.mark.requires_amtool
@pytest.mark.parametrize("alert", ALERTS)
def test_the_command_of_a_runbook_silences_its_alert_there_and_not_elsewhere(alert: str, port: int) -> None:
    here = {**PLACE, "instance": f"silent-{alert}", "alertname": alert}
    elsewhere = {**here, "instance": f"loud-{alert}"}
    command = runbook.silence(alert, INSTANCE=here["instance"], DISK=here["disk"], PROBE=here["probe"])
    url = f"--alertmanager.url=http://127.0.0.1:{port}"
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    post(port, [here, elsewhere])
    wait_until(lambda: silenced(port)(here), f"{alert} to be silent")
    assert not silenced(port)(elsewhere)

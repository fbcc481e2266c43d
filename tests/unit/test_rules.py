"""The Prometheus rules: valid, tested alert by alert, each with its runbook, and about series that exist."""

import re
import subprocess
from typing import Any

import monitoring
import pytest
import yaml

SEVERITIES = {"info", "warning", "critical"}


def ids(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.requires_promtool
def test_promtool_accepts_the_rules():
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(monitoring.RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.requires_promtool
@pytest.mark.parametrize("path", monitoring.RULE_TESTS, ids=lambda path: path.stem)
def test_the_rules_pass_their_unit_tests(path):
    tested = promtool("test", "rules", str(path))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", monitoring.alerts(), ids=ids)
def test_every_alert_is_tested_firing_and_silent(alert):
    cases = [
        case
        for path in monitoring.RULE_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == alert["alert"]
    ]
    assert any(case["exp_alerts"] for case in cases), "no test in which it fires"
    assert any(not case["exp_alerts"] for case in cases), "no test in which it is silent"


@pytest.mark.parametrize("path", monitoring.RULE_TESTS, ids=lambda path: path.stem)
def test_rule_tests_evaluate_every_group_in_order_and_faster_than_the_lookback(path):
    # promtool of Prometheus 3 gives random results otherwise.
    test = yaml.safe_load(path.read_text())
    groups = yaml.safe_load(monitoring.RULES.read_text())["groups"]
    assert test["group_eval_order"] == [group["name"] for group in groups]
    assert int(test["evaluation_interval"].removesuffix("m")) < 5


@pytest.mark.parametrize("alert", monitoring.alerts(), ids=ids)
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert):
    name = alert["alert"]
    annotations = alert["annotations"]
    assert alert["labels"]["severity"] in SEVERITIES
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"].endswith(f"/docs/runbooks/{name}.md")
    assert "$labels.instance" in annotations["summary"]


@pytest.mark.parametrize("rule", monitoring.rules(), ids=ids)
def test_a_rule_names_only_series_and_labels_that_are_exported_or_recorded(rule):
    series = monitoring.known()
    for selector in monitoring.selectors(rule["expr"]):
        assert selector.metric in series
        assert selector.labels <= series[selector.metric]


def test_series_of_slow_groups_are_read_over_a_range():
    """Between two evaluations of a group slower than the lookback of 5 minutes an instant selector finds nothing."""
    groups = yaml.safe_load(monitoring.RULES.read_text())["groups"]
    slow = {rule["record"] for group in groups if group["interval"].endswith("h") for rule in group["rules"]}
    assert slow
    for name, expr in monitoring.rule_expressions().items():
        for found in re.finditer("|".join(map(re.escape, slow)), expr):
            assert expr[found.end()] == "[", f"{name} reads {found.group()} at an instant"

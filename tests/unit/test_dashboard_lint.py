"""The rules of Grafana's dashboard-linter that apply to these dashboards, one test each, named as there.

The linter itself is a Go program that comes as source and as releases on GitHub. Its rules are tried here over
promql-parser, whose grammar is Prometheus's own.
"""

import re

import monitoring
import promql_parser
import pytest

RATE_INTERVAL = "4m13s"  # no range that somebody would write
DATASOURCES = {"$datasource", "${datasource}"}
UNITS = {"none", "short", "string", "percentunit", "s", "bytes", "Bps", "iops", "ops"}
"""Of Grafana's units those that we use: an unknown one is shown as text after the number."""
QUERIED = {"timeseries", "stat", "table", "heatmap", "state-timeline"}

every_dashboard = pytest.mark.parametrize("dashboard", monitoring.DASHBOARDS, ids=lambda path: path.stem)


def panels(dashboard):
    return [panel for panel in monitoring.panels(dashboard) if panel["type"] != "row"]


def targets(dashboard):
    return [(panel["title"], target["expr"]) for panel in panels(dashboard) for target in panel["targets"]]


def parsed(expr):
    return promql_parser.parse(expr.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "6h"))


def calls(expr):
    """Every call of a function on a range, as (function, range as written)."""
    without_matchers = re.sub(r"\{[^}]*\}", "", expr)
    return re.findall(r"(\w+)\(\w[\w:]*\[([^\]]+)\]\)", without_matchers)


def variable(dashboard, name):
    return next(variable for variable in monitoring.variables(dashboard) if variable["name"] == name)


@every_dashboard
def test_template_datasource_rule(dashboard):
    [source] = [variable for variable in monitoring.variables(dashboard) if variable["type"] == "datasource"]
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")


@every_dashboard
@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_rule_and_template_instance_rule(dashboard, name):
    template = variable(dashboard, name)
    assert template["datasource"]["uid"] in DATASOURCES
    assert template["type"] == "query"
    assert template["label"] == name.title()
    assert template["multi"] is True
    assert template["allValue"] == ".+"


@every_dashboard
def test_template_label_promql_rule(dashboard):
    for template in monitoring.variables(dashboard):
        if template["type"] == "query":
            [(selector, label)] = re.findall(r"^label_values\((.+), (\w+)\)$", template["query"])
            [found] = monitoring.selectors(selector)
            assert label == template["name"]
            assert {label, *found.labels} <= monitoring.known()[found.metric]


@every_dashboard
def test_template_on_time_change_reload_rule(dashboard):
    on_time_change = 2
    assert {template["refresh"] for template in monitoring.variables(dashboard) if template["type"] == "query"} == {
        on_time_change
    }


@every_dashboard
def test_panel_datasource_rule(dashboard):
    for panel in panels(dashboard):
        assert panel["datasource"]["uid"] in DATASOURCES
        assert {target["datasource"]["uid"] for target in panel["targets"]} <= DATASOURCES


@every_dashboard
def test_panel_title_description_rule(dashboard):
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]


@every_dashboard
def test_panel_units_rule(dashboard):
    for panel in panels(dashboard):
        if panel["type"] in ("stat", "table", "timeseries"):
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        for override in panel["fieldConfig"].get("overrides", []):
            assert {change["value"] for change in override["properties"] if change["id"] == "unit"} <= UNITS


@every_dashboard
def test_panel_no_targets_rule(dashboard):
    assert {panel["type"] for panel in panels(dashboard)} <= QUERIED
    assert all(panel["targets"] for panel in panels(dashboard))


@every_dashboard
def test_target_promql_rule(dashboard):
    for title, expr in targets(dashboard):
        assert parsed(expr), title


@every_dashboard
def test_target_rate_interval_rule(dashboard):
    """Of rates; an increase is also asked for over all of the time that is shown."""
    for title, expr in targets(dashboard):
        for function, over in calls(expr):
            allowed = {"rate": {"$__rate_interval"}, "increase": {"$__rate_interval", "$__range"}}
            assert over in allowed.get(function, {over}), title


@every_dashboard
@pytest.mark.parametrize("label", ["job", "instance"])
def test_target_job_rule_and_target_instance_rule(dashboard, label):
    marks = [(mark["name"], mark["expr"]) for mark in monitoring.annotations(dashboard)]
    for title, expr in (*targets(dashboard), *marks):
        selectors = monitoring.selectors(expr.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "6h"))
        assert selectors
        for selector in selectors:
            assert (label, "=~", f"${label}") in selector.matchers, title


@every_dashboard
def test_target_counter_agg_rule(dashboard):
    for title, expr in targets(dashboard):
        counters = re.findall(r"\b\w+_(?:total|bucket)\b", expr)
        taken = re.findall(r"\b(?:rate|increase)\((\w+_(?:total|bucket))\{", expr)
        assert counters == taken, title


@every_dashboard
def test_uneditable_dashboard(dashboard):
    assert monitoring.board(dashboard)["editable"] is False


@every_dashboard
def test_template_variables_are_used(dashboard):
    text = dashboard.read_text()
    for template in monitoring.variables(dashboard):
        assert re.search(rf"\$\{{?{template['name']}\b", text), template["name"]

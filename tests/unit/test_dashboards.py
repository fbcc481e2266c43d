"""The Grafana dashboards: built from code, in PromQL, and about series that exist.

They are checked as JSON and as queries. No Grafana server is at hand to open them in.
"""

import json
import subprocess
import sys

import monitoring
import pytest

BUILD = monitoring.ROOT / "grafana" / "dashboards" / "build.py"

every_dashboard = pytest.mark.parametrize("dashboard", monitoring.DASHBOARDS, ids=lambda path: path.stem)


def queried(dashboard):
    return [panel for panel in monitoring.panels(dashboard) if panel["type"] != "row"]


def test_the_committed_dashboards_are_what_the_generator_writes(tmp_path):
    subprocess.run([sys.executable, BUILD, tmp_path], check=True, timeout=60)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in monitoring.DASHBOARDS}
    assert built.keys() == committed.keys()
    assert [name for name in built if built[name] != committed[name]] == [], "run grafana/dashboards/build.py"


@pytest.mark.parametrize(("panel", "expr"), monitoring.dashboard_expressions().items())
def test_a_panel_names_only_series_and_labels_that_are_exported(panel, expr):
    series = monitoring.exported()
    selectors = monitoring.selectors(expr)
    assert selectors, panel
    for selector in selectors - {monitoring.Selector("up", frozenset({"instance"}))}:
        assert selector.metric in series
        assert selector.labels <= series[selector.metric]
        assert "instance" in selector.labels, "the choice of an agent has no effect"


@every_dashboard
def test_every_panel_has_a_title_a_description_a_unit_and_the_chosen_data_source(dashboard):
    for panel in queried(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        match panel["type"]:
            case "heatmap":
                assert panel["options"]["yAxis"]["unit"]
            case "state-timeline":
                assert panel["fieldConfig"]["defaults"]["mappings"]
            case _:
                assert panel["fieldConfig"]["defaults"]["unit"]


@every_dashboard
def test_counters_are_drawn_as_rates(dashboard):
    for panel in queried(dashboard):
        for target in panel["targets"]:
            if "_total{" in target["expr"] and panel["type"] != "stat":
                assert "[$__rate_interval]" in target["expr"]


@every_dashboard
def test_a_dashboard_lets_choose_data_source_agent_disk_and_probe(dashboard):
    variables = json.loads(dashboard.read_text())["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["datasource", "instance", "disk", "probe"]
    for variable in variables[1:]:
        metric = variable["query"].removeprefix("label_values(").split("{")[0].split(",")[0]
        assert variable["name"] in monitoring.exported()[metric]


@every_dashboard
def test_the_runbooks_a_panel_links_to_exist(dashboard):
    links = [link["url"] for panel in queried(dashboard) for link in panel.get("links", [])]
    assert links
    for url in links:
        assert (monitoring.RUNBOOKS / url.rpartition("/")[2]).is_file()


@every_dashboard
def test_panels_do_not_overlap(dashboard):
    taken: set[tuple[int, int]] = set()
    for panel in monitoring.panels(dashboard):
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells

"""The Grafana dashboards: built from code, in PromQL, about series that exist, and leading to each other.

They are checked as JSON and as queries. No Grafana server is at hand to open them in.
"""

import re
import subprocess
import sys
from urllib.parse import urlsplit

import monitoring
import pytest

from iovigil.agent.metrics.exposition import FAMILIES

BUILD = monitoring.ROOT / "grafana" / "dashboards" / "build.py"
UIDS = {f"iovigil-{path.stem}" for path in monitoring.DASHBOARDS}

every_dashboard = pytest.mark.parametrize("dashboard", monitoring.DASHBOARDS, ids=lambda path: path.stem)


def queried(dashboard):
    return [panel for panel in monitoring.panels(dashboard) if panel["type"] != "row"]


def build(*arguments):
    return subprocess.run(
        [sys.executable, BUILD, *arguments], capture_output=True, text=True, timeout=60, check=False, env={}
    )


def test_there_is_one_dashboard_each_for_the_fleet_a_node_a_disk_and_the_agents():
    assert {"iovigil-fleet", "iovigil-node", "iovigil-disk", "iovigil-agent"} == UIDS


def test_the_committed_dashboards_are_what_the_generator_writes():
    checked = build("--check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_generator_tells_a_stale_dashboard_from_its_own(tmp_path):
    assert build(tmp_path).returncode == 0
    assert build("--check", tmp_path).returncode == 0
    disk = tmp_path / "disk.json"
    disk.write_text(disk.read_text().replace("Everything", "Something"))
    (tmp_path / "another.json").write_text("{}")
    checked = build("--check", tmp_path)
    assert checked.returncode == 1
    assert "another.json, disk.json; run grafana/dashboards/build.py" in checked.stderr


@pytest.mark.parametrize("target", monitoring.targets(), ids=str)
def test_a_query_names_only_series_and_labels_that_exist(target):
    series = monitoring.known()
    selectors = monitoring.selectors(target.expr)
    assert selectors
    for selector in selectors:
        assert selector.metric in series
        assert selector.labels <= series[selector.metric]


@every_dashboard
def test_a_time_line_of_states_says_what_they_are(dashboard):
    for panel in queried(dashboard):
        if panel["type"] == "state-timeline":
            assert panel["fieldConfig"]["defaults"]["mappings"]
        if panel["type"] == "heatmap":
            assert panel["options"]["yAxis"]["unit"]


@every_dashboard
def test_a_unit_is_that_of_what_is_drawn(dashboard):
    """Where one metric is drawn as it is, or as a rate."""
    units = {family.name: family.unit for group in FAMILIES.values() for family in group}
    fitting = {"seconds": {"s"}, "bytes": {"bytes", "Bps"}, "ratio": {"percentunit", "none"}}  # none: times as slow
    for panel in queried(dashboard):
        if panel["type"] != "timeseries":
            continue
        for target in panel["targets"]:
            expr = monitoring.fill_in(target["expr"])
            [metric, *others] = {re.sub("_(bucket|count)$", "", found.metric) for found in monitoring.selectors(expr)}
            if others or " / " in expr or "_count{" in expr or metric not in units:
                continue
            unit = panel["fieldConfig"]["defaults"]["unit"]
            assert unit in fitting.get(units[metric], {"short", "none", "iops", "ops", "percentunit"}), panel["title"]


@every_dashboard
def test_the_runbooks_a_panel_links_to_exist(dashboard):
    links = [link["url"] for panel in queried(dashboard) for link in panel.get("links", [])]
    assert links
    for url in links:
        assert (monitoring.RUNBOOKS / url.rpartition("/")[2]).is_file()


def test_every_alert_is_linked_from_some_panel():
    linked = {
        link["url"].rpartition("/")[2].removesuffix(".md")
        for dashboard in monitoring.DASHBOARDS
        for panel in queried(dashboard)
        for link in panel.get("links", [])
    }
    assert {alert["alert"] for alert in monitoring.alerts()} - linked == set()


def board_links(dashboard):
    return monitoring.board(dashboard)["links"]


@every_dashboard
def test_a_board_leads_to_all_boards_with_variables_and_time_kept(dashboard):
    [boards] = [link for link in board_links(dashboard) if link["type"] == "dashboards"]
    assert boards["includeVars"] is True
    assert boards["keepTime"] is True
    for other in monitoring.DASHBOARDS:
        assert set(boards["tags"]) <= set(monitoring.board(other)["tags"])


def cell_links(dashboard):
    return [
        link["url"]
        for panel in queried(dashboard)
        for override in panel["fieldConfig"].get("overrides", [])
        for change in override["properties"]
        if change["id"] == "links"
        for link in change["value"]
    ]


@pytest.mark.parametrize("stem", ["fleet", "node"])
def test_a_click_on_a_disk_opens_its_board_with_this_disk_of_this_node_at_this_time(stem):
    urls = set(cell_links(monitoring.ROOT / "grafana" / "dashboards" / f"{stem}.json"))
    assert any("/d/iovigil-disk/" in url for url in urls)
    for url in urls:
        uid = urlsplit(url).path.split("/")[2]
        assert uid in UIDS
        given = set(re.findall(r"var-(\w+)=", url)) | set(re.findall(r"\$\{(\w+):queryparam\}", url))
        known = {variable["name"] for variable in monitoring.variables(monitoring.dashboard_of(uid))}
        assert given <= known
        assert {"datasource", "job", "instance"} <= given
        assert "${__url_time_range}" in url


@every_dashboard
def test_reloads_and_quarantines_are_marked_on_the_time_axis(dashboard):
    assert {"Reloads", "Quarantines"} <= {mark["name"] for mark in monitoring.annotations(dashboard)}
    assert {mark["datasource"]["uid"] for mark in monitoring.annotations(dashboard)} == {"${datasource}"}


@every_dashboard
def test_panels_do_not_overlap(dashboard):
    taken: set[tuple[int, int]] = set()
    for panel in monitoring.panels(dashboard):
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells

"""A real Prometheus scrapes a running agent; rules and dashboards ask it for what they show."""

import subprocess
from collections.abc import Iterator

import monitoring
import pytest
from processes import wait_until
from scraping import DATA_DEADLINE_S, Stack, scraped_agent

from iovigil.agent.metrics import scrub, slowdown
from iovigil.agent.metrics.exposition import FAMILIES

pytestmark = [pytest.mark.requires_prometheus, pytest.mark.requires_promtool]

# Two disks, so that neither probe has to wait for the other; a steady rate, so that a run is seen moving.
DISKS_AND_PROBES = """\
disks:
  - {{name: read, file: {directory}/read, size: 8MiB}}
  - {{name: verify, file: {directory}/verify, size: 8MiB}}
probes:
  steady:
    every: 10s
    disks: [read]
    job: {{rw: randread, bs: 4k, runtime: 8s, rate_iops: 200}}
  integrity:
    every: 10s
    disks: [verify]
    job: {{rw: randwrite, bs: 64k, size: 4MiB, verify: crc32c, runtime: 4s, rate_iops: 50}}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("prometheus")
    with scraped_agent(directory, DISKS_AND_PROBES.format(directory=directory)) as running:
        yield running


def test_prometheus_reaches_the_agent(stack):
    [up] = stack.wait_for("up == 1")
    assert up["metric"]["job"] == "disks"


def test_bytes_are_counted_while_a_run_is_in_progress(stack):
    moving = stack.wait_for(
        'rate(iovigil_io_bytes_total{operation="read"}[3s]) > 0'
        " and on (disk, probe) min_over_time(iovigil_run_in_progress[3s]) == 1"
    )
    assert {series["metric"]["disk"] for series in moving} <= {"read", "verify"}


def test_reads_are_counted_as_fast_as_they_were_told_to_go(stack):
    """200 reads a second of 4 KiB, as Prometheus sees them between two scrapes of one run."""
    [series] = stack.wait_for(
        'rate(iovigil_ios_total{disk="read", operation="read"}[4s])'
        ' and on (disk, probe) sum_over_time(iovigil_run_in_progress{disk="read"}[6s]) == 6'
    )
    assert float(series["value"][1]) == pytest.approx(200, rel=0.25)


def test_what_was_written_is_verified(stack):
    assert stack.wait_for('iovigil_verified_bytes_total{disk="verify"} > 0')
    assert stack.query("sum(iovigil_verify_mismatches_total) == 0")


def test_promtool_finds_nothing_to_say_about_the_metrics(stack):
    stack.wait_for("count(iovigil_last_run_success) == 2")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=stack.metrics(), capture_output=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_every_metric_of_rules_and_dashboards_is_exported(stack):
    stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 2")
    samples = [line for line in stack.metrics().decode().splitlines() if not line.startswith("#")]
    exported = {line.partition(" ")[0].partition("{")[0] for line in samples}
    of_scrubs = {family.name for family in FAMILIES[scrub]}  # of which there is none here
    later = {slowdown.SLOWDOWN_RATIO.name}  # after thirty runs
    assert monitoring.metrics_used() - exported - of_scrubs - later == set()


def test_every_panel_shows_something(stack):
    """An empty panel of a healthy agent is a query that names the wrong labels. All empty ones are listed."""
    stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 2")
    expressions = monitoring.dashboard_expressions()

    def empty() -> list[str]:
        return [panel for panel, expr in expressions.items() if not stack.query(expr)]

    wait_until(lambda: not empty(), f"a result for {empty()}", DATA_DEADLINE_S)


def test_prometheus_evaluates_every_rule(stack):
    """promtool does not see series that a join finds twice: that fails on real ones only."""
    stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 2")
    for expr in monitoring.rule_expressions().values():
        stack.query(expr)


def test_no_alert_fires_for_a_healthy_agent(stack):
    stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 2")
    assert {alert["alert"]: stack.query(alert["expr"]) for alert in monitoring.alerts()} == {
        alert["alert"]: [] for alert in monitoring.alerts()
    }

"""A real Prometheus scrapes a running agent; rules and dashboards ask it for what they show."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import monitoring
import pytest
import quick_rules
from alerting import taking_all
from loop import MIB, attached, command, mounted
from processes import NotReady, wait_until
from scraping import DATA_DEADLINE_S, JOB, Stack, scraped_agent

from iovigil.agent.metrics import slowdown

pytestmark = [
    pytest.mark.requires_prometheus,
    pytest.mark.requires_promtool,
    pytest.mark.requires_loop,
    pytest.mark.requires_mkfs,
]

NAMES = ("read", "verify", "scrubbed", "peer", "quick")

# Each disk is a device of its own, which nobody else keeps busy; four of them are peers. Rates, so that a run is seen
# moving. The agent learns what is usual from thirty runs, of which `often` has enough soon. The first lines go on with
# the mapping `agent:`.
DISKS_AND_PROBES = """\
  max_workers: 5
  textfile: {{directory: {directory}, every: 1s}}
  otlp: {{endpoint: "{otlp}v1/metrics", every: 1s, timeout: 1s}}
disks:
  - {{name: read, file: {read}/probe, size: 8MiB}}
  - {{name: verify, file: {verify}/probe, size: 8MiB}}
  - {{name: scrubbed, file: {scrubbed}/probe, size: 8MiB}}
  - {{name: peer, file: {peer}/probe, size: 8MiB}}
  - {{name: quick, file: {quick}/probe, size: 8MiB}}
probes:
  steady:
    every: 10s
    disks: [read]
    job: {{rw: randread, bs: 4k, runtime: 8s, rate_iops: 200, direct: 1}}
  integrity:
    every: 10s
    disks: [verify]
    job: {{rw: randwrite, bs: 64k, size: 2MiB, verify: crc32c, runtime: 2s, rate_iops: 50, direct: 1}}
  scrub:
    kind: scrub
    every: 5s
    disks: [scrubbed]
    period: 1h
    job: {{bs: 64k, runtime: 2s, rate: 4m, direct: 1}}
  latency: &latency
    every: 4s
    disks: [verify, scrubbed, peer, quick]
    job: {{rw: randread, bs: 4k, runtime: 200ms, rate_iops: 300, direct: 1}}
  often:
    <<: *latency
    every: 1s
    disks: [quick]
"""
PROBES = 8

UNKNOWN_HERE = {
    "serial", "wwn", "firmware", "transport", "rotational", "scheduler", "controller", "device", "revision",
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("prometheus")
    with contextlib.ExitStack() as made:
        images = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="iovigil-test-", dir="/dev/shm")))
        places = {name: made.enter_context(ext4_on(images / name, directory / f"mount-{name}")) for name in NAMES}
        config = DISKS_AND_PROBES.format(directory=directory, otlp=made.enter_context(taking_all()), **places)
        rules = quick_rules.write(directory / "rules.yml")
        yield made.enter_context(scraped_agent(directory, config, rules=rules, probes_with_past=PROBES))


@contextlib.contextmanager
def ext4_on(image: Path, point: Path) -> Iterator[Path]:
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    with attached(image) as device:
        command("mkfs.ext4", "-q", "-F", "-m", "0", device)
        with mounted(device, point):
            yield point


def test_prometheus_reaches_the_agent(stack):
    [up] = stack.wait_for("up == 1")
    assert up["metric"]["job"] == JOB


def test_bytes_are_counted_while_a_run_is_in_progress(stack):
    moving = stack.wait_for(
        'rate(iovigil_io_bytes_total{operation="read"}[3s]) > 0'
        " and on (disk, probe) min_over_time(iovigil_run_in_progress[3s]) == 1"
    )
    assert {series["metric"]["probe"] for series in moving} <= {"steady", "integrity", "scrub", "latency", "often"}


def test_reads_are_counted_as_fast_as_they_were_told_to_go(stack):
    """200 reads a second of 4 KiB, as Prometheus sees them between two scrapes of one run."""
    [series] = stack.wait_for(
        'rate(iovigil_ios_total{disk="read", operation="read"}[4s])'
        ' and on (disk, probe) sum_over_time(iovigil_run_in_progress{disk="read"}[6s]) == 6'
    )
    assert float(series["value"][1]) == pytest.approx(200, rel=0.25)


def test_what_was_written_is_verified(stack):
    assert stack.wait_for('iovigil_verified_bytes_total{probe="integrity"} > 0')
    assert stack.query("sum(iovigil_verify_mismatches_total) == 0")


def test_promtool_finds_nothing_to_say_about_the_metrics(stack):
    stack.wait_for("count(iovigil_last_run_success) == 8")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=stack.metrics(), capture_output=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_every_metric_of_rules_and_dashboards_is_exported(stack):
    stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 8")
    samples = [line for line in stack.metrics().decode().splitlines() if not line.startswith("#")]
    exported = {line.partition(" ")[0].partition("{")[0] for line in samples}
    learnt = {slowdown.SLOWDOWN_RATIO.name, slowdown.BASELINE_LATENCY.name}  # by thirty runs
    assert monitoring.metrics_used() - exported - learnt == set()


def empty_when_all_is_well(target: monitoring.Target) -> bool:
    """A panel that says so by its name; and the mark of a fault on the time axis."""
    return target.title.endswith((", if any", "that fire")) or target.title == "Quarantines"


def test_every_query_of_every_dashboard_has_a_result(stack):
    """An empty panel of a healthy agent is a query that names the wrong labels. All empty ones are listed."""
    expected = [target for target in monitoring.targets() if not empty_when_all_is_well(target)]

    def empty() -> list[str]:
        return [str(target) for target in expected if not stack.query(target.expr)]

    try:
        wait_until(lambda: not empty(), "a result of every query", DATA_DEADLINE_S)
    except NotReady:
        assert empty() == []


def test_results_have_the_labels_that_a_panel_shows(stack):
    for target in monitoring.targets():
        for series in stack.query(target.expr):
            # The one thing that is nowhere: what a file in a directory, or a loop device, has not got.
            assert target.shown - series["metric"].keys() <= UNKNOWN_HERE, str(target)


def test_what_is_chosen_from_is_offered(stack):
    """Each variable's values, by the series that they are taken from."""
    offered = {
        name: {series["metric"][name] for series in stack.query(f"group by ({name}) ({metric})")}
        for name, metric in (
            ("job", "iovigil_build_info"),
            ("instance", "iovigil_build_info"),
            ("disk", "iovigil_disk_present"),
            ("probe", "iovigil_probe_info"),
        )
    }
    assert offered == {
        "job": {JOB},
        "instance": {f"127.0.0.1:{stack.agent_port}"},
        "disk": set(NAMES),
        "probe": {"steady", "integrity", "scrub", "latency", "often"},
    }


def test_prometheus_evaluates_every_rule(stack):
    """promtool does not see series that a join finds twice: that fails on real ones only."""
    for expr in monitoring.rule_expressions().values():
        stack.query(expr)


def test_no_alert_fires_for_a_healthy_agent(stack):
    """But those about slow disks: what they take hours for is here that of seconds, on files that others share."""
    alerts = [alert for alert in monitoring.alerts() if "Slow" not in alert["alert"] and "vs_self" not in alert["expr"]]
    assert len(alerts) > len(monitoring.alerts()) / 2
    assert {alert["alert"]: stack.query(alert["expr"]) for alert in alerts} == {alert["alert"]: [] for alert in alerts}
    names = "|".join(alert["alert"] for alert in alerts)
    assert stack.query(f'ALERTS{{alertname=~"{names}", alertstate="firing"}}') == []

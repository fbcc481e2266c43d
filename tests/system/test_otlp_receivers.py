"""A real database scrapes an agent and is pushed to by it: both ways it has the same series.

Upstream's Prometheus can be pushed to; Debian's is built without. VictoriaMetrics follows it in names.
"""

import json
import os
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import free_port, started, wait_until
from scraping import IOVIGIL, get

AGENT_CONFIG = """\
agent:
  listen: 127.0.0.1:{agent_port}
  state_directory: {directory}/state
  otlp: {{endpoint: "http://127.0.0.1:{port}{path}", every: 2s, timeout: 2s}}
disks:
  - {{name: scratch, file: {directory}/scratch, size: 1MiB}}
probes:
  latency: {{every: 4s, job: {{rw: randread, number_ios: 100, runtime: 3s, ioengine: psync}}}}
  integrity: {{every: 10s, job: {{rw: randwrite, bs: 64k, size: 1MiB, verify: crc32c, time_based: 0, runtime: 2s}}}}
"""
SCRAPE_CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
scrape_configs: [{{job_name: scraped, static_configs: [{{targets: ["127.0.0.1:{agent_port}"]}}]}}]
"""
OF_THE_WAY = {"job", "instance"}
"""Labels that say by which of both ways a series came; VictoriaMetrics has all of the resource in them."""

Series = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Database:
    port: int
    pushed: str
    """What selects the series that were pushed."""

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        asked = urllib.parse.urlencode({"query": expr})
        answer = json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/query?{asked}"))
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def series(self, selector: str) -> dict[Series, float]:
        found = self.query(f'{{__name__=~"iovigil_.*", {selector}}}')
        return {key_of(labels): value for labels, value in found}


def key_of(labels: dict[str, str]) -> Series:
    """Without what tells the two ways apart; a bound may be spelled 10 or 10.0."""
    return frozenset(
        (name, str(float(value)) if name == "le" else value)
        for name, value in labels.items()
        if name not in OF_THE_WAY and not name.startswith(("service_", "host_", "telemetry_", "scope_", "otel_scope_"))
    )


def prometheus(directory: Path, port: int) -> tuple[list[str], str, str]:
    """The command, the path of its receiver, and what selects what came in there."""
    command = [
        *("prometheus", f"--config.file={directory}/scrape.yml", f"--storage.tsdb.path={directory}/tsdb"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--web.enable-otlp-receiver"),
    ]
    return command, "/api/v1/otlp/v1/metrics", 'job="iovigil"'


def victoria_metrics(directory: Path, port: int) -> tuple[list[str], str, str]:
    command = [
        *("victoria-metrics", f"-promscrape.config={directory}/scrape.yml", f"-storageDataPath={directory}/data"),
        *(f"-httpListenAddr=127.0.0.1:{port}", "-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s"),
        *("-search.disableCache", "-memory.allowedBytes=256MiB"),
    ]
    return command, "/opentelemetry/v1/metrics", 'service_name="iovigil"'


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(prometheus, marks=pytest.mark.requires_otlp_receiver, id="prometheus"),
        pytest.param(victoria_metrics, marks=pytest.mark.requires_victoria_metrics, id="victoria-metrics"),
    ],
)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One that has an agent both ways."""
    directory, port, agent_port = tmp_path_factory.mktemp("otlp"), free_port(), free_port()
    command, path, pushed = request.param(directory, port)
    agent = AGENT_CONFIG.format(directory=directory, port=port, path=path, agent_port=agent_port)
    (directory / "agent.yml").write_text(agent)
    (directory / "scrape.yml").write_text(SCRAPE_CONFIG.format(agent_port=agent_port))
    run: list[str | Path] = [IOVIGIL, "agent", "--config", directory / "agent.yml"]
    with (
        started(command, log=directory / "database.log", port=port),
        started(run, log=directory / "agent.log", port=agent_port),
    ):
        yield Database(port, pushed)
    log = (directory / "agent.log").read_text()
    assert "Traceback" not in log
    assert "OTLP" not in log, log


def test_both_ways_have_the_same_series(database: Database) -> None:
    def same() -> tuple[dict[Series, float], dict[Series, float]] | None:
        scraped, pushed = database.series('job="scraped"'), database.series(database.pushed)
        return (scraped, pushed) if len(scraped) > 100 and scraped.keys() == pushed.keys() else None

    try:
        scraped, pushed = wait_until(same, "the same series", 60) or ({}, {})
    except AssertionError as late:
        scraped, pushed = database.series('job="scraped"'), database.series(database.pushed)
        only = [sorted(map(sorted, a.keys() - b.keys()))[:5] for a, b in ((scraped, pushed), (pushed, scraped))]
        raise AssertionError(f"{late}; only scraped {only[0]}; only pushed {only[1]}") from None
    configured = [key for key in scraped if dict(key)["__name__"] in ("iovigil_interval_seconds", "iovigil_disk_info")]
    assert configured
    assert [pushed[key] for key in configured] == [scraped[key] for key in configured]
    kinds = {dict(key)["__name__"] for key in pushed}
    assert {"iovigil_io_latency_seconds_bucket", "iovigil_io_bytes_total", "iovigil_runs_skipped_total"} <= kinds


def test_it_knows_who_pushed(database: Database) -> None:
    name = "target_info" if "job" in database.pushed else "iovigil_build_info"
    labels, _ = wait_until(lambda: database.query(f"{name}{{{database.pushed}}}"), name, 30)[0]
    assert labels["host_name"] == os.uname().nodename
    assert labels["service_version"]


def test_a_quantile_is_the_same_both_ways(database: Database) -> None:
    def quantile(selector: str) -> list[float]:
        bucket = f'iovigil_io_latency_seconds_bucket{{operation="read", probe="latency", {selector}}}'
        return [value for _, value in database.query(f"histogram_quantile(0.9, sum by (le) ({bucket})) > 0")]

    def is_same() -> bool:
        scraped, pushed = quantile('job="scraped"'), quantile(database.pushed)
        return bool(scraped) and pushed == pytest.approx(scraped, rel=0.2)

    wait_until(is_same, "the same quantile", 60)

"""Push by OTLP: a receiver gets what a scrape has, and one that hangs or refuses costs nothing but that push."""

import asyncio
import importlib.util
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import WRITE_AND_VERIFY, ledger_of, probe
from otlp_receiver import Receiver, receiver, value_of
from prometheus_client.parser import text_string_to_metric_families

import iovigil
from iovigil.agent import config, metrics
from iovigil.agent.agent_account import AgentAccount
from iovigil.agent.config import ConfigError, OtlpSettings
from iovigil.agent.ledger import Ledger
from iovigil.agent.outputs.otlp import Otlp

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.sdk") is None, reason="the extra otlp is not installed"
)
DEADLINE_S = 20.0


@pytest.fixture
def ledger() -> Ledger:
    entries = [probe(f"disk{number}", name, WRITE_AND_VERIFY) for number in range(15) for name in ("a", "b")]
    ledger = ledger_of(*entries, counting_since_unix=1_700_000_000.5)
    ledger.start_delays.note(0.7)
    ledger.start_delays.note(45)
    ledger.otlp.is_on = True
    return ledger


@pytest.fixture
def taken() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def push(output: Otlp, *, is_success: bool) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            assert await output.attempt() is is_success

    asyncio.run(bounded())


def said_by_us(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Pytest also shows what a logger keeps from the log."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("iovigil.")]


def output(endpoint: str, ledger: Ledger, **settings: object) -> Otlp:
    return Otlp(OtlpSettings(endpoint=endpoint, **settings), lambda: ledger)  # type: ignore[arg-type]


def test_a_receiver_gets_every_number_of_a_scrape(ledger: Ledger, taken: Receiver) -> None:
    push(output(taken.url, ledger), is_success=True)
    points = taken.points()
    families = text_string_to_metric_families(metrics.render(ledger, "")[0].decode())
    scraped = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        if family.type != "histogram" and not family.name.startswith("iovigil_otlp_")
        for sample in family.samples
    }
    assert len(scraped) > 1000
    numbers = {key: value_of(point) for key, point in points.items() if hasattr(point, "as_int")}
    assert {key: value for key, value in numbers.items() if not key[0].startswith("iovigil_otlp_")} == scraped
    assert len(taken.requests) == 4  # the agent, and three times some disks


def test_a_distribution_has_bounds_and_counts_between_them(ledger: Ledger, taken: Receiver) -> None:
    push(output(taken.url, ledger), is_success=True)
    point = taken.points()["iovigil_run_start_delay_seconds", frozenset()]
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    assert len(counts) == len(bounds) + 1
    assert bounds == sorted(bounds)
    assert [bound for bound, count in zip(bounds, counts, strict=False) if count] == [1, 60]
    assert (point.count, point.sum, sum(counts)) == (2, pytest.approx(45.7), 2)
    assert not point.HasField("min")
    assert not point.HasField("max")


def test_counters_are_sums_that_began_when_counting_did(ledger: Ledger, taken: Receiver) -> None:
    before_ns = time.time_ns()
    push(output(taken.url, ledger), is_success=True)
    by_name = {metric.name: metric for metric in taken.metrics()}
    total = by_name["iovigil_io_bytes_total"]
    assert (total.sum.is_monotonic, total.sum.aggregation_temporality, total.unit) == (True, 2, "By")
    [point, *_] = total.sum.data_points
    assert point.start_time_unix_nano == 1_700_000_000_500_000_000
    assert before_ns <= point.time_unix_nano <= time.time_ns()
    assert by_name["iovigil_interval_seconds"].unit == "s"
    assert by_name["iovigil_interval_seconds"].WhichOneof("data") == "gauge"
    assert by_name["iovigil_disk_present"].unit == "", "Prometheus would make a ratio of 1"
    assert by_name["iovigil_io_latency_seconds"].histogram.aggregation_temporality == 2


def test_counting_goes_on_from_where_the_agent_before_began(ledger: Ledger) -> None:
    later = Ledger()
    AgentAccount.decode(AgentAccount.of(ledger).encode()).restore(later)
    assert later.counting_since_unix == 1_700_000_000.5


def test_the_receiver_is_told_who_pushes(ledger: Ledger, taken: Receiver) -> None:
    push(output(taken.url, ledger), is_success=True)
    told = taken.resource()
    assert (told["service.name"], told["service.version"]) == ("iovigil", iovigil.__version__)
    assert told["service.instance.id"] == told["host.name"] == os.uname().nodename
    taken.requests.clear()
    push(output(taken.url, ledger, instance="rack7"), is_success=True)
    assert taken.resource()["service.instance.id"] == "rack7"


def test_headers_are_sent_and_a_changed_secret_is_taken_up(ledger: Ledger, taken: Receiver, tmp_path: Path) -> None:
    secret = tmp_path / "headers"
    secret.write_text("# from the vault\nAuthorization: Bearer one\n")
    out = output(taken.url, ledger, headers=("X-Scope-OrgID: storage",), headers_file=str(secret))
    push(out, is_success=True)
    assert {each["authorization"] for each in taken.headers} == {"Bearer one"}
    assert {each["x-scope-orgid"] for each in taken.headers} == {"storage"}
    assert taken.headers[0]["content-encoding"] == "gzip"
    taken.headers.clear()
    secret.write_text("Authorization: Bearer two\n")
    push(out, is_success=True)
    assert {each["authorization"] for each in taken.headers} == {"Bearer two"}


def test_a_wrong_file_of_headers_is_told_without_what_is_in_it(
    ledger: Ledger, taken: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "headers"
    push(output(taken.url, ledger, headers_file=str(secret)), is_success=False)
    secret.write_text("hunter2\n")
    push(output(taken.url, ledger, headers_file=str(secret)), is_success=False)
    assert [message.removeprefix(f"OTLP to {taken.url}: ") for message in said_by_us(caplog)] == [
        f"{secret}: No such file or directory",
        f"{secret}:1: is no header such as Authorization: Bearer TOKEN",
    ]


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_refusal_is_told_once_and_counted_each_time(
    ledger: Ledger, taken: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    out = output(taken.url, ledger)
    taken.status = status
    for _ in range(3):
        push(out, is_success=False)
    assert (ledger.otlp.attempts, ledger.otlp.failures, ledger.otlp.last_successful) == (3, 3, False)
    taken.status = 200
    push(out, is_success=True)
    said, again = said_by_us(caplog)
    assert f"OTLP to {taken.url}: " in said
    assert str(status) in said
    assert again == f"OTLP to {taken.url}: works again"


def test_it_waits_longer_while_nobody_takes_it(ledger: Ledger) -> None:
    out = output("http://127.0.0.1:1/v1/metrics", ledger, every_s=60.0, timeout_s=1.0)
    pauses = []
    for _ in range(6):
        push(out, is_success=False)
        pauses.append(out.pause_s())
    assert pauses == [120.0, 240.0, 480.0, 900.0, 900.0, 900.0]


def test_a_receiver_that_hangs_is_given_up_and_costs_one_thread(
    ledger: Ledger, taken: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    taken.delay_s = 4.0
    out = output(taken.url, ledger, timeout_s=1.0)
    started_s = time.monotonic()
    for _ in range(3):
        push(out, is_success=False)
    assert time.monotonic() - started_s < 5
    assert ledger.otlp.failures == 3
    assert 1 <= len(said_by_us(caplog)) <= 3


def test_the_event_loop_goes_on_while_it_pushes(taken: Receiver) -> None:
    """60 disks by 4 probes: nothing of the push may keep the loop from its other work for long."""
    entries = [probe(f"disk{disk}", f"probe{number}", WRITE_AND_VERIFY) for disk in range(60) for number in range(4)]
    ledger, stints = ledger_of(*entries), []

    async def watch() -> None:
        while True:
            began_s = time.thread_time()
            await asyncio.sleep(0.001)
            stints.append(time.thread_time() - began_s)

    async def scenario() -> None:
        out = output(taken.url, ledger)
        await out.attempt()  # with it the imports
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.01)
        stints.clear()
        assert await out.attempt()
        watching.cancel()

    asyncio.run(scenario())
    assert len(stints) > 20
    # The agent's own, and six disks at a time: what the loop collects at once does not grow with the disks.
    assert len(taken.requests) == 2 * (1 + 60 / 6)


TEXT = """\
agent:
  otlp: {otlp}
disks: [{{name: d, file: /srv/d/.iovigil, size: 1GiB}}]
probes: {{p: {{every: 1m, job: {{rw: randread, runtime: 5s}}}}}}
"""


def test_what_is_not_installed_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError) as refused:
        config.parse(TEXT.format(otlp="{endpoint: http://h:4318/v1/metrics}"), "f.yml")
    assert str(refused.value) == (
        "f.yml:2: agent.otlp: needs a package that is not installed: pip install 'iovigil[otlp]'"
    )


@pytest.mark.parametrize(
    ("otlp", "said"),
    [
        ("{every: 1m}", "agent.otlp.endpoint: is missing: the receiver's whole URL"),
        (
            "{endpoint: localhost:4318}",
            "agent.otlp.endpoint: localhost:4318 is not a URL such as http://127.0.0.1:4318",
        ),
        ("{endpoint: http://h:4318}", "agent.otlp.endpoint: http://h:4318 has no path: give the whole URL"),
        (
            "{endpoint: 'https://h/v1/metrics?token=x'}",
            "agent.otlp.endpoint: has more than a path, and may have a secret",
        ),
        ("{endpoint: https://a:b@h/v1/metrics}", "agent.otlp.endpoint: has a password in it: give a header in"),
        ("{endpoint: http://h/v1, headers: ['Authorization: x']}", "Authorization is a secret, and this file is no"),
        ("{endpoint: http://h/v1, headers: [nonsense]}", "agent.otlp.headers[0]: nonsense is not a header such as"),
        ("{endpoint: http://h/v1, timeout: 2m}", "agent.otlp.timeout: is longer than every: 1m"),
        ("{endpoint: http://h/v1, ca_file: /ca.pem}", "agent.otlp.endpoint: is http, where no certificate is of use"),
        ("{endpoint: https://h/v1, key_file: /k.pem}", "agent.otlp.key_file: is nothing without cert_file"),
        ("{endpoint: http://h/v1, compression: zstd}", "agent.otlp.compression: zstd is not one of gzip, none"),
    ],
)
def test_a_mistake_is_named(otlp: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.parse(TEXT.format(otlp=otlp), "f.yml")
    assert said in str(refused.value)
    assert str(refused.value).startswith("f.yml:2: ")


def test_prometheus_makes_the_same_names_of_them_again() -> None:
    """Its rule: a unit becomes a word of the name unless it is one, a sum ends in total, a gauge of unit 1 in ratio."""
    from iovigil.agent.metrics.exposition import FAMILIES
    from iovigil.agent.outputs.otlp_model import UNITS

    for family in (family for families in FAMILIES.values() for family in families):
        words, unit = family.name.split("_"), family.exposed_unit
        assert unit in ("", *UNITS), family.name
        assert not unit or unit in words, family.name
        assert (family.kind == "counter") == (words[-1] == "total"), family.name
        assert (UNITS.get(unit) == "1") == (words[-1] == "ratio"), family.name

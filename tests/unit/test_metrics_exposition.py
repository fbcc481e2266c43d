"""The exposition as a whole: formats, families, and that nothing is forgotten or left behind."""

import dataclasses
import subprocess

import msgspec
import pytest
from fake_page import FakePage, histogram_of, result_of
from ledgers import READ, WRITE_AND_VERIFY, ledger_of, probe
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from slow_runs import Disk

from iovigil.agent.config import ScrubSettings
from iovigil.agent.ledger import DiskEntry, Failure, Ledger, Skip
from iovigil.agent.metrics import exposition, reference, render
from iovigil.agent.metrics.formats import OPENMETRICS_TYPE, TEXT_TYPE
from iovigil.agent.slowdown.standing import Standing, slowness_of
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, Mismatch, ScrubFigures

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def full_ledger() -> Ledger:
    """One probe of each sort, each with a finished run, and a disk that is away."""
    latency = histogram_of(80_000, 90_000, 20_000_000)
    page = FakePage(
        counters={(counter, ddir): 7 + counter for counter in Counter for ddir in (0, 1)},
        histograms={(Latency.CLAT, 0): latency, (Latency.CLAT, 1): latency},
        runtimes_ns={0: 2_000_000_000, 1: 1_000_000_000},
    )
    figures = ScrubFigures(1 << 20, 1 << 18, 3, 900, 2, 900, 400, 1)
    scrubbed = dataclasses.replace(page, scrub=figures)
    entries = [probe(totals=page), probe(name="integrity", options=WRITE_AND_VERIFY, totals=page)]
    scrub = ScrubSettings(n=10, period_s=1000.0, every_s=100.0)
    entries.append(probe(name="scrub", options=JobOptions(rw="rw"), totals=scrubbed, scrub=scrub))
    for entry in entries:
        entry.last = result_of(page, entry.options)
        entry.last_success_unix = 1001.5
    disk = Disk()
    disk.live(40 * disk.interval_s)
    entries[0].slowdown = Standing(operations=(("read", slowness_of(disk.track)),), foreign_busy_ratio=0.25)
    ledger = ledger_of(*entries, probe("away", "latency"))
    ledger.disks["away"].is_present = False
    ledger.textfile.is_on = True
    ledger.textfile.book(is_success=True, now_unix=1002.0)
    ledger.otlp.is_on = True
    ledger.otlp.book(is_success=True, now_unix=1002.0)
    return ledger


def text_of(ledger: Ledger) -> str:
    return render(ledger, "")[0].decode()


def values_of(ledger: Ledger) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = parse_text(text_of(ledger))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_both_formats_hold_the_same_samples() -> None:
    ledger = full_ledger()
    body, content_type = render(ledger, PROMETHEUS_2_42)
    assert content_type == OPENMETRICS_TYPE
    assert body.endswith(b"\n# EOF\n")
    families = list(parse_openmetrics(body.decode()))
    samples = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    assert len(samples) > 100
    assert samples == values_of(ledger)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT_TYPE),
        ("*/*", TEXT_TYPE),
        ("text/html,*/*;q=0.8", TEXT_TYPE),
        ("text/plain;version=0.0.4", TEXT_TYPE),
        (PROMETHEUS_2_42, OPENMETRICS_TYPE),
        (PROMETHEUS_3, OPENMETRICS_TYPE),
        ("application/openmetrics-text", OPENMETRICS_TYPE),
        ('Application/OpenMetrics-Text ; version="1.0.0"', OPENMETRICS_TYPE),
        ("application/openmetrics-text;version=2.0.0", TEXT_TYPE),
        ("application/openmetrics-text;version=9.9.9,text/plain;q=0.5", TEXT_TYPE),
        ("application/openmetrics-text;q=0", TEXT_TYPE),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", TEXT_TYPE),
        ("application/openmetrics-text;q=nonsense", TEXT_TYPE),
        (";;,,=;q=", TEXT_TYPE),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str, content_type: str) -> None:
    assert render(Ledger(), accept)[1] == content_type


@pytest.mark.requires_promtool
@pytest.mark.parametrize("ledger", [Ledger(), ledger_of(probe()), full_ledger()], ids=["empty", "fresh", "full"])
def test_promtool_finds_nothing_to_complain_about(ledger: Ledger) -> None:
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=render(ledger, "")[0], capture_output=True, timeout=30, check=False
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, b"")


def test_every_declared_family_has_a_sample_once_a_run_is_over() -> None:
    sampled = {metric.name for metric in exposition.collect(full_ledger()).collect() if metric.samples}
    declared = {family.empty().name for families in exposition.FAMILIES.values() for family in families}
    assert declared - sampled == set()


def test_a_scrub_says_how_far_it_is_and_when_its_oldest_block_was_read() -> None:
    figures = ScrubFigures(
        region_bytes=1 << 20, cursor_bytes=1 << 18, cycle=3, cycle_begun_unix=900, cycles_completed=2,
        last_ended_unix=899, oldest_unix=400, unknown_blocks=1,
    )  # fmt: skip
    settings = ScrubSettings(n=10, period_s=1000.0, every_s=100.0)
    entry = probe(name="scrub", options=JobOptions(rw="rw"), totals=FakePage(scrub=figures), scrub=settings)
    where = frozenset({("disk", "data0"), ("probe", "scrub")})
    found = {name.removeprefix("iovigil_scrub_"): value for (name, labels), value in values_of(ledger_of(entry)).items()
             if name.startswith("iovigil_scrub_") and labels == where}  # fmt: skip
    assert found == {
        "period_seconds": 1000.0,
        "region_bytes": 1 << 20,
        "progress_ratio": 0.25,
        "cycles_total": 2.0,
        "cycle_start_timestamp_seconds": 900.0,
        "last_cycle_end_timestamp_seconds": 899.0,
        "oldest_unread_timestamp_seconds": 400.0,
        "unknown_blocks": 1.0,
    }


def test_a_scrub_has_no_last_run_to_compare_with_earlier_ones() -> None:
    settings = ScrubSettings(n=10, period_s=1000.0, every_s=100.0)
    page = FakePage(counters={(Counter.BYTES, 0): 7}, runtimes_ns={0: 1})
    entry = probe(name="scrub", options=JobOptions(rw="rw"), scrub=settings)
    entry.last = result_of(page, entry.options)
    entry.last_success_unix = 1001.5
    names = {name for name, labels in values_of(ledger_of(entry))}
    assert not {name for name in names if "last_run_latency" in name or "last_run_bytes" in name}
    assert "iovigil_last_run_success" in names


def test_a_scrub_that_has_not_run_yet_says_what_is_asked_of_it_alone() -> None:
    settings = ScrubSettings(n=10, period_s=1000.0, every_s=100.0)
    entry = probe(name="scrub", options=JobOptions(rw="rw"), scrub=settings)
    scrubs = {name for name, _ in values_of(ledger_of(entry, probe())) if name.startswith("iovigil_scrub_")}
    assert scrubs == {"iovigil_scrub_period_seconds"}


def test_no_family_is_declared_twice() -> None:
    names = [family.name for families in exposition.FAMILIES.values() for family in families]
    assert sorted(set(names)) == sorted(names)


def test_there_are_no_created_series_and_no_timestamps() -> None:
    for line in text_of(full_ledger()).splitlines():
        assert "_created" not in line
        if not line.startswith("#"):
            assert len(line.rpartition("}")[2].split()) <= 2, line


@pytest.mark.parametrize("counter", Counter, ids=lambda counter: counter.name)
def test_every_counter_of_the_stats_page_is_exported(counter: Counter) -> None:
    paced = msgspec.structs.replace(WRITE_AND_VERIFY, rate_iops=(1, 1, 1))
    entry = probe(options=paced, totals=FakePage(counters={(counter, 0): 987_654_321}))
    assert 987_654_321 in values_of(ledger_of(entry)).values(), f"Counter.{counter.name} has no metric"


@pytest.mark.parametrize("kind", Mismatch, ids=lambda kind: kind.name)
def test_every_kind_of_mismatch_is_exported(kind: Mismatch) -> None:
    paced = msgspec.structs.replace(WRITE_AND_VERIFY, rate_iops=(1, 1, 1))
    entry = probe(options=paced, totals=FakePage(mismatch_counts={kind: 987_654_321}))
    assert 987_654_321 in values_of(ledger_of(entry)).values(), f"Mismatch.{kind.name} has no series"


@pytest.mark.parametrize("failure", Failure)
def test_every_reason_of_a_failure_is_exported(failure: Failure) -> None:
    entry = probe()
    entry.failures[failure] = 987_654_321
    assert 987_654_321 in values_of(ledger_of(entry)).values(), f"Failure.{failure.name} has no series"


@pytest.mark.parametrize("skip", Skip)
def test_every_reason_of_a_skip_is_exported(skip: Skip) -> None:
    entry = probe()
    entry.skips[skip] = 987_654_321
    assert 987_654_321 in values_of(ledger_of(entry)).values(), f"Skip.{skip.name} has no series"


def test_the_series_of_a_removed_disk_vanish() -> None:
    ledger = ledger_of(probe("data0"), probe("data1"))
    assert 'disk="data0"' in text_of(ledger)
    del ledger.disks["data0"]
    del ledger.probes["data0", "latency"]
    assert 'disk="data0"' not in text_of(ledger)
    assert 'disk="data1"' in text_of(ledger)


def test_a_configured_disk_that_is_absent_keeps_its_series() -> None:
    ledger = Ledger(disks={"away": DiskEntry(name="away")})
    text = text_of(ledger)
    assert 'iovigil_disk_present{disk="away"} 0.0' in text
    assert 'iovigil_disk_info{controller="",device="",disk="away"' in text


@pytest.mark.parametrize("accept", ["", PROMETHEUS_2_42], ids=["text", "openmetrics"])
def test_label_values_are_escaped(accept: str) -> None:
    model = 'SSD "Pro" \\ 2\nrev. ä'
    disk = DiskEntry(name="data0", identity={"model": model})
    body = render(Ledger(disks={"data0": disk}), accept)[0].decode()
    assert r'model="SSD \"Pro\" \\ 2\nrev. ä"' in body
    parse = parse_openmetrics if accept else parse_text
    labels = [s.labels for family in parse(body) for s in family.samples if s.name == "iovigil_disk_info"]
    assert labels[0]["model"] == model


def test_a_scrape_changes_nothing_in_the_ledger() -> None:
    ledger = full_ledger()
    before = dataclasses.asdict(ledger.disks["data0"]), ledger.probes["data0", "latency"].runs, text_of(ledger)
    after = dataclasses.asdict(ledger.disks["data0"]), ledger.probes["data0", "latency"].runs, text_of(ledger)
    assert before == after


def test_the_reference_page_is_current(pytestconfig: pytest.Config) -> None:
    written = (pytestconfig.rootpath / "docs" / "metrics.md").read_text()
    assert written == reference.text(), "run: python -m iovigil.agent.metrics.reference > docs/metrics.md"


def test_a_probe_that_only_reads_has_no_series_for_writes() -> None:
    assert 'operation="write"' not in text_of(ledger_of(probe(options=READ)))

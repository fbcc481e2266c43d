"""The samples: each figure of the ledger and the stats page under its name, unit and labels."""

import errno
import math
from typing import Any

import pytest
from fake_page import FakePage, histogram_of, result_of
from ledgers import READ, WRITE_AND_VERIFY, ledger_of, probe
from prometheus_client.parser import text_string_to_metric_families
from slow_runs import Disk, settled

from iovigil.agent.disks.identity import LABELS
from iovigil.agent.ledger import DiskEntry, Failure, Ledger, ProbeEntry
from iovigil.agent.metrics import render
from iovigil.agent.slowdown.standing import Standing, slowness_of
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, Mismatch, StatsPage

MIB = 1 << 20


class Samples:
    """The samples of a rendered ledger, found by name and some of their labels."""

    def __init__(self, *entries: ProbeEntry, ledger: Ledger | None = None) -> None:
        body, _ = render(ledger or ledger_of(*entries), "")
        families = text_string_to_metric_families(body.decode())
        self.samples = [sample for family in families for sample in family.samples]

    def find(self, name: str, **labels: str) -> list[Any]:
        return [s for s in self.samples if s.name == f"iovigil_{name}" and labels.items() <= s.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        (sample,) = self.find(name, **labels)
        return float(sample.value)

    def labels_of(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.find(name)}


def test_the_agent_says_what_it_is() -> None:
    ledger = Ledger(last_reload_successful=False, last_reload_unix=1.7e9, workers_running=3, workers_abandoned=1)
    samples = Samples(ledger=ledger)
    (build,) = samples.find("build_info")
    assert build.value == 1
    assert set(build.labels) == {"version", "revision", "python_version", "engine"}
    assert samples.value("config_last_reload_successful") == 0
    assert samples.value("config_last_reload_success_timestamp_seconds") == 1.7e9
    assert samples.value("workers", state="running") == 3
    assert samples.value("workers", state="abandoned") == 1


def test_a_disk_is_shown_with_its_identity() -> None:
    identity = {"device": "nvme0n1", "model": "M", "serial": "S", "wwn": "W", "rotational": "0"}
    disk = DiskEntry(name="nvme0", is_present=True, is_stuck=True, identity=identity)
    samples = Samples(ledger=Ledger(disks={"nvme0": disk}))
    (info,) = samples.find("disk_info")
    assert info.labels == {"disk": "nvme0", **dict.fromkeys(LABELS, ""), **identity}
    assert samples.value("disk_present", disk="nvme0") == 1
    assert samples.value("disk_stuck", disk="nvme0") == 1


def test_a_probe_is_shown_with_its_workload_before_it_ever_ran() -> None:
    samples = Samples(probe(options=WRITE_AND_VERIFY, engine="psync", interval_s=600.0, timeout_s=55.0))
    (info,) = samples.find("probe_info")
    assert info.labels == {
        "disk": "data0",
        "probe": "latency",
        "rw": "randwrite",
        "block_size": "65536",
        "iodepth": "8",
        "engine": "psync",
        "target": "file",
        "verify": "crc32c",
    }
    assert samples.value("interval_seconds") == 600
    assert samples.value("timeout_seconds") == 55


def test_every_reason_kind_and_eio_is_there_from_the_start_at_zero() -> None:
    samples = Samples(probe(options=WRITE_AND_VERIFY))
    reasons = {"io_error", "verify", "rate_min", "timeout", "crash", "refused", "setup", "gone"}
    assert samples.labels_of("run_failures_total", "reason") == reasons
    skips = {
        "overlap", "concurrency", "pressure", "window", "paused", "blackout", "stuck", "quarantined", "absent",
        "standby", "missed",
    }  # fmt: skip
    assert samples.labels_of("runs_skipped_total", "reason") == skips
    kinds = {"checksum", "header", "misplaced", "stale", "zeroed", "torn"}
    assert samples.labels_of("verify_mismatches_total", "kind") == kinds
    assert {(s.labels["operation"], s.labels["error"]) for s in samples.find("io_errors_total")} == {
        ("read", "EIO"),
        ("write", "EIO"),
    }
    counters = [s for s in samples.samples if s.name.endswith(("_total", "_bucket", "_count", "_sum"))]
    assert len(counters) > 70
    assert {s.value for s in counters} == {0}


def test_nothing_is_said_of_a_last_run_before_there_was_one() -> None:
    samples = Samples(probe())
    assert [s.name for s in samples.samples if s.name.startswith(("iovigil_last_run", "iovigil_last_success"))] == []
    assert samples.value("runs_total") == 0
    assert samples.value("run_in_progress") == 0


@pytest.mark.parametrize(
    ("options", "operations", "with_errors"),
    [
        (JobOptions(rw="read"), {"read"}, {"read"}),
        (JobOptions(rw="write"), {"write"}, {"write"}),
        (JobOptions(rw="randrw"), {"read", "write"}, {"read", "write"}),
        (JobOptions(rw="write", verify="crc32c"), {"read", "write"}, {"read", "write"}),
        (JobOptions(rw="write", verify="crc32c", do_verify=False), {"write"}, {"write"}),
        (JobOptions(rw="write", fsync=1), {"write"}, {"write", "sync"}),
        (JobOptions(rw="write", end_fsync=True), {"write"}, {"write", "sync"}),
        (JobOptions(rw="read", end_fsync=True), {"read"}, {"read"}),
    ],
)
def test_a_probe_has_the_operations_it_does(options: JobOptions, operations: set[str], with_errors: set[str]) -> None:
    samples = Samples(probe(options=options))
    for name in ("io_bytes_total", "ios_total", "short_ios_total", "io_latency_seconds_count"):
        assert samples.labels_of(name, "operation") == operations
    assert samples.labels_of("io_errors_total", "operation") == with_errors


def test_the_ledger_s_counts_are_exported() -> None:
    entry = probe(runs=12, fallbacks=4)
    entry.failures[Failure.TIMEOUT] = 2
    samples = Samples(entry)
    assert samples.value("runs_total", disk="data0", probe="latency") == 12
    assert samples.value("engine_fallbacks_total") == 4
    assert samples.value("run_failures_total", reason="timeout") == 2
    assert samples.value("run_failures_total", reason="crash") == 0


def test_bytes_ios_and_errors_are_counted_by_operation() -> None:
    page = FakePage(
        counters={(Counter.BYTES, 0): 5 * MIB, (Counter.IOS, 0): 1280, (Counter.BYTES, 1): MIB},
        errors_by_ddir={0: {errno.EIO: 3, errno.EREMOTEIO: 1, 0: 2, 4000: 5}, 3: {errno.EIO: 1}},
    )
    samples = Samples(probe(options=JobOptions(rw="rw", fsync=8), totals=page))
    assert samples.value("io_bytes_total", operation="read") == 5 * MIB
    assert samples.value("io_bytes_total", operation="write") == MIB
    assert samples.value("ios_total", operation="read") == 1280
    errors = {(s.labels["operation"], s.labels["error"]): s.value for s in samples.find("io_errors_total")}
    assert errors == {
        ("read", "EIO"): 3,
        ("read", "EREMOTEIO"): 1,
        ("read", "other"): 2,
        ("read", "4000"): 5,
        ("write", "EIO"): 0,
        ("sync", "EIO"): 1,
    }


def test_latency_buckets_are_exact_powers_of_two_of_a_microsecond() -> None:
    histogram = histogram_of(500, 1500, 1_500_000, 20_000_000_000)
    samples = Samples(probe(totals=FakePage(histograms={(Latency.CLAT, 0): histogram})))
    buckets = {s.labels["le"]: s.value for s in samples.find("io_latency_seconds_bucket")}
    assert len(buckets) == 25
    for power, bound in enumerate(list(buckets)[:-1]):
        assert math.isclose(float(bound), 1e-6 * 2**power)
    assert [buckets[le] for le in ("1e-06", "2e-06", "0.001024", "0.002048", "8.388608", "+Inf")] == [1, 2, 2, 3, 3, 4]
    assert samples.value("io_latency_seconds_count") == 4
    assert math.isclose(samples.value("io_latency_seconds_sum"), 20.001502)


def test_slat_does_not_pass_for_latency() -> None:
    samples = Samples(probe(totals=FakePage(histograms={(Latency.SLAT, 0): histogram_of(1000)})))
    assert samples.value("io_latency_seconds_count") == 0


def test_the_last_run_s_latency_and_rates_are_of_that_run_alone() -> None:
    histogram = histogram_of(*[100_000] * 98, 3_000_000, 7_000_000)
    page = FakePage(
        counters={(Counter.BYTES, 0): 10 * MIB, (Counter.IOS, 0): 100},
        histograms={(Latency.CLAT, 0): histogram},
        runtimes_ns={0: 4_000_000_000},
    )
    totals = FakePage(counters={(Counter.BYTES, 0): 999 * MIB})
    entry = probe(totals=totals, last=result_of(page, READ, ended_unix=1005.0))
    samples = Samples(entry)
    quantiles = {s.labels["q"]: s.value for s in samples.find("last_run_latency_seconds", operation="read")}
    assert list(quantiles) == ["0.5", "0.99", "0.999", "1"]
    assert quantiles["0.5"] == pytest.approx(100e-6, rel=0.01)
    assert quantiles["0.99"] == pytest.approx(3e-3, rel=0.01)
    assert quantiles["1"] == 7e-3
    assert samples.value("last_run_latency_mean_seconds") == pytest.approx(198e-6, rel=1e-9)
    assert samples.value("last_run_bytes_per_second") == 2.5 * MIB
    assert samples.value("last_run_ios_per_second") == 25


def test_a_run_that_never_got_going_has_no_latency_and_no_rate() -> None:
    entry = probe(last=result_of(FakePage(), READ, failure=Failure.REFUSED))
    samples = Samples(entry)
    assert samples.value("last_run_success") == 0
    assert samples.find("last_run_latency_seconds") == []
    assert samples.find("last_run_latency_mean_seconds") == []
    assert samples.find("last_run_bytes_per_second") == []


def test_a_finished_run_is_booked_with_its_times() -> None:
    entry = probe()
    entry.finish(result_of(StatsPage.private(), READ, started_unix=1000.0, ended_unix=1005.5))
    entry.finish(result_of(StatsPage.private(), READ, started_unix=2000.0, ended_unix=2001.0, failure=Failure.TIMEOUT))
    samples = Samples(entry)
    assert samples.value("runs_total") == 2
    assert samples.value("run_failures_total", reason="timeout") == 1
    assert samples.value("last_run_success") == 0
    assert samples.value("last_run_start_timestamp_seconds") == 2000
    assert samples.value("last_run_end_timestamp_seconds") == 2001
    assert samples.value("last_run_duration_seconds") == 1
    assert samples.value("last_success_timestamp_seconds") == 1005.5


def test_a_run_in_progress_is_seen() -> None:
    entry = probe()
    entry.begin(StatsPage.private())
    assert Samples(entry).value("run_in_progress") == 1


def test_an_abandoned_run_s_oldest_io_goes_on_ageing() -> None:
    class StuckPage(FakePage):
        def oldest_inflight_ns(self) -> int:
            return 61_500_000_000

    samples = Samples(probe(stuck=StuckPage()))
    assert samples.value("oldest_inflight_io_seconds") == 61.5
    assert Samples(probe()).value("oldest_inflight_io_seconds") == 0


def test_mismatches_are_counted_by_kind_and_the_last_one_is_dated() -> None:
    page = FakePage(
        counters={(Counter.VERIFIED_BYTES, 0): 64 * MIB}, mismatch_counts={Mismatch.STALE: 2, Mismatch.CHECKSUM: 1}
    )
    samples = Samples(probe(options=WRITE_AND_VERIFY, totals=page, last_mismatch_unix=1234.5))
    assert samples.value("verified_bytes_total") == 64 * MIB
    mismatches = {s.labels["kind"]: s.value for s in samples.find("verify_mismatches_total")}
    assert mismatches == {"checksum": 1, "header": 0, "misplaced": 0, "stale": 2, "zeroed": 0, "torn": 0}
    assert samples.value("verify_last_mismatch_timestamp_seconds") == 1234.5


def test_a_slow_disk_shows_by_how_much_for_how_long_and_against_what() -> None:
    disk = settled()
    disk.live(7200.0, 5.0)
    entry = probe(slowdown=Standing(operations=(("read", slowness_of(disk.track)),), foreign_busy_ratio=0.25))
    samples = Samples(entry)
    where = {"disk": "data0", "probe": "latency", "operation": "read"}
    assert samples.value("slowdown_ratio", **where) == pytest.approx(5.0, rel=0.05)
    assert samples.value("slowdown_score", **where) == pytest.approx(1.6 / 1.75, rel=0.1)
    assert samples.value("slowdown_state", **where, state="slow") == 1
    assert samples.value("baseline_latency_seconds", **where, q="0.5") == pytest.approx(0.004, rel=0.05)
    assert samples.value("baseline_latency_seconds", **where, q="0.99") == pytest.approx(0.011, rel=0.05)
    assert samples.value("baseline_bytes_per_second", **where) == pytest.approx(400_000)
    assert samples.value("baseline_runs", **where) == 288
    assert samples.value("last_run_foreign_busy_ratio", disk="data0", probe="latency") == 0.25


def test_a_disk_that_is_still_being_learnt_has_no_ratio() -> None:
    disk = Disk()
    disk.run()
    samples = Samples(probe(slowdown=Standing(operations=(("read", slowness_of(disk.track)),))))
    assert samples.value("slowdown_state", state="learning") == 1
    assert samples.value("baseline_runs") == 1
    assert samples.value("slowdown_score") == 0
    assert not samples.find("slowdown_ratio")
    assert not samples.find("baseline_latency_seconds")
    assert not samples.find("last_run_foreign_busy_ratio")

"""The JSON document: fio's schema, and our additions beside it."""

import errno
import json
import subprocess
from typing import Any

import pytest
from fake_page import FakePage, entry_for, histogram_of

from iovigil.agent.fio import json_output
from iovigil.agent.ledger import Failure
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, Mismatch, MismatchRecord, RateSamples, Usage

READ, WRITE, TRIM, SYNC = range(4)


def job_of(page: FakePage, options: JobOptions | None = None, **fields: Any) -> dict[str, Any]:
    document = json_output.document([entry_for(page, options, written={"name": "probe"}, **fields)], {})
    job: dict[str, Any] = document["jobs"][0]
    return job


def reading_page() -> FakePage:
    """1000 reads of 4 KiB in 0.5 s."""
    return FakePage(
        counters={(Counter.IOS, READ): 1000, (Counter.BYTES, READ): 4096_000},
        runtimes_ns={READ: 499_999_001},
        histograms={
            (Latency.SLAT, READ): histogram_of(5, 7),
            (Latency.CLAT, READ): histogram_of(*range(1, 101)),
            (Latency.LAT, READ): histogram_of(1, 3, 15, 999, 1_500, 400_000, 3_000_000, 2_500_000_000),
        },
        depth=[1, 0, 3, 0, 0, 0, 0],
        epoch_ns=1_000_000_000,
        ended_ns=1_500_000_000,
        usage=Usage(0.25, 0.05, 7, 1, 2, 0),
    )


def test_rates_are_bytes_and_ios_over_the_runtime_rounded_up() -> None:
    read = job_of(reading_page())["read"]
    assert read["runtime"] == 500
    assert read["io_kbytes"] == 4000
    assert read["bw_bytes"] == 8_192_000
    assert read["bw"] == 8000
    assert read["iops"] == 2000.0


def test_a_direction_without_io_is_all_zero() -> None:
    trim = job_of(reading_page())["trim"]
    assert trim["bw"] == trim["runtime"] == trim["total_ios"] == trim["clat_ns"]["N"] == 0
    assert "percentile" not in trim["clat_ns"]


def test_percentiles_stand_in_clat_alone_under_six_decimals() -> None:
    read = job_of(reading_page())["read"]
    assert list(read["clat_ns"]["percentile"])[-2:] == ["99.950000", "99.990000"]
    assert read["clat_ns"]["percentile"]["50.000000"] == 50
    assert read["clat_ns"]["percentile"]["99.990000"] == 100
    assert "percentile" not in read["slat_ns"]
    assert "percentile" not in read["lat_ns"]


def test_bins_appear_in_json_plus_only() -> None:
    entries = [entry_for(reading_page())]
    plain = json_output.document(entries, {})["jobs"][0]["read"]["clat_ns"]
    plus = json_output.document(entries, {}, with_bins=True)["jobs"][0]["read"]["clat_ns"]
    assert "bins" not in plain
    assert plus["bins"] == {str(ns): 1 for ns in range(1, 101)}


def test_the_latency_distribution_places_each_io_below_its_step() -> None:
    job = job_of(reading_page())
    one = 12.5
    assert {step for step, share in job["latency_ns"].items() if share == one} == {"2", "4", "20", "1000"}
    assert {step for step, share in job["latency_us"].items() if share == one} == {"2", "500"}
    assert {step for step, share in job["latency_ms"].items() if share == one} == {"4", ">=2000"}
    shares = [share for unit in ("ns", "us", "ms") for share in job[f"latency_{unit}"].values()]
    assert sum(shares) == pytest.approx(100)


def test_the_latency_distribution_covers_all_directions() -> None:
    page = FakePage(histograms={(Latency.LAT, READ): histogram_of(1), (Latency.LAT, WRITE): histogram_of(5_000)})
    job = job_of(page)
    assert job["latency_ns"]["2"] == job["latency_us"]["10"] == 50.0


def test_cpu_is_a_share_of_the_job_runtime() -> None:
    job = job_of(reading_page())
    assert (job["job_runtime"], job["usr_cpu"], job["sys_cpu"]) == (500, 50.0, 10.0)
    assert (job["ctx"], job["majf"], job["minf"]) == (7, 1, 2)


def test_a_killed_job_takes_its_runtime_from_its_longest_direction() -> None:
    page = reading_page()
    page.ended_ns = 0
    assert job_of(page)["job_runtime"] == 500


def test_depths_are_shares_that_sum_to_a_hundred() -> None:
    levels = job_of(reading_page())["iodepth_level"]
    assert (levels["1"], levels["4"]) == (25.0, 75.0)


def test_rate_samples_are_whole_numbers_where_fio_has_them_whole() -> None:
    page = reading_page()
    page.bw = {READ: RateSamples(2, 7000.4, 9000.6, 8000.0, 1.5)}
    read = job_of(page)["read"]
    assert (read["bw_min"], read["bw_max"], read["bw_samples"]) == (7000, 9001, 2)
    assert (read["bw_mean"], read["bw_dev"], read["bw_agg"]) == (8000.0, 1.5, 100.0)


def test_sync_has_its_own_latency() -> None:
    page = FakePage(counters={(Counter.IOS, SYNC): 1}, histograms={(Latency.LAT, SYNC): histogram_of(100)})
    sync = job_of(page)["sync"]
    assert sync["total_ios"] == sync["lat_ns"]["N"] == 1
    assert sync["lat_ns"]["percentile"]["1.000000"] == 100


def test_total_err_is_shown_when_errors_may_be_passed_over() -> None:
    page = FakePage(total_errors=3, first_error=errno.EIO)
    assert "total_err" not in job_of(page)
    job = job_of(page, JobOptions(continue_on_error="all"))
    assert (job["total_err"], job["first_error"]) == (3, errno.EIO)


def test_a_failure_without_errno_is_an_error_all_the_same() -> None:
    assert job_of(FakePage())["error"] == 0
    for failure in Failure:
        assert job_of(FakePage(), failure=failure)["error"] > 0
    assert job_of(FakePage(error=errno.ENOSPC), failure=Failure.IO_ERROR)["error"] == errno.ENOSPC


def test_our_additions_tell_what_was_wrong_and_where() -> None:
    page = FakePage(
        counters={(Counter.VERIFIED_BYTES, READ): 8192},
        mismatch_counts={Mismatch.STALE: 2},
        records=[MismatchRecord(Mismatch.STALE, 4096, 4096, 4100, 7, 3, found_ns=8_750_000_000)],
        ended_ns=9_000_000_000,
        errors_by_ddir={READ: {errno.EIO: 2, 0: 1}},
        unverified_bytes=512,
    )
    added = job_of(page, failure=Failure.VERIFY, message="bad block")["iovigil"]
    assert added["mismatches"] == {"checksum": 0, "header": 0, "misplaced": 0, "stale": 2, "zeroed": 0, "torn": 0}
    [first] = added["first_mismatches"]
    assert first.pop("text").startswith(
        "data corruption: stale block at offset 4096, length 4096: generation 7 expected"
    )
    assert first == {
        "kind": "stale",
        "offset": 4096,
        "length": 4096,
        "first_byte": 4100,
        "first_byte_in_block": 4,
        "wrong_bits": None,
        "expected_generation": 7,
        "found_generation": 3,
        "found_offset": None,
        "is_dumped": False,
        "file": 0,
        "found_unix": 1001.25,
    }
    assert added["errors"] == {"read": {"EIO": 2, "other": 1}}
    assert (added["verified_bytes"], added["unverified_bytes"]) == (8192, 512)
    assert (added["failure"], added["message"], added["state"]) == ("verify", "bad block", "exited")


def text_of(page: FakePage, written: dict[str, str] | None = None) -> str:
    return json_output.render(json_output.document([entry_for(page, written=written)], {"bs": "4k"}))


def test_the_outer_braces_are_the_only_ones_alone_on_their_lines() -> None:
    lines = text_of(FakePage()).splitlines()
    assert lines[0] == "{"
    assert lines[-1] == "}"
    assert lines.count("{") == lines.count("}") == 1


def test_options_are_shown_as_they_were_given() -> None:
    document = json.loads(text_of(FakePage(), {"name": "p", "time_based": "1"}))
    assert document["global options"] == {"bs": "4k"}
    assert document["jobs"][0]["job options"] == {"name": "p", "time_based": "1"}


def test_percentiles_are_of_the_latencies_that_were_asked_for() -> None:
    options = JobOptions(
        clat_percentiles=False, lat_percentiles=True, slat_percentiles=True, percentile_list=(50.0, 99.0)
    )
    read = job_of(reading_page(), options)["read"]
    assert "percentile" not in read["clat_ns"]
    assert list(read["lat_ns"]["percentile"]) == list(read["slat_ns"]["percentile"]) == ["50.000000", "99.000000"]


def test_directions_are_shown_as_one_when_asked() -> None:
    page = FakePage(
        counters={(Counter.IOS, READ): 3, (Counter.IOS, WRITE): 5, (Counter.BYTES, READ): 10, (Counter.BYTES, TRIM): 1},
        runtimes_ns={READ: 2_000_000, WRITE: 4_000_000},
        histograms={(Latency.CLAT, READ): histogram_of(1), (Latency.CLAT, WRITE): histogram_of(3, 5)},
    )
    mixed = job_of(page, JobOptions(unified_rw_reporting="mixed"))
    assert not {"read", "write", "trim", "sync"} & set(mixed)
    assert (mixed["mixed"]["total_ios"], mixed["mixed"]["io_bytes"], mixed["mixed"]["runtime"]) == (8, 11, 4)
    assert (mixed["mixed"]["clat_ns"]["N"], mixed["mixed"]["clat_ns"]["max"]) == (3, 5)
    both = job_of(page, JobOptions(unified_rw_reporting="both"))
    assert both["mixed"] == mixed["mixed"]
    assert both["read"]["total_ios"] == 3


def test_a_job_at_a_rate_tells_what_its_users_waited_and_what_was_dropped() -> None:
    page = FakePage(
        counters={(Counter.DROPPED_IOS, READ): 7}, histograms={(Latency.RESPONSE, READ): histogram_of(10, 20)}
    )
    added = job_of(page, JobOptions(rate_iops=(100, 0, 0)))["iovigil"]
    assert added["dropped_ios"]["read"] == 7
    assert added["response_ns"]["read"]["N"] == 2
    assert "dropped_ios" not in job_of(page)["iovigil"]


def test_the_signal_that_ended_a_child_is_told() -> None:
    job = job_of(FakePage(), failure=Failure.CRASH, signal=11)
    assert job["iovigil"]["signal"] == 11
    assert job["error"] > 0


def test_latency_target_and_description_are_shown_as_given() -> None:
    job = job_of(FakePage(), JobOptions(latency_target=500, latency_window=2000, latency_percentile=99.0))
    assert (job["latency_target"], job["latency_window"], job["latency_percentile"]) == (500, 2000, 99.0)
    assert (job["latency_target_ns"], job["latency_window_us"]) == (500_000, 2000)
    assert "desc" not in job
    assert job_of(FakePage(), JobOptions(description="why"))["desc"] == "why"


def test_intervals_stand_in_the_one_document() -> None:
    entries = [entry_for(reading_page())]
    interval = json_output.interval(entries)
    document = json_output.document(entries, {}, intervals=[interval, interval])
    assert [one["jobs"][0]["read"]["total_ios"] for one in document["intervals"]] == [1000, 1000]
    assert json.loads(json_output.render(document)) == document
    assert "intervals" not in json_output.document(entries, {})


def key_paths(value: Any, path: str = "") -> list[str]:
    """Every key of a document with the keys above it, in the order they stand there."""
    if isinstance(value, dict):
        return [
            found for key, below in value.items() for found in [f"{path}/{key}", *key_paths(below, f"{path}/{key}")]
        ]
    if isinstance(value, list):
        return [found for below in value for found in key_paths(below, f"{path}[]")]
    return []


@pytest.mark.requires_fio
@pytest.mark.parametrize("continue_on_error", ["none", "all"])
def test_no_key_of_fio_is_missing_and_they_keep_its_order(continue_on_error: str) -> None:
    given = {"name": "p", "ioengine": "null", "size": "1m", "rw": "randrw", "continue_on_error": continue_on_error}
    words = [f"--{name}={value}" for name, value in given.items()]
    run = subprocess.run(
        ["fio", "--bs=4k", *words, "--output-format=json"], capture_output=True, text=True, check=True, timeout=30
    )
    theirs = key_paths(json.loads(run.stdout))
    page = reading_page()
    page.histograms |= {(Latency.CLAT, WRITE): histogram_of(1)}
    options = JobOptions(name="p", ioengine="null", continue_on_error=continue_on_error)  # type: ignore[arg-type]
    ours = key_paths(json_output.document([entry_for(page, options, written=given)], {"bs": "4k"}))
    assert [key for key in ours if key in set(theirs)] == theirs

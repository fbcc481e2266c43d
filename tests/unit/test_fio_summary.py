"""The summary for people."""

import errno

import pytest
from fake_page import FakePage, entry_for, histogram_of

from iovigil.agent.fio import summary
from iovigil.agent.ledger import Failure
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, Mismatch, MismatchRecord, Usage

READ, WRITE, TRIM, SYNC = range(4)


def reading_page() -> FakePage:
    return FakePage(
        counters={(Counter.IOS, READ): 6170, (Counter.BYTES, READ): 6170 * 4096},
        runtimes_ns={READ: 5_000_000_000},
        histograms={
            (Latency.SLAT, READ): histogram_of(800),
            (Latency.CLAT, READ): histogram_of(*range(100_000, 200_000, 1000)),
            (Latency.LAT, READ): histogram_of(2_500_000_000),
        },
        depth=[1, 3, 0, 0, 0, 0, 0],
        epoch_ns=1,
        ended_ns=5_000_000_001,
        usage=Usage(0.5, 1.0, 123_456, 0, 0, 0),
    )


def corrupt_page() -> FakePage:
    return FakePage(
        counters={(Counter.VERIFIED_BYTES, READ): 1 << 20},
        mismatch_counts={Mismatch.CHECKSUM: 2, Mismatch.STALE: 18},
        records=[
            MismatchRecord(Mismatch.CHECKSUM, 40960, 4096, 41000, 0, 0),
            MismatchRecord(Mismatch.STALE, 1 << 50, 65536, -1, 12, 7),
        ],
        error=errno.EILSEQ,
    )


def test_a_direction_shows_its_rates_and_latencies_in_sensible_units() -> None:
    options = JobOptions(name="p", rw="randread", iodepth=2, filename=("/srv/x",))
    text = summary.render([entry_for(reading_page(), options)])
    assert "p: randread, 4 KiB, iodepth 2, psync on /srv/x" in text
    assert "1234 IOPS, 4.82 MiB/s (24.1 MiB in 5 s, 6170 I/Os)" in text
    slat, clat, lat = (line.split() for line in text.splitlines() if line.strip().startswith(("slat", "clat", "lat")))
    assert slat[1:3] == ["800", "ns"]
    assert clat[1:3] == ["150", "us"] or clat[1:3] == ["149", "us"]
    assert clat[-2:] == ["199", "us"]
    assert lat[-2:] == ["2.50", "s"]


def test_depth_and_cpu_are_shares() -> None:
    text = summary.render([entry_for(reading_page())])
    assert "1: 25.0%, 2: 75.0%" in text
    assert "user 10.0%, system 20.0%, 123k context switches" in text


def test_a_direction_without_io_is_not_shown() -> None:
    text = summary.render([entry_for(reading_page())])
    assert "write" not in text
    assert "verify" not in text


def test_corruption_is_called_so_and_never_by_an_errno() -> None:
    text = summary.render([entry_for(corrupt_page(), failure=Failure.VERIFY)])
    assert "DATA CORRUPTION in 20 blocks: 2 checksum, 18 stale" in text
    flowing = " ".join(text.split())
    assert "block with a wrong checksum at offset 40960, length 4096: " in flowing
    assert "first wrong byte 41000 (byte 40 of the block)" in flowing
    assert f"stale block at offset {1 << 50}, length 65536: generation 12 expected, 7 found" in flowing
    assert "and 18 more" in text
    assert "FAILED" in text
    assert "EILSEQ" not in text


def test_a_clean_verify_says_how_much_was_checked() -> None:
    page = FakePage(counters={(Counter.VERIFIED_BYTES, READ): 1 << 28})
    assert "256 MiB checked, no mismatch" in summary.render([entry_for(page)])


def test_what_was_written_but_not_checked_is_a_warning() -> None:
    page = FakePage(counters={(Counter.VERIFIED_BYTES, READ): 4096}, unverified_bytes=1 << 20)
    assert "1 MiB written but not read back for lack of time" in summary.render([entry_for(page)])


def test_errors_are_shown_by_name_and_direction() -> None:
    page = FakePage(errors_by_ddir={WRITE: {errno.EIO: 3, errno.ENOSPC: 1}})
    text = summary.render([entry_for(page, failure=Failure.IO_ERROR, message="write at 0: EIO")])
    assert "write: 3 EIO, 1 ENOSPC" in text
    assert "I/O error: write at 0: EIO" in text


def test_what_a_successful_run_has_to_say_is_a_note() -> None:
    text = summary.render([entry_for(FakePage(), message="stopped before its I/O began")])
    assert "note    stopped before its I/O began" in text
    assert "FAILED" not in text


@pytest.mark.parametrize("failure", list(Failure))
def test_every_failure_has_words_and_no_line_is_wider_than_80_columns(failure: Failure) -> None:
    page = corrupt_page()
    page.counters |= {
        (Counter.IOS, WRITE): 1 << 60,
        (Counter.BYTES, WRITE): 1 << 62,
        (Counter.SHORT_IOS, WRITE): 1 << 60,
    }
    page.runtimes_ns = {WRITE: 123_456_789_012}
    page.histograms = {(kind, WRITE): histogram_of(1, 999_999_999, 12_345_678_901) for kind in Latency}
    page.errors_by_ddir = {WRITE: dict.fromkeys(range(134), 123_456)}
    page.depth = [12_345] * 7
    options = JobOptions(name="probe", filename=("/srv/a path/with words",))
    entry = entry_for(page, options, failure=failure, message="something long went wrong " * 20)
    lines = summary.render([entry]).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("FAILED" in line for line in lines)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (512, "512 B"), (4096, "4 KiB"), (1536, "1.50 KiB"), (5 << 40, "5 TiB")]
)
def test_bytes_are_in_the_largest_binary_unit_they_reach(size: int, text: str) -> None:
    assert summary.amount(size) == text


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0 ns"), (9.5, "9.50 ns"), (1_000, "1 us"), (1_234_567, "1.23 ms"), (61e9, "61 s")]
)
def test_times_are_in_the_largest_unit_they_reach(ns: float, text: str) -> None:
    assert summary.duration(ns) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (99.5, "99.5"), (9_999, "9999"), (4_214_067, "4.21M")])
def test_counts_stay_whole_up_to_ten_thousand(value: float, text: str) -> None:
    assert summary.count(value) == text


def test_every_group_has_its_line_in_the_form_of_fio() -> None:
    page = FakePage(counters={(Counter.IOS, READ): 512, (Counter.BYTES, READ): 2 << 20}, runtimes_ns={READ: 1_000_000})
    slow = FakePage(counters={(Counter.IOS, READ): 256, (Counter.BYTES, READ): 1 << 20}, runtimes_ns={READ: 2_000_000})
    text = summary.render([entry_for(page), entry_for(slow), entry_for(reading_page(), group=1)])
    assert (
        "Run status group 0 (all jobs):\n"
        "   READ: bw=1500MiB/s (1573MB/s), 500MiB/s-2000MiB/s (524MB/s-2097MB/s), "
        "io=3072KiB (3146kB), run=1-2msec\n"
    ) in text
    assert "Run status group 1 (all jobs):" in text
    assert "WRITE:" not in text


def test_one_job_needs_no_group() -> None:
    assert "Run status group" not in summary.render([entry_for(reading_page())])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (9999, "9999B"),
        (552960, "540KiB"),
        (32_820_429, "31.3MiB"),
        (2 << 20, "2048KiB"),
        (2_097_152_000, "2000MiB"),
        (12_345_678, "11.8MiB"),
        (10_300_000_000, "9823MiB"),
    ],
)
def test_group_lines_have_four_digits_at_most(value: float, text: str) -> None:
    assert summary.binary(value) == text

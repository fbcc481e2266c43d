"""Several jobs as one result."""

import errno

import pytest
from fake_page import FakePage, entry_for, histogram_of
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.fio import figures, json_output
from iovigil.agent.fio.groups import added, reported
from iovigil.agent.ledger import Failure
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, Mismatch, MismatchRecord, RateSamples, Usage

READ, WRITE = range(2)
TOGETHER = JobOptions(name="a", group_reporting=True)
ALONE = JobOptions(name="a")


def page_of(ios: int, runtime_ms: int = 10, **fields: object) -> FakePage:
    return FakePage(
        counters={(Counter.IOS, READ): ios, (Counter.BYTES, READ): ios * 4096},
        runtimes_ns={READ: runtime_ms * 1_000_000},
        **fields,  # type: ignore[arg-type]
    )


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=6))
def test_a_group_moved_what_its_jobs_moved(counts: list[int]) -> None:
    (shown,) = reported([entry_for(page_of(ios), TOGETHER) for ios in counts])
    assert shown.result.page.counter(Counter.IOS, READ) == sum(counts)
    assert figures.total(shown.result.page, Counter.BYTES, (READ,)) == sum(counts) * 4096


def test_only_neighbours_of_a_group_that_want_it_are_shown_as_one() -> None:
    entries = [
        entry_for(page_of(1), TOGETHER),
        entry_for(page_of(2), TOGETHER),
        entry_for(page_of(4), ALONE),
        entry_for(page_of(8), TOGETHER),
        entry_for(page_of(16), TOGETHER, group=1),
        entry_for(page_of(32), TOGETHER, group=1),
    ]
    assert [entry.result.page.counter(Counter.IOS, READ) for entry in reported(entries)] == [3, 4, 8, 48]


def test_a_job_without_stats_is_not_shown() -> None:
    entries = [entry_for(page_of(1), JobOptions(stats=False)), entry_for(page_of(2))]
    assert [entry.result.page.counter(Counter.IOS, READ) for entry in reported(entries)] == [2]


def test_the_time_of_a_group_is_that_of_its_slowest_job() -> None:
    (shown,) = reported([entry_for(page_of(100, 10), TOGETHER), entry_for(page_of(100, 20), TOGETHER)])
    assert figures.runtime_ms(shown.result.page, (READ,)) == 20
    assert figures.ios_per_second(shown.result.page, (READ,)) == 10_000


def test_cpu_is_a_share_of_all_the_jobs_times() -> None:
    usage = Usage(0.005, 0.0, 3, 2, 1, 100)
    pages = [page_of(1, usage=usage, epoch_ns=1_000_000, ended_ns=11_000_000) for _ in range(2)]
    job = json_output.document([entry_for(page, TOGETHER) for page in pages], {})["jobs"][0]
    assert (job["job_runtime"], job["usr_cpu"]) == (20, 50.0)
    assert (job["ctx"], job["majf"], job["minf"]) == (6, 4, 2)


def test_latencies_of_a_group_are_those_of_all_its_ios() -> None:
    pages = [page_of(1, histograms={(Latency.CLAT, READ): histogram_of(*values)}) for values in ((1, 2), (9,))]
    (shown,) = reported([entry_for(page, TOGETHER) for page in pages])
    merged = figures.histogram(shown.result.page, Latency.CLAT, (READ,))
    assert (merged.count, merged.min_ns, merged.max_ns) == (3, 1, 9)


def test_one_failed_job_fails_its_group_and_is_told_apart() -> None:
    record = MismatchRecord(Mismatch.STALE, 4096, 4096, -1, 2, 1)
    bad = page_of(1, mismatch_counts={Mismatch.STALE: 1}, records=[record], error=errno.EILSEQ, is_complete=True)
    entries = [
        entry_for(page_of(1), TOGETHER),
        entry_for(bad, TOGETHER, failure=Failure.VERIFY, message="bad block"),
        entry_for(page_of(1, is_complete=False), TOGETHER, failure=Failure.CRASH, signal=9),
    ]
    job = json_output.document(entries, {})["jobs"][0]
    assert job["error"] == errno.EILSEQ
    assert job["iovigil"]["jobs"] == 3
    assert [one["signal"] for one in job["iovigil"]["failed_jobs"]] == [None, 9]
    assert job["iovigil"]["mismatches"]["stale"] == len(job["iovigil"]["first_mismatches"]) == 1
    assert job["iovigil"]["is_complete"] is False


def test_rates_at_the_same_time_add_up() -> None:
    # As in fio 3.33: two jobs at 1000 I/Os per second are 2000, over twice as many samples.
    both = added([RateSamples(15, 1000.0, 1002.0, 1000.5, 3.0), RateSamples(15, 1000.0, 1001.0, 1000.5, 4.0)])
    assert both[:4] == (30, 2000.0, 2003.0, 2001.0)
    assert both.stddev == pytest.approx(5.0)
    assert added([]) == RateSamples(0, 0.0, 0.0, 0.0, 0.0)

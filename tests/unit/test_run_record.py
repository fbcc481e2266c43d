"""What is remembered of a run is what its page and its end say."""

import errno

from fake_page import FakePage, histogram_of, result_of

from iovigil.agent.ledger import Failure
from iovigil.agent.run_record import record_of
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, Mismatch

OPTIONS = JobOptions(name="integrity", rw="randwrite", bs=(65536,) * 3, iodepth=8, verify="crc32c")


def test_a_run_is_remembered_with_all_that_was_measured() -> None:
    page = FakePage(
        counters={
            (Counter.IOS, 0): 5,
            (Counter.IOS, 1): 7,
            (Counter.BYTES, 1): 7 * 65536,
            (Counter.VERIFIED_BYTES, 0): 5 * 65536,
        },
        histograms={(Latency.CLAT, 1): histogram_of(*[1000] * 98, 1_000_000, 2_000_000)},
        errors_by_ddir={0: {errno.EIO: 2}, 1: {errno.EIO: 1, 0: 1}},
        mismatch_counts={Mismatch.STALE: 3},
    )
    result = result_of(page, OPTIONS, failure=Failure.VERIFY, message="data corruption", exit_status=1)
    record = record_of("d/integrity/1000.000", result, ("error: x",))
    assert (record.failure, record.message, record.messages) == ("verify", "data corruption", ("error: x",))
    assert (record.started_unix, record.duration_s, record.exit_status, record.signal) == (1000.0, 1.5, 1, None)
    assert record.ios == {"read": 5, "write": 7}
    assert record.bytes == {"write": 7 * 65536}
    assert record.errors == {"read": 2, "write": 2}
    assert record.errnos == {"EIO": 3, "other": 1}
    assert list(record.latency_s) == ["write"], "of reads nothing was measured"
    assert record.latency_s["write"]["max"] == 0.002
    assert abs(record.latency_s["write"]["0.5"] - 1e-6) < 1e-8
    assert abs(record.latency_s["write"]["0.99"] - 1e-3) < 1e-5
    assert record.verified_bytes == 5 * 65536
    assert record.mismatches == {"stale": 3}
    assert record.options == {"rw": "randwrite", "bs": "64k", "iodepth": "8", "verify": "crc32c"}


def test_of_a_success_that_did_nothing_there_is_nothing_to_remember() -> None:
    record = record_of("d/probe/1000.000", result_of(FakePage()))
    assert record.is_success
    assert (record.ios, record.errors, record.latency_s, record.mismatches) == ({}, {}, {}, {})

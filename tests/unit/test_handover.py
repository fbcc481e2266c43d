"""What one run could not read back is the next one's, as long as nobody else writes there."""

from typing import Any

import pytest
from fake_page import FakePage

from iovigil.agent.config import DiskSettings
from iovigil.agent.handover import Handover
from iovigil.agent.ledger import ProbeEntry, RunResult
from iovigil.engines.options import JobOptions

DISK = DiskSettings(name="data0", file="/srv/data0/probe", size=1 << 20)
WRITES = JobOptions(rw="write", verify="crc32c", runtime=1_000_000)


def entry_for(probe: str = "integrity", options: JobOptions = WRITES) -> ProbeEntry:
    return ProbeEntry(disk=DISK.name, probe=probe, options=options, interval_s=10, timeout_s=10, engine="psync")


def ended(entry: ProbeEntry, left: int, *, inherited: int | None = None, is_complete: bool = True) -> RunResult:
    handed = entry.pending_bytes if inherited is None else inherited
    page: Any = FakePage(unverified_bytes=left, inherited_bytes=handed, is_complete=is_complete)
    return RunResult(
        disk=DISK.name,
        probe=entry.probe,
        options=entry.options,
        engine="psync",
        page=page,
        started_unix=0.0,
        ended_unix=1.0,
    )


def test_what_is_left_is_handed_on_until_nothing_is() -> None:
    handover, entry = Handover(), entry_for()
    log = handover.log_for(DISK, entry)
    assert log is not None
    handover.finish(ended(entry, 8192))
    assert entry.pending_bytes == 8192
    assert handover.log_for(DISK, entry) is log
    handover.finish(ended(entry, 0))
    assert (entry.pending_bytes, entry.unverified_bytes) == (0, 0)
    assert handover.log_for(DISK, entry) is not log


def test_a_child_that_was_killed_has_left_what_its_log_says() -> None:
    handover, entry = Handover(), entry_for()
    log = handover.log_for(DISK, entry)
    handover.finish(ended(entry, 0, is_complete=False))
    assert handover.log_for(DISK, entry) is log


@pytest.mark.parametrize(
    "other",
    [
        entry_for("other", JobOptions(rw="randwrite", runtime=1_000_000)),
        entry_for("other", JobOptions(rw="randtrim", runtime=1_000_000)),
        entry_for("other"),
    ],
    ids=["writes", "trims", "verifies"],
)
def test_another_probe_that_writes_there_ends_it(other: ProbeEntry) -> None:
    handover, entry = Handover(), entry_for()
    log = handover.log_for(DISK, entry)
    handover.finish(ended(entry, 4096))
    assert handover.log_for(DISK, other) is not log
    assert (entry.pending_bytes, entry.unverified_bytes) == (0, 4096)
    assert handover.log_for(DISK, entry) is not log


def test_a_probe_that_only_reads_does_not() -> None:
    handover, entry = Handover(), entry_for()
    log = handover.log_for(DISK, entry)
    handover.finish(ended(entry, 4096))
    assert handover.log_for(DISK, entry_for("latency", JobOptions(rw="randread", runtime=1_000_000))) is None
    assert handover.log_for(DISK, entry) is log


def test_a_reload_that_changes_the_job_ends_it() -> None:
    handover, entry = Handover(), entry_for()
    handover.log_for(DISK, entry)
    handover.finish(ended(entry, 4096))
    entry.options = JobOptions(rw="write", verify="crc32c", runtime=1_000_000, bs=(8192, 8192, 8192))
    handover.log_for(DISK, entry)
    assert (entry.pending_bytes, entry.unverified_bytes) == (0, 4096)


def test_a_disk_that_is_not_watched_any_more_ends_it() -> None:
    handover, entry = Handover(), entry_for()
    handover.log_for(DISK, entry)
    handover.finish(ended(entry, 4096))
    handover.retain({"data1"})
    assert entry.unverified_bytes == 4096


def test_what_a_run_did_not_find_any_more_is_counted() -> None:
    """Its file was removed, and made anew."""
    handover, entry = Handover(), entry_for()
    handover.log_for(DISK, entry)
    handover.finish(ended(entry, 8192))
    handover.finish(ended(entry, 4096, inherited=0))
    assert (entry.pending_bytes, entry.unverified_bytes) == (4096, 8192)

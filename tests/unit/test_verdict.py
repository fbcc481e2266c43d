"""Why a run failed, from what a child left; roles with a real page are in tests/system/test_supervisor.py."""

import errno
from typing import Any, cast

import pytest
from fake_page import FakePage

from iovigil.agent.ledger import Failure
from iovigil.agent.verdict import judge, judge_late, reason
from iovigil.agent.worker import Exit
from iovigil.engines import exit_status
from iovigil.engines.stats import Mismatch, MismatchRecord, StatsPage


def page_with(text: str = "") -> StatsPage:
    page = StatsPage.private()
    page.text = text
    return page


@pytest.mark.parametrize(
    ("ending", "failure", "message"),
    [
        (Exit(status=exit_status.SETUP_FAILED), Failure.SETUP, "the job could not be set up"),
        (Exit(status=exit_status.TARGET_REFUSED), Failure.REFUSED, "the target was refused"),
        (Exit(status=exit_status.ENGINE_UNAVAILABLE), Failure.SETUP, "this host does not allow the ioengine"),
        (Exit(status=exit_status.TARGET_FAILED), Failure.SETUP, "the target could not be opened or laid out"),
        (Exit(status=exit_status.TARGET_GONE), Failure.GONE, "the target has gone"),
        (Exit(status=exit_status.JOB_FAILED), Failure.CRASH, "the child ended before its job did"),
        (Exit(signal=11), Failure.CRASH, "the child was killed by SIGSEGV"),
        (Exit(signal=63), Failure.CRASH, "the child was killed by signal 63"),
    ],
)
def test_a_child_without_a_last_word_still_has_a_verdict(ending: Exit, failure: Failure, message: str) -> None:
    verdict = judge(ending, page_with(), [])
    assert (verdict.failure, verdict.message) == (failure, message)


def test_every_exit_status_is_known() -> None:
    statuses = [value for name, value in vars(exit_status).items() if name.isupper()]
    for status in statuses:
        assert "unknown status" not in judge(Exit(status=status), page_with(), []).message


@pytest.mark.parametrize("error", [errno.ENODEV, errno.ENOTCONN, errno.ESTALE])
def test_a_device_or_a_server_that_has_gone_is_no_io_error_and_corruption_is_still_told(error: int) -> None:
    verdict = judge(Exit(status=exit_status.JOB_FAILED), corrupt_page(error=error, text="read: it is gone"), [])
    assert verdict.failure == Failure.GONE
    assert verdict.message.startswith("read: it is gone; ")
    assert "data corruption" in verdict.message


def test_a_rate_that_was_not_reached_is_no_io_error() -> None:
    for text in ("rate_min: 3 KiB/s is below 1 MiB/s", "rate_iops_min: 3 is below 100"):
        verdict = judge(Exit(status=exit_status.JOB_FAILED), page_with(text), [])
        assert (verdict.failure, verdict.message) == (Failure.RATE_MIN, text)


def test_the_last_error_is_the_reason() -> None:
    assert reason(["error: first", "error: second", "warning: no"]) == "second"
    assert reason(["Traceback", "ValueError: x"]) == "ValueError: x"
    assert reason([]) == ""


def test_a_late_child_tells_what_it_said_of_itself() -> None:
    verdict = judge_late(page_with("read at 4096: EIO"), "not finished after 15.0 s: killed")
    assert verdict.failure == Failure.TIMEOUT
    assert verdict.message == "not finished after 15.0 s: killed; read at 4096: EIO"


def corrupt_page(**more: Any) -> StatsPage:
    records = [MismatchRecord(Mismatch.STALE, 4096, 4096, -1, 7, 3)]
    return cast(StatsPage, FakePage(mismatch_counts={Mismatch.STALE: 2}, records=records, **more))


SAID = "data corruption: stale block at offset 4096, length 4096: generation 7 expected, 3 found (a write was lost)"


def test_mismatches_are_data_corruption_and_no_errno() -> None:
    verdict = judge(Exit(status=exit_status.JOB_FAILED), corrupt_page(error=errno.EILSEQ, text="no"), [])
    assert (verdict.failure, verdict.message) == (Failure.VERIFY, f"{SAID}; 2 blocks: 2 stale in all")


def test_another_failure_does_not_hide_corruption() -> None:
    by_error = judge(Exit(status=exit_status.JOB_FAILED), corrupt_page(error=errno.EIO, text="read: EIO"), [])
    assert by_error.failure == Failure.IO_ERROR
    assert by_error.message.startswith(f"read: EIO; {SAID}")
    by_crash = judge(Exit(signal=11), corrupt_page(), [])
    assert by_crash.failure == Failure.CRASH
    assert by_crash.message.startswith(f"the child was killed by SIGSEGV; {SAID}")
    late = judge_late(corrupt_page(text="2 blocks are wrong"), "not finished after 15.0 s: killed")
    assert late.failure == Failure.TIMEOUT
    assert late.message.startswith(f"not finished after 15.0 s: killed; {SAID}")


def test_what_a_disk_calls_an_illegal_byte_sequence_is_an_io_error() -> None:
    text = "read at offset 0, length 4096: Invalid or incomplete multibyte or wide character (EILSEQ)"
    page = FakePage(error=errno.EILSEQ, text=text, total_errors=1, errors_by_ddir={0: {errno.EILSEQ: 1}})
    verdict = judge(Exit(status=exit_status.JOB_FAILED), cast(StatsPage, page), [])
    assert (verdict.failure, verdict.message) == (Failure.IO_ERROR, text)


def test_trouble_with_a_scrubs_state_is_no_word_of_the_disks() -> None:
    page = FakePage(error=errno.ESTALE, text="scrub: the block at offset 0 is of generation 9, newer than 7")
    verdict = judge(Exit(status=exit_status.JOB_FAILED), cast("Any", page), [])
    assert (verdict.failure, verdict.message) == (Failure.SETUP, page.text)

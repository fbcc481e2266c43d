"""Why a run ended as it did: from exit status, stats page and last words to a Failure and a line for people."""

import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from iovigil.agent import mismatch_text
from iovigil.agent.ledger import Failure
from iovigil.agent.worker import Exit
from iovigil.engines import exit_status
from iovigil.engines.stats import StatsPage

RATE_MIN_PREFIXES = ("rate_min:", "rate_iops_min:")

GONE = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN, errno.ESTALE})
"""Of I/Os on what was open: the device was removed, the server of the file system has died."""

SCRUB_PREFIX = "scrub:"  # of what is wrong with its state, not with the disk


@dataclass(frozen=True)
class Verdict:
    """The outcome of a run; no failure is success."""

    failure: Failure | None = None
    message: str = ""


def judge(ending: Exit, page: StatsPage, messages: Sequence[str]) -> Verdict:
    """The verdict on a child that ended by itself or because it was asked to."""
    if ending.signal is not None:
        text = f"the child was killed by {signal_name(ending.signal)}{quoting(messages)}"
        return Verdict(Failure.CRASH, joined(text, mismatch_text.describe_page(page)))
    match ending.status:
        case exit_status.OK | exit_status.JOB_FAILED:
            return judge_job(ending, page, messages)
        case exit_status.SETUP_FAILED:
            return Verdict(Failure.SETUP, page.text or reason(messages) or "the job could not be set up")
        case exit_status.TARGET_REFUSED:
            return Verdict(Failure.REFUSED, reason(messages) or "the target was refused")
        case exit_status.ENGINE_UNAVAILABLE:
            return Verdict(Failure.SETUP, page.text or reason(messages) or "this host does not allow the ioengine")
        case exit_status.ASLEEP:
            return Verdict(message=f"left asleep: {reason(messages)}")
        case exit_status.TARGET_GONE:
            return Verdict(Failure.GONE, reason(messages) or "the target has gone")
        case exit_status.TARGET_FAILED:
            return Verdict(Failure.SETUP, reason(messages) or "the target could not be opened or laid out")
    return Verdict(Failure.CRASH, f"the child ended with unknown status {ending.status}{quoting(messages)}")


def judge_job(ending: Exit, page: StatsPage, messages: Sequence[str]) -> Verdict:
    """The verdict on a job that ran: what the page says counts, not the exit status alone."""
    error = page.error or page.first_error
    if page.text.startswith(SCRUB_PREFIX):
        return Verdict(Failure.SETUP, page.text)
    if page.text.startswith(RATE_MIN_PREFIXES):
        return Verdict(Failure.RATE_MIN, page.text)
    corruption = mismatch_text.describe_page(page)
    # A disk may say EILSEQ of its own (protection information): then there is no mismatch of ours.
    if corruption and error in (0, errno.EILSEQ):
        return Verdict(Failure.VERIFY, corruption)
    if error in GONE:
        return Verdict(Failure.GONE, joined(page.text or os.strerror(error), corruption))
    if error or page.total_errors:
        return Verdict(Failure.IO_ERROR, joined(page.text or os.strerror(error), corruption))
    if not page.is_complete:
        # An uncaught exception makes Python exit with 1 as well.
        return Verdict(Failure.CRASH, f"the child ended before its job did{quoting(messages)}")
    if ending.status == exit_status.JOB_FAILED:
        return Verdict(Failure.IO_ERROR, page.text or f"the job failed{quoting(messages)}")
    return Verdict()


def judge_late(page: StatsPage, text: str) -> Verdict:
    """The verdict on a child that did not end in its time."""
    # A job that came to its own end in the meantime has nothing in flight any more.
    age_ns = 0 if page.is_complete else page.oldest_inflight_ns()
    inflight = f"; its oldest I/O was in flight for {age_ns / 1e9:.1f} s" if age_ns else ""
    # What a job says of its mismatches at its end is said better by their records.
    return Verdict(Failure.TIMEOUT, joined(text + inflight, mismatch_text.describe_page(page) or page.text))


def joined(*texts: str) -> str:
    """What a run failed of first, and what else is to be said: data corruption is never left out."""
    return "; ".join(text for text in texts if text)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def reason(messages: Sequence[str]) -> str:
    """The last error the child reported, else the last thing it said."""
    errors = [message for message in messages if message.startswith("error:")]
    return (errors or list(messages) or [""])[-1].removeprefix("error:").strip()


def quoting(messages: Sequence[str]) -> str:
    said = reason(messages)
    return f": {said}" if said else ""

"""The progress line: how much is done, and how fast."""

import io
from dataclasses import dataclass
from typing import Any

from fake_page import FakePage
from rich.console import Console

from iovigil.agent.fio.progress import ProgressLine, share_done
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Mismatch, RunState

READ, WRITE = range(2)
SECOND = 1_000_000


def page_after(ios: int, **fields: Any) -> Any:
    counters: dict[tuple[int, int], int] = {(Counter.IOS, READ): ios, (Counter.BYTES, READ): ios * 4096}
    return FakePage(counters=counters, **fields)


def test_a_timed_job_is_done_when_its_time_is_over() -> None:
    options = JobOptions(time_based=True, ramp_time=SECOND, runtime=3 * SECOND, size=4096)
    page = page_after(100, first_io_ns=10_000_000_000)
    assert share_done(options, page, 11.0) == 0.25
    assert share_done(options, page, 20.0) == 1.0


def test_a_sized_job_is_done_when_its_bytes_are() -> None:
    assert share_done(JobOptions(size=400 * 4096), page_after(100), 5.0) == 0.25
    assert share_done(JobOptions(size=100 * 4096, loops=2), page_after(100), 5.0) == 0.5


def test_a_job_that_reads_back_moves_its_bytes_twice() -> None:
    options = JobOptions(rw="write", verify="crc32c", size=100 * 4096)
    assert share_done(options, page_after(100), 5.0) == 0.5


def test_whichever_bound_is_nearer_counts() -> None:
    options = JobOptions(runtime=10 * SECOND, size=400 * 4096, number_ios=125)
    assert share_done(options, page_after(100, first_io_ns=1), 1.0) == 0.8


def test_a_job_without_bound_has_no_share() -> None:
    assert share_done(JobOptions(), page_after(100), 5.0) is None


def test_nothing_is_done_before_the_first_io() -> None:
    assert share_done(JobOptions(time_based=True, runtime=SECOND), page_after(0), 1000.0) == 0.0


@dataclass
class FakeJob:
    options: JobOptions
    page: Any
    is_active: bool = True
    has_ended: bool = False


def console_on(screen: io.StringIO) -> Console:
    return Console(file=screen, force_terminal=True, width=120, color_system=None)


def test_the_line_shows_rates_of_the_last_second_and_what_went_wrong() -> None:
    screen = io.StringIO()
    times_s = iter([0.0, 0.5])
    job = FakeJob(JobOptions(size=1 << 30), page_after(0))
    with ProgressLine([job], console_on(screen), lambda: next(times_s)) as line:
        line.update()
        job.page = page_after(
            1000, state=RunState.VERIFYING, errors_by_ddir={READ: {5: 2}}, mismatch_counts={Mismatch.STALE: 1}
        )
        line.update()
    assert "verifying" in screen.getvalue()
    assert "2000 IOPS, 7.8 MiB/s, 2 errors, 1 mismatches" in screen.getvalue()


def test_many_jobs_are_one_line_with_their_number_and_rates_together() -> None:
    screen = io.StringIO()
    times_s = iter([0.0, 0.5])
    sized = JobOptions(size=1000 * 4096)
    jobs = [
        FakeJob(sized, page_after(0), is_active=False, has_ended=True),
        FakeJob(sized, page_after(0, state=RunState.RUNNING)),
        FakeJob(sized, page_after(0), is_active=False),
    ]
    with ProgressLine(jobs, console_on(screen), lambda: next(times_s)) as line:
        line.update()
        jobs[0].page = page_after(1000)
        jobs[1].page = page_after(500, state=RunState.RUNNING)
        line.update()
    assert "running 1/3" in screen.getvalue()
    assert "50%" in screen.getvalue()
    assert "3000 IOPS" in screen.getvalue()

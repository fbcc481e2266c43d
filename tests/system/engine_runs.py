"""Runs one job on one target through the real launcher and child, as the agent does, and keeps what came out."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until

from iovigil.agent import order
from iovigil.agent.config import DiskSettings
from iovigil.agent.worker import LAUNCHER, Exit, Worker
from iovigil.agent.write_logs import WriteLog
from iovigil.engines.clock import Clock
from iovigil.engines.options import JobOptions
from iovigil.engines.spelling import parse_options
from iovigil.engines.stats import Counter, Mismatch, StatsPage

READ, WRITE, SYNC = 0, 1, 3
DEADLINE_S = 20.0
KIB = 1 << 10
MIB = 1 << 20
CLOCK = Clock()

ASYNCHRONOUS = ("io_uring", "libaio", "posixaio")
ENGINES = [
    pytest.param(name, marks=pytest.mark.requires_io_uring if name == "io_uring" else ())
    for name in ("psync", "sync", "pvsync2", *ASYNCHRONOUS)
]
"""Every engine that does I/O on a file, as values of a parameter."""


@dataclass(frozen=True)
class Outcome:
    """A job that is over."""

    page: StatsPage
    exit: Exit
    messages: tuple[str, ...]
    """What the child said, a line each."""
    took_s: float
    """From spawn to its end."""

    @property
    def status(self) -> int | None:
        return self.exit.status

    def ios(self, ddir: int) -> int:
        return self.page.counter(Counter.IOS, ddir)

    def bytes(self, ddir: int) -> int:
        return self.page.counter(Counter.BYTES, ddir)

    @property
    def mismatches(self) -> dict[Mismatch, int]:
        """How many blocks were wrong, by kind; kinds that did not occur are left out."""
        return {kind: self.page.mismatch(kind) for kind in Mismatch if self.page.mismatch(kind)}

    def show(self) -> str:
        """Everything worth seeing in a failed assertion."""
        errors = [self.page.errors(ddir) for ddir in range(4)]
        return f"{self.exit} {self.page.state.name} error={self.page.error} {errors} {self.page.text!r} {self.messages}"


class RunningJob:
    """A child at work, and its page."""

    def __init__(self, worker: Worker, page: StatsPage) -> None:
        self.worker = worker
        self.page = page
        self._exit: Exit | None = None

    @property
    def pid(self) -> int:
        return self.worker.pid

    def stop(self) -> None:
        """SIGTERM alone: the stop word is the child's own to set."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        self.worker.kill()

    def stall(self, time_s: float) -> None:
        """Let the child not run for so long."""
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(time_s)
        os.kill(self.pid, signal.SIGCONT)

    def has_ended(self) -> bool:
        self.worker.read_messages()  # a full pipe would hold the child up
        self._exit = self._exit or self.worker.reap()
        return self._exit is not None

    def wait_for_ios(self, ddir: int, count: int = 1) -> None:
        """Return when so many I/Os are done. Raises NotReady."""
        wait_until(lambda: self.page.counter(Counter.IOS, ddir) >= count or self.has_ended(), f"{count} I/Os done")
        assert not self.has_ended(), self.outcome().show()

    def outcome(self, deadline_s: float = DEADLINE_S) -> Outcome:
        """Wait for the end. Raises NotReady."""
        wait_until(self.has_ended, "the job has ended", deadline_s)
        took_s = time.monotonic() - self.page.spawned_ns / 1e9
        assert self._exit is not None
        return Outcome(self.page, self._exit, tuple(self.worker.messages), took_s)


def job_options(**written: object) -> JobOptions:
    """Options in fio's spelling, as strings or numbers, over fio's defaults."""
    return parse_options({"randrepeat": 1, "overwrite": 1, **written})


@contextlib.contextmanager
def running(
    path: Path | None,
    launcher: Path = LAUNCHER,
    target_size: int = 0,
    limits: Mapping[str, int] | None = None,
    options: JobOptions | None = None,
    write_log: WriteLog | None = None,
    **written: object,
) -> Iterator[RunningJob]:
    """A job on a file, a device or nothing; killed when the block is left."""
    options = options or job_options(**written)
    disk = DiskSettings(name="disk", file=str(path or "/none"), size=target_size)
    ordered: dict[str, Any] = order.order(disk, options, options.ioengine, is_probe_file=False, write_log=write_log)
    ordered["limits"] = {**ordered["limits"], **(limits or {})}
    page = StatsPage.create()
    page.calibrate(CLOCK.source())
    page.release()
    worker = Worker.spawn(ordered, page, launcher)
    job = RunningJob(worker, page)
    try:
        yield job
    finally:
        worker.kill()
        # A child that hangs in the kernel is left to the test's own clean-up, which frees the disk.
        end = time.monotonic() + 3
        while not job.has_ended() and time.monotonic() < end:
            time.sleep(0.01)
        worker.close()


def run_job(path: Path | None, deadline_s: float = DEADLINE_S, **more: Any) -> Outcome:
    """Run a job to its end."""
    with running(path, **more) as job:
        return job.outcome(deadline_s)


def data_file(path: Path, size: int) -> Path:
    """A file of random bytes, so that nothing in it passes for a header or a hole."""
    path.write_bytes(os.urandom(size))
    return path

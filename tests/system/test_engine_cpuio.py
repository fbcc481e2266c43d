"""cpuio: as busy as told, for as long as told, and no I/O."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engine_runs import job_options, run_job, running

from iovigil.engines.stats import RunState


def options(**more: Any) -> dict[str, Any]:
    return {"ioengine": "cpuio", "size": 1 << 40, "runtime": "30s", "time_based": 1, **more}


def cpu_s(pid: int) -> float:
    """CPU time a process has used, by the kernel's account."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("load", [10, 50])
def test_it_uses_its_share_of_a_cpu_and_no_more(load: int) -> None:
    with running(None, **options(cpuload=load, cpuchunks=5000)) as job:
        while job.page.state != RunState.RUNNING and not job.has_ended():
            time.sleep(0.01)
        before_s, begun_s = cpu_s(job.pid), time.monotonic()
        time.sleep(1.0)
        share = (cpu_s(job.pid) - before_s) / (time.monotonic() - begun_s)
    # Less than asked for where others want the CPU too.
    assert 0 < share < (load + 12) / 100


def test_it_ends_when_told_even_while_asleep() -> None:
    with running(None, **options(cpuload=1, cpuchunks=100_000)) as job:
        while job.page.state != RunState.RUNNING and not job.has_ended():
            time.sleep(0.01)
        time.sleep(0.3)  # asleep for 9.9 s
        job.stop()
        done = job.outcome(deadline_s=5)
    assert done.status == 0, done.show()
    assert done.page.total_errors == 0


def test_it_needs_no_size() -> None:
    done = run_job(None, ioengine="cpuio", cpuload=100, cpuchunks=1000, runtime="300ms")
    assert done.status == 0, done.show()
    assert done.took_s >= 0.3


def test_without_a_load_it_is_refused() -> None:
    # From a command line it would not get this far.
    asked = msgspec.structs.replace(job_options(**options(cpuload=50)), cpuload=0)
    done = run_job(None, options=asked)
    assert done.status == 2
    assert done.page.text == "ioengine=cpuio needs to know how busy to be: set cpuload to 1..100 %"

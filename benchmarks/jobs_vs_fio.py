"""What several jobs at once make and cost, beside fio with numjobs.

python benchmarks/jobs_vs_fio.py [--jobs 8] [--pairs 5] [--seconds 2] [--only WORD] [--directory DIR] [--markdown]

Ours are started as the agent does, a child each, and released together once all are ready. Neither
side is bound to a CPU: how they share them is part of the answer. Memory is the proportional set size
of all processes, a second into a job with buffers of 4 MiB; time is wall clock from the first spawn.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

from pairs import Case, Options, OurJob, compare, parser, release, start_fio, wait_for_all
from spawn_vs_fio import memory_mib

SIZE = 16 << 20
SECONDS_OF_MEMORY = 3


def cases(seconds: int, jobs: int) -> Iterator[Case]:
    timed = {"time_based": "1", "runtime": f"{seconds}s", "bs": "4k", "rw": "randread", "norandommap": "1"}
    null = {**timed, "ioengine": "null", "size": "1g"}
    yield Case(f"{jobs} jobs: null", null, numjobs=jobs, is_pinned=False)
    cached = {**timed, "invalidate": "0"}
    yield Case(f"{jobs} jobs: psync, cached", {**cached, "ioengine": "psync"}, "cache", numjobs=jobs, is_pinned=False)
    ring = {"ioengine": "io_uring", "iodepth": "32"}
    yield Case(f"{jobs} jobs: io_uring QD32, cached", {**cached, **ring}, "cache", numjobs=jobs, is_pinned=False)
    direct = {**timed, "direct": "1", "ioengine": "psync"}
    yield Case(f"{jobs} jobs: psync, direct", direct, "disk", 1024, numjobs=jobs, is_pinned=False)


def run_theirs(options: Options, path: str, jobs: int) -> subprocess.Popen[bytes]:
    given = {"filename": path, "numjobs": str(jobs), "group_reporting": "1", **options}
    return start_fio(given, False, subprocess.DEVNULL)


def run_ours(options: Options, path: str, jobs: int) -> list[OurJob]:
    made = [OurJob(options, path, False, number + 1) for number in range(jobs)]
    release(made)
    return made


def memory(path: str, jobs: int) -> tuple[float, float]:
    """MiB a job, of fio's and of ours."""
    deep = {"ioengine": "libaio", "iodepth": "32", "bs": "128k", "rw": "randread", "norandommap": "1", "size": "16m"}
    options = {**deep, "invalidate": "0", "time_based": "1", "runtime": f"{SECONDS_OF_MEMORY}s"}
    theirs = [run_theirs(options, path, jobs)]
    time.sleep(SECONDS_OF_MEMORY / 2)
    fio_mib = memory_mib(theirs)
    wait_for_all(theirs)
    ours = [job.process for job in run_ours(options, path, jobs)]
    time.sleep(SECONDS_OF_MEMORY / 2)
    our_mib = memory_mib(ours)
    wait_for_all(ours)
    return fio_mib / jobs, our_mib / jobs


def start_up(path: str, jobs: int, rounds: int) -> tuple[float, float, float]:
    """ms from the first spawn to the last exit of jobs of one read, fio's and ours; of ours to the last job's read."""
    one_read = {"rw": "randread", "ioengine": "psync", "bs": "4k", "size": "16m", "number_ios": "1"}
    theirs: list[float] = []
    ours: list[float] = []
    first: list[float] = []
    for _ in range(rounds):
        begun = time.monotonic()
        wait_for_all([run_theirs(one_read, path, jobs)])
        theirs.append(1e3 * (time.monotonic() - begun))
        begun = time.monotonic()
        made = run_ours(one_read, path, jobs)
        wait_for_all([job.process for job in made])
        ours.append(1e3 * (time.monotonic() - begun))
        first.append(max(job.page.first_io_ns for job in made) / 1e6 - 1e3 * begun)
    return statistics.median(theirs), statistics.median(ours), statistics.median(first)


def before_the_first_io(arguments: argparse.Namespace) -> None:
    jobs = arguments.jobs
    with tempfile.NamedTemporaryFile(prefix="iovigil-bench-") as file:
        file.write(bytes(SIZE))
        file.flush()
        fio_ms, our_ms, first_ms = start_up(file.name, jobs, arguments.pairs)
        fio_mib, our_mib = memory(file.name, jobs)
    rows = [
        (f"{jobs} jobs of one read: spawn to the last exit, ms", f"{fio_ms:.0f}", f"{our_ms:.0f}", our_ms / fio_ms),
        (f"{jobs} jobs: spawn to the last job's first read, ms", "", f"{first_ms:.0f}", None),
        ("memory of a job (PSS), QD32 of 128 KiB, MiB", f"{fio_mib:.1f}", f"{our_mib:.1f}", our_mib / fio_mib),
    ]
    if arguments.markdown:
        print("\n| of all jobs | fio | ours | ratio |\n|" + " --- |" * 4)
    for name, theirs, ours, ratio in rows:
        shown = "" if ratio is None else f"{ratio:.2f}"
        print(
            f"| {name} | {theirs} | {ours} | {shown} |"
            if arguments.markdown
            else f"{name:52} {theirs:>7} {ours:>7} {shown:>6}"
        )


def main() -> None:
    taking = parser(__doc__)
    taking.add_argument("--jobs", type=int, default=8)
    arguments = taking.parse_args()
    compare(cases(arguments.seconds, arguments.jobs), arguments)
    before_the_first_io(arguments)


if __name__ == "__main__":
    main()

"""Our engine beside the real fio: the same work in alternation, ratios of I/O rate and of CPU time per I/O.

    python benchmarks/engine_vs_fio.py [--pairs 5] [--seconds 2] [--only WORD] [--directory DIR]

A pair is one run of each, who goes first alternates; every figure is the median over the pairs. CPU
time is user and system of the whole process tree (wait4), start-up included on both sides. Ratios
are ours to fio's. Absolute figures are for orientation only: machines are noisy, neighbours in time
less so.
"""

import argparse
import json
import marshal
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from iovigil.agent.config import DiskSettings
from iovigil.agent.order import order
from iovigil.agent.worker import ENVIRONMENT, LAUNCHER
from iovigil.engines.clock import Clock
from iovigil.engines.options import JobOptions
from iovigil.engines.spelling import parse_options
from iovigil.engines.stats import Counter, Latency, StatsPage

READ, WRITE = 0, 1
MIB = 1 << 20
RUN_DEADLINE_S = 120
CPU = str(max(os.sched_getaffinity(0)))  # both sides on one CPU: an interrupt's home is slower

# The options that fio's own advice for speed adds.
BEST = {
    "fixedbufs": "1",
    "registerfiles": "1",
    "iodepth_batch_submit": "16",
    "iodepth_batch_complete_min": "1",
    "iodepth_batch_complete_max": "16",
}


@dataclass(frozen=True)
class Case:
    """One question: what is run, on what kind of file, and which ratios are hoped for."""

    name: str
    options: dict[str, str]
    place: str = ""  # "": no file; "disk": page cache and disk; "memory": tmpfs
    size_mib: int = 256
    fio_only: tuple[tuple[str, str], ...] = ()
    least_iops: float | None = None
    most_cpu: float | None = None


@dataclass(frozen=True)
class Figures:
    """What one run made: I/Os per second, CPU ns per I/O, quantiles of read latency in ns."""

    iops: float
    cpu_ns: float
    p50_ns: float
    p99_ns: float


def cases(seconds: int) -> Iterator[Case]:
    timed = {"time_based": "1", "runtime": f"{seconds}s", "bs": "4k"}
    null = {**timed, "ioengine": "null", "rw": "randread", "size": "1g", "norandommap": "1"}
    cached = {**timed, "rw": "randread", "invalidate": "0", "norandommap": "1"}
    ring = {"ioengine": "io_uring", "iodepth": "32"}
    best = tuple(BEST.items())
    yield Case("null QD1", null, least_iops=3.0)
    yield Case("null QD32", {**null, "iodepth": "32"}, least_iops=5.0)
    mapped = {**null, "norandommap": "0", "size": "1t"}
    yield Case("null QD1, random map of 1 TiB", mapped, least_iops=4.0)
    yield Case("psync QD1, cached file", {**cached, "ioengine": "psync"}, place="disk", least_iops=1.25, most_cpu=0.75)
    yield Case("io_uring QD32, cached file", {**cached, **ring}, place="disk", least_iops=1.7)
    yield Case("io_uring QD32, cached file, fio's best", {**cached, **ring}, "disk", fio_only=best, least_iops=1.1)
    direct = {**timed, **ring, "rw": "randread", "direct": "1", "norandommap": "1"}
    yield Case("io_uring QD32, direct", direct, "disk", 1024, least_iops=0.99, most_cpu=0.62)
    yield Case("io_uring QD32, direct, fio's best", direct, "disk", 1024, fio_only=best, least_iops=0.99, most_cpu=0.9)
    quiet = {**direct, "iodepth": "1", "ioengine": "psync"}
    yield Case("psync QD1, direct: latency", quiet, "disk", 1024)
    verified = {"ioengine": "psync", "rw": "randwrite", "bs": "4k", "verify": "crc32c", "size": "64m", "loops": "8"}
    yield Case("verify crc32c 4k, 64 MiB in memory", verified, "memory", 64, least_iops=2.0)
    large = {**verified, "size": "512m", "loops": "1"}
    yield Case("verify crc32c 4k, 512 MiB in memory", large, "memory", 512)


def run_fio(case: Case, path: str) -> Figures:
    given = {**case.options, **dict(case.fio_only)}
    if path:
        given = {"filename": path, "size": f"{case.size_mib}m", **given}
    command = ["fio", "--name=job", "--output-format=json", "--thread=0"]
    command += [f"--{name}={value}" for name, value in given.items()]
    with tempfile.TemporaryFile() as output:
        usage = wait_for(subprocess.Popen(pinned(command), stdout=output, cwd=tempfile.gettempdir()))
        output.seek(0)
        document = json.load(output)
    (job,) = document["jobs"]
    ios = job["read"]["total_ios"] + job["write"]["total_ios"]
    seconds = sum(job[way]["runtime"] for way in ("read", "write")) / 1e3
    shown = job["read"]["clat_ns"]["percentile"]
    return Figures(ios / seconds, usage / ios, shown["50.000000"], shown["99.000000"])


def run_ours(case: Case, path: str, clock: Clock) -> Figures:
    given = {**case.options}
    if path:
        given = {"size": f"{case.size_mib}m", **given, "overwrite": "1"}
    options = parse_options(given)
    page = StatsPage.create()
    page.calibrate(clock.source())
    disk = DiskSettings(name="bench", file=path or "/nowhere", size=options.size)
    usage = wait_for(spawn_ours(options, disk, page))
    if not page.is_complete or page.error:
        raise SystemExit(f"{case.name}: our run failed: {page.text or 'see above'}")
    ios = sum(page.counter(Counter.IOS, way) for way in (READ, WRITE))
    seconds = sum(page.runtime_ns(way) for way in (READ, WRITE)) / 1e9
    clat = page.histogram(Latency.CLAT, READ)
    figures = Figures(ios / seconds, usage / ios, clat.quantile_ns(0.5), clat.quantile_ns(0.99))
    page.close()
    return figures


def spawn_ours(options: JobOptions, disk: DiskSettings, page: StatsPage) -> subprocess.Popen[bytes]:
    """The agent's way to start a child, but waited for with wait4."""
    order_fd = os.memfd_create("order")
    os.write(order_fd, marshal.dumps(order(disk, options, options.ioengine, is_probe_file=False)))
    page.spawned_ns = time.monotonic_ns()
    command = [sys.executable, "-I", "-S", str(LAUNCHER), str(order_fd), str(page.fileno())]
    process = subprocess.Popen(pinned(command), pass_fds=(order_fd, page.fileno()), env=ENVIRONMENT)
    os.close(order_fd)
    return process


def pinned(command: list[str]) -> list[str]:
    return ["taskset", "-c", CPU, *command]


def wait_for(process: subprocess.Popen[bytes]) -> float:
    """CPU time in ns of a process and all its children, once it has ended."""
    deadline = time.monotonic() + RUN_DEADLINE_S
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            process.kill()
            raise SystemExit(f"no end after {RUN_DEADLINE_S} s: {process.args!r}")
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}: {process.args!r}")
    return (usage.ru_utime + usage.ru_stime) * 1e9


@contextmanager
def scratch_file(case: Case, directory: str) -> Iterator[str]:
    """A file of random bytes of its own, in the page cache, gone afterwards."""
    if not case.place:
        yield ""
        return
    where = "/dev/shm" if case.place == "memory" else directory
    with tempfile.NamedTemporaryFile(dir=where, prefix="iovigil-bench-") as file:
        for _ in range(case.size_mib):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
        yield file.name


def measure(case: Case, pairs: int, directory: str, clock: Clock) -> tuple[Figures, Figures, Figures]:
    """Medians of fio's figures, of ours, and of their ratios."""
    theirs: list[Figures] = []
    ours: list[Figures] = []
    with scratch_file(case, directory) as path:
        sides: list[tuple[list[Figures], Callable[[], Figures]]] = [
            (theirs, lambda: run_fio(case, path)),
            (ours, lambda: run_ours(case, path, clock)),
        ]
        for pair in range(pairs):
            for results, run in sides if pair % 2 == 0 else reversed(sides):
                results.append(run())
    ratios = [
        Figures(*(a / b if b else float("nan") for a, b in zip(values(our), values(their), strict=True)))
        for our, their in zip(ours, theirs, strict=True)
    ]
    return median(theirs), median(ours), median(ratios)


def values(figures: Figures) -> tuple[float, ...]:
    return (figures.iops, figures.cpu_ns, figures.p50_ns, figures.p99_ns)


def median(of: list[Figures]) -> Figures:
    return Figures(*(statistics.median(column) for column in zip(*map(values, of), strict=True)))


def verdict(case: Case, ratios: Figures) -> str:
    hopes = []
    if case.least_iops is not None:
        hopes.append(f"rate >= {case.least_iops} {'met' if ratios.iops >= case.least_iops else 'MISSED'}")
    if case.most_cpu is not None:
        hopes.append(f"CPU <= {case.most_cpu} {'met' if ratios.cpu_ns <= case.most_cpu else 'MISSED'}")
    return ", ".join(hopes)


def machine() -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    fio = subprocess.run(["fio", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}, {fio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--directory", default="/var/tmp", help="where on a disk the scratch files go")
    arguments = parser.parse_args()
    print(machine())
    print(f"{'case':42} {'fio IOPS':>10} {'ours':>10} {'rate':>6} {'CPU/IO':>7} {'p50':>5} {'p99':>5}")
    clock = Clock()
    for case in cases(arguments.seconds):
        if arguments.only not in case.name:
            continue
        theirs, ours, ratios = measure(case, arguments.pairs, arguments.directory, clock)
        print(
            f"{case.name:42} {theirs.iops:10.0f} {ours.iops:10.0f} {ratios.iops:6.2f} {ratios.cpu_ns:7.2f}"
            f" {ratios.p50_ns:5.2f} {ratios.p99_ns:5.2f}  {verdict(case, ratios)}",
            flush=True,
        )


if __name__ == "__main__":
    main()

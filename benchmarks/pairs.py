"""What every benchmark here needs: fio and ours in alternation on the same work, and the ratios of what they made.

A pair is one run of each, who goes first alternates; every figure is the median over the pairs. CPU
time is user and system of the whole process trees (wait4), start-up included on both sides. Ratios
are ours to fio's. Absolute figures are for orientation only: machines are noisy, neighbours in time
less so.
"""

import argparse
import json
import marshal
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iovigil.agent.config import DiskSettings
from iovigil.agent.order import order
from iovigil.agent.worker import ENVIRONMENT, LAUNCHER
from iovigil.engines.clock import Clock
from iovigil.engines.options import JobOptions
from iovigil.engines.spelling import parse_options
from iovigil.engines.stats import Counter, Latency, RunState, StatsPage

READ, WRITE = 0, 1
MIB = 1 << 20
RUN_DEADLINE_S = 120
POLL_S = 0.01
CPU = str(max(os.sched_getaffinity(0)))  # both sides on one CPU: an interrupt's home is slower
CLOCK = Clock()

Options = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One piece of work: what is run, on what kind of file, and which ratios are hoped for."""

    name: str
    options: Options
    place: str = ""  # "": no file; "cache": read before; "disk": not in the page cache; "memory": tmpfs
    size_mib: int = 256
    fio_only: Options = field(default_factory=dict)
    numjobs: int = 1
    is_pinned: bool = True
    partner: Options | None = None  # another job at the same time, which connects to this one
    written_by_fio: Options | None = None  # before all pairs: what both are to find on the file
    rate_iops: int = 0  # what both were asked for
    least_iops: float | None = None
    most_cpu: float | None = None


@dataclass(frozen=True)
class Figures:
    """What one run made: I/Os per second, CPU ns per I/O, quantiles of read latency in ns."""

    iops: float
    cpu_ns: float
    p50_ns: float
    p99_ns: float


@dataclass(frozen=True)
class Comparison:
    """Medians over the pairs."""

    theirs: Figures
    ours: Figures
    ratios: Figures


class ScratchFiles:
    """Files of random bytes, one for each place and size, made when first asked for."""

    def __init__(self, disk: str, memory: str) -> None:
        self._directories = {"cache": disk, "disk": disk, "memory": memory}

    def path(self, case: Case) -> str:
        """The file for a case, as it is to be found; "" where the case needs none."""
        if not case.place:
            return ""
        path = Path(self._directories[case.place]) / f"{case.place}-{case.size_mib}m"
        if not path.exists():
            with path.open("wb") as file:
                for _ in range(case.size_mib):
                    file.write(os.urandom(MIB))
                file.flush()
                os.fsync(file.fileno())
        with path.open("rb") as file:
            if case.place == "disk":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while case.place == "cache" and file.read(MIB):
                pass
        return str(path)


@contextmanager
def scratch_files(directory: str) -> Iterator[ScratchFiles]:
    """Gone afterwards, also after SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(dir=directory, prefix="iovigil-bench-") as disk,
        tempfile.TemporaryDirectory(dir="/dev/shm", prefix="iovigil-bench-") as memory,
    ):
        yield ScratchFiles(disk, memory)


def run_fio(case: Case, path: str) -> Figures:
    given = {**case.options, **case.fio_only}
    if path:
        given = {"filename": path, "size": f"{case.size_mib}m", **given}
    if case.numjobs > 1:
        given = {**given, "numjobs": str(case.numjobs), "group_reporting": "1"}
    port = free_port() if case.partner is not None else 0
    if port:
        given["port"] = str(port)
    with tempfile.TemporaryFile() as output:
        processes = [start_fio(given, case.is_pinned, output)]
        if case.partner is not None:
            wait_for_listener(port)
            partner = {**case.partner, "port": str(port)}
            processes.append(start_fio(partner, case.is_pinned, subprocess.DEVNULL, errors=subprocess.DEVNULL))
        # fio's connecting end may die of SIGPIPE when all was sent and the other end is gone.
        usage_ns = wait_for_all(processes, may_fail=processes[1:])
        output.seek(0)
        said = output.read()
    document = json.loads(said[said.index(b"{") :])  # net says what it waits for
    (job,) = document["jobs"]
    ios = job["read"]["total_ios"] + job["write"]["total_ios"]
    seconds = sum(job[way]["runtime"] for way in ("read", "write")) / 1e3
    shown = job["read"]["clat_ns"].get("percentile", {})  # none without reads
    return Figures(ios / seconds, usage_ns / ios, shown.get("50.000000", 0), shown.get("99.000000", 0))


def start_fio(options: Options, is_pinned: bool, output: Any, errors: int | None = None) -> subprocess.Popen[bytes]:
    command = ["fio", "--name=job", "--output-format=json", "--thread=0"]
    command += [f"--{name}={value}" for name, value in options.items()]
    if is_pinned:
        command = pinned(command)
    return subprocess.Popen(command, stdout=output, stderr=errors, cwd=tempfile.gettempdir())


def free_port() -> int:
    """Another one for each run: a connection that was there a moment ago is in nobody's way."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for_listener(port: int) -> None:
    """fio does not try twice to connect."""
    deadline = time.monotonic() + RUN_DEADLINE_S
    while f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
        if time.monotonic() > deadline:
            raise SystemExit(f"nobody listens on port {port} after {RUN_DEADLINE_S} s")
        time.sleep(POLL_S)


def run_ours(case: Case, path: str) -> Figures:
    given = {**case.options}
    if path:
        given = {"size": f"{case.size_mib}m", **given, "overwrite": "1"}
    port = str(free_port())
    if case.partner is not None:
        given["port"] = port
    jobs = [OurJob(given, path, case.is_pinned, number + 1) for number in range(case.numjobs)]
    if case.partner is not None:
        jobs.append(OurJob({**case.partner, "port": port}, path, case.is_pinned))
    release(jobs)
    usage_ns = wait_for_all([job.process for job in jobs])
    for job in jobs:
        job.check(case.name)
    pages = [job.page for job in jobs[: case.numjobs]]
    ios = sum(page.counter(Counter.IOS, way) for page in pages for way in (READ, WRITE))
    seconds = sum(max(page.runtime_ns(way) for page in pages) for way in (READ, WRITE)) / 1e9
    together = StatsPage.private()
    for page in pages:
        together.add(page)
    clat = together.histogram(Latency.CLAT, READ)
    figures = Figures(ios / seconds, usage_ns / ios, clat.quantile_ns(0.5), clat.quantile_ns(0.99))
    for job in jobs:
        job.page.close()
    return figures


class OurJob:
    """A child started the agent's way, but waited for with wait4; it does nothing before `release`."""

    def __init__(self, given: Options, path: str, is_pinned: bool = True, number: int = 1) -> None:
        options: JobOptions = parse_options(dict(given))
        self.page = StatsPage.create()
        self.page.calibrate(CLOCK.source())
        disk = DiskSettings(name="bench", file=path or "/nowhere", size=options.size)
        wanted = {**order(disk, options, options.ioengine, is_probe_file=False), "number": number}
        order_fd = os.memfd_create("order")
        os.write(order_fd, marshal.dumps(wanted))
        self.page.spawned_ns = time.monotonic_ns()
        command = [sys.executable, "-I", "-S", str(LAUNCHER), str(order_fd), str(self.page.fileno())]
        # A session of its own, as every job of fio's has: the scheduler shares a busy machine out among sessions.
        self.process = subprocess.Popen(
            pinned(command) if is_pinned else command,
            pass_fds=(order_fd, self.page.fileno()),
            env=ENVIRONMENT,
            start_new_session=True,
        )
        os.close(order_fd)

    @property
    def is_waiting(self) -> bool:
        """Ready to be released, or dead before that."""
        return self.page.state == RunState.INITIALIZED or self.has_ended

    @property
    def has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def check(self, name: str) -> None:
        if not self.page.is_complete or self.page.error:
            raise SystemExit(f"{name}: our run failed: {self.page.text or 'see above'}")


def release(jobs: Sequence[OurJob]) -> None:
    """Let the jobs begin, together: once all of them are ready, as the agent does."""
    deadline = time.monotonic() + RUN_DEADLINE_S
    while len(jobs) > 1 and not all(job.is_waiting for job in jobs):
        if time.monotonic() > deadline:
            raise SystemExit(f"not ready after {RUN_DEADLINE_S} s")
        time.sleep(POLL_S / 20)
    for job in jobs:
        job.page.release()


def pinned(command: list[str]) -> list[str]:
    return ["taskset", "-c", CPU, *command]


def wait_for_all(
    processes: Iterable[subprocess.Popen[bytes]], may_fail: Sequence[subprocess.Popen[bytes]] = ()
) -> float:
    """CPU time in ns of processes and all their children, once they have ended."""
    deadline = time.monotonic() + RUN_DEADLINE_S
    running = list(processes)
    usage_s = 0.0
    while running:
        for process in list(running):
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if not pid:
                continue
            process.returncode = os.waitstatus_to_exitcode(status)
            running.remove(process)
            usage_s += usage.ru_utime + usage.ru_stime
            if process.returncode and process not in may_fail:
                kill(running)
                raise SystemExit(f"exit status {process.returncode}: {process.args!r}")
        if time.monotonic() > deadline:
            kill(running)
            raise SystemExit(f"no end after {RUN_DEADLINE_S} s: {running[0].args!r}")
        time.sleep(POLL_S)
    return usage_s * 1e9


def kill(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def measure(case: Case, pairs: int, files: ScratchFiles) -> Comparison:
    path = files.path(case)
    if case.written_by_fio is not None:
        run_fio(replace(case, options=case.written_by_fio), path)
    theirs: list[Figures] = []
    ours: list[Figures] = []
    sides: list[tuple[list[Figures], Callable[[Case, str], Figures]]] = [(theirs, run_fio), (ours, run_ours)]
    for pair in range(pairs):
        for results, run in sides if pair % 2 == 0 else reversed(sides):
            results.append(run(case, path))
    ratios = [
        Figures(*(a / b if b else float("nan") for a, b in zip(values(our), values(their), strict=True)))
        for our, their in zip(ours, theirs, strict=True)
    ]
    return Comparison(median(theirs), median(ours), median(ratios))


def values(figures: Figures) -> tuple[float, ...]:
    return (figures.iops, figures.cpu_ns, figures.p50_ns, figures.p99_ns)


def median(of: list[Figures]) -> Figures:
    return Figures(*(statistics.median(column) for column in zip(*map(values, of), strict=True)))


def verdict(case: Case, found: Comparison) -> str:
    hopes = []
    if case.rate_iops:
        errors = [100 * (figures.iops / case.rate_iops - 1) for figures in (found.theirs, found.ours)]
        hopes.append("off the rate: fio {:+.3f} %, ours {:+.3f} %".format(*errors))
    if case.least_iops is not None:
        hopes.append(f"rate >= {case.least_iops} {'met' if found.ratios.iops >= case.least_iops else 'MISSED'}")
    if case.most_cpu is not None:
        hopes.append(f"CPU <= {case.most_cpu} {'met' if found.ratios.cpu_ns <= case.most_cpu else 'MISSED'}")
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


def parser(description: str | None) -> argparse.ArgumentParser:
    """What all of the benchmarks take."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--pairs", type=int, default=5)
    made.add_argument("--seconds", type=int, default=2, help="length of one run")
    made.add_argument("--only", default="", help="cases whose name holds this word")
    made.add_argument("--directory", default="/var/tmp", help="where on a disk the scratch files go")
    made.add_argument("--markdown", action="store_true", help="print the ratios as a table for README.md")
    return made


def compare(cases: Iterable[Case], arguments: argparse.Namespace) -> None:
    """Run the cases that were asked for, and print a line for each when it is done."""
    print(machine())
    if arguments.markdown:
        print("\n| work | fio IOPS | ours | rate | CPU/IO | p50 | p99 | target |\n|" + " --- |" * 8, flush=True)
    else:
        print(f"{'case':44} {'fio IOPS':>10} {'ours':>10} {'rate':>6} {'CPU/IO':>7} {'p50':>5} {'p99':>5}", flush=True)
    with scratch_files(arguments.directory) as files:
        for case in cases:
            if arguments.only not in case.name:
                continue
            found = measure(case, arguments.pairs, files)
            theirs, ours, ratios = found.theirs, found.ours, found.ratios
            if arguments.markdown:
                print(
                    f"| {case.name} | {theirs.iops:.0f} | {ours.iops:.0f} | {ratios.iops:.2f} | {ratios.cpu_ns:.2f} "
                    f"| {ratios.p50_ns:.2f} | {ratios.p99_ns:.2f} | {verdict(case, found)} |",
                    flush=True,
                )
            else:
                print(
                    f"{case.name:44} {theirs.iops:10.0f} {ours.iops:10.0f} {ratios.iops:6.2f} {ratios.cpu_ns:7.2f}"
                    f" {ratios.p50_ns:5.2f} {ratios.p99_ns:5.2f}  {verdict(case, found)}",
                    flush=True,
                )

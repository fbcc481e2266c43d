"""What an agent with 60 disks and four probes on each costs: CPU, memory, scrapes and late starts; disks that hang too.

Needs root, loop devices, zram and the blkio controller of cgroup v1. It makes its disks, and removes them; nothing else
is touched. While disks hang, `sync` on this machine may wait for them.
"""

import argparse
import contextlib
import http.client
import itertools
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from many_disks import ENDS, PROBE_FILE_BYTES, MadeDisk, hung, many_disks, missing, whole
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from iovigil.agent import history
from iovigil.agent.history import History
from iovigil.agent.host import host_id
from iovigil.agent.run_record import RunRecord
from iovigil.agent.schedule import phase_s

ROOT: Final = Path(__file__).parents[1]
IOVIGIL: Final = Path(sys.executable).with_name("iovigil")
HOUR_S: Final = 3600.0
MIB: Final = 1 << 20
HANGS: Final = "raw"
"""Disks of which some hang: those without a filesystem, so that nothing but the probes waits for them."""
MAX_WORKERS: Final = 8
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
DEADLINE_S: Final = 120.0
LOOK_S: Final = 5.0
EARLY_S: Final = 0.5
ACCEPT: Final = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"  # as Prometheus asks

COUNTED: Final = ("iovigil_runs_total", "iovigil_run_failures_total", "iovigil_runs_skipped_total")

READ: Final = "direct: 1, runtime: 1s"
PROBES: Final = {
    "latency": ("*", 60, f"{{rw: randread, bs: 4k, rate_iops: 100, ioengine: psync, {READ}}}"),
    "queue": ("*", 300, f"{{rw: randread, bs: 16k, iodepth: 8, rate_iops: 200, ioengine: io_uring, {READ}}}"),
    "throughput": ("*", 300, f"{{rw: read, bs: 256k, iodepth: 2, rate: 50m, ioengine: libaio, {READ}}}"),
    "integrity": (
        "data*",
        600,
        "{rw: randwrite, bs: 64k, iodepth: 4, size: 8m, verify: crc32c, rate_iops: [400, 200], direct: 1, runtime: 5s, "
        "time_based: 0}",
    ),
    "far": ("[rz]*", 600, f"{{rw: randread, bs: 64k, rate_iops: 50, {READ}}}"),
}
"""{name: (disks, seconds between runs, job)}: four on each disk."""

LOAD: Final = {name: every_s for name, (_, every_s, _) in PROBES.items()}
WARM_UP_S_PER_DISK: Final = 0.75
REST: Final = dict.fromkeys(PROBES, 86_400)


@dataclass(frozen=True)
class Phase:
    """Part of the time."""

    name: str
    share: float
    hung: int = 0
    scrape_every_s: float = 1.0
    is_rest: bool = False


PHASES: Final = (
    Phase("under load", 0.25),
    Phase("1 disk hung", 0.2, hung=1),
    Phase("10 disks hung", 0.25, hung=10),
    Phase("at rest, scraped each second", 0.1, is_rest=True),
    Phase("at rest", 0.2, scrape_every_s=15.0, is_rest=True),
)


@dataclass
class Measured:
    """What was seen in one phase."""

    phase: Phase
    begin_unix: float
    end_unix: float = 0.0
    cpu_s: float = 0.0
    scrape_cpu_s: list[float] = field(default_factory=list)
    scrape_s: list[float] = field(default_factory=list)
    scrape_bytes: list[int] = field(default_factory=list)
    failed_scrapes: int = 0
    rss: list[int] = field(default_factory=list)
    pss: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """{(family, reason or bound): by how much it grew}, of disks that did not hang, and start delays of all."""
    delays_s: list[float] = field(default_factory=list)
    """Of starts on disks that did not hang, by the history."""

    @property
    def time_s(self) -> float:
        return self.end_unix - self.begin_unix


class Agent:
    """The process that is measured, asked through the kernel and through its own HTTP."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, config: Path, log: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._config = config
        self._log = log
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def scrape(self, encoding: str = "gzip") -> bytes:
        """Raises OSError, HTTPException."""
        try:
            self._http.request("GET", "/metrics", headers={"Accept": ACCEPT, "Accept-Encoding": encoding})
            answer = self._http.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise
        if answer.status != 200:
            raise OSError(f"/metrics: {answer.status}")
        return body

    def samples(self) -> Iterator[Sample]:
        for family in text_string_to_metric_families(self.scrape("identity").decode()):
            yield from family.samples

    def total(self, name: str, **labels: str) -> float:
        return sum(each.value for each in self.samples() if each.name == name and labels.items() <= each.labels.items())

    def wait(self, condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
        end_s = time.monotonic() + deadline_s
        while time.monotonic() < end_s:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                if condition():
                    return
            time.sleep(1.0)
        tail = "\n".join(self._log.read_text().splitlines()[-15:])
        sys.exit(f"waited in vain for {what}; the agent's log ends in\n{tail}")

    def reload(self, config: str) -> None:
        before = self.total("iovigil_config_last_reload_success_timestamp_seconds")
        self._config.write_text(config)
        self._process.send_signal(signal.SIGHUP)
        reloaded = "iovigil_config_last_reload_success_timestamp_seconds"
        self.wait(lambda: self.total(reloaded) > before, "the reload")

    @property
    def cpu_s(self) -> float:
        """Of all threads that there are and were, without children."""
        values = self._read("stat").rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) * TICK_S

    @property
    def loop_cpu_s(self) -> float:
        """Of the thread that serves, to the nanosecond."""
        return int(self._read("schedstat").split()[0]) / 1e9

    def look(self, measured: Measured) -> None:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in self._read("smaps_rollup").splitlines()[1:]}
        measured.rss.append(sizes["Rss"] * 1024)
        measured.pss.append(sizes["Pss"] * 1024)
        measured.descriptors.append(len(list(Path(f"/proc/{self.pid}/fd").iterdir())))
        measured.threads.append(len(list(Path(f"/proc/{self.pid}/task").iterdir())))
        measured.children.append(len(self._read(f"task/{self.pid}/children").split()))

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()


def configuration(disks: Sequence[MadeDisk], directory: Path, port: int, every_s: dict[str, int]) -> str:
    lines = [
        f"agent: {{listen: '127.0.0.1:{port}', state_directory: {directory}/state, max_workers: {MAX_WORKERS}}}",
        "disks:",
    ]
    for disk in disks:
        where = f"file: {disk.file}, size: {PROBE_FILE_BYTES}" if disk.file else f"device: {disk.device}"
        lines.append(f"  - {{name: {disk.name}, {where}}}")
    lines.append("probes:")
    for name, (names, _, job) in PROBES.items():
        lines.append(f"  {name}: {{every: {every_s[name]}s, disks: ['{names}'], job: {job}}}")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def started(directory: Path, port: int, config: str) -> Iterator[Agent]:
    path, log = directory / "agent.yml", directory / "agent.log"
    path.write_text(config)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [IOVIGIL, "agent", "--config", path],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            # It is started where such signals wait, and is to be ended by one.
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS),
        )
    try:
        yield Agent(process, port, path, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def warm_up(agent: Agent, pairs: int) -> None:
    """Return when every probe has run on every disk: the memory of a fresh agent says little."""

    def have_run() -> bool:
        return sum(1 for each in agent.samples() if each.name == "iovigil_last_run_success") == pairs

    agent.wait(lambda: bool(agent.scrape()), "the agent")
    agent.wait(have_run, "a run of every probe", 600.0)


def measure(agent: Agent, phase: Phase, time_s: float, hanging: Sequence[MadeDisk]) -> Measured:
    names = {disk.name for disk in hanging}
    before = counts(agent, names)
    measured = Measured(phase, time.time())
    begin_cpu_s, begin_s = agent.cpu_s, time.monotonic()
    next_look_s = begin_s
    for number in itertools.count():
        due_s = begin_s + number * phase.scrape_every_s
        while (now_s := time.monotonic()) < min(due_s, begin_s + time_s):
            if now_s >= next_look_s:
                agent.look(measured)
                next_look_s += LOOK_S
            time.sleep(max(min(due_s, next_look_s, begin_s + time_s) - time.monotonic(), 0.0))
        if now_s >= begin_s + time_s:
            break
        scrape(agent, measured)
    measured.cpu_s = agent.cpu_s - begin_cpu_s
    measured.end_unix = time.time()
    measured.counted = counts(agent, names)
    measured.counted.subtract(before)
    return measured


def scrape(agent: Agent, measured: Measured) -> None:
    begin_s, begin_cpu_s = time.monotonic(), agent.loop_cpu_s
    try:
        body = agent.scrape()
    except (OSError, http.client.HTTPException):
        measured.failed_scrapes += 1
        return
    measured.scrape_s.append(time.monotonic() - begin_s)
    # With what else the loop does meanwhile, such as the end of a run: a scrape is never cheaper than told here.
    measured.scrape_cpu_s.append(agent.loop_cpu_s - begin_cpu_s)
    measured.scrape_bytes.append(len(body))


def counts(agent: Agent, left_out: Iterable[str]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for each in agent.samples():
        if each.name == "iovigil_run_start_delay_seconds_bucket":
            found["start_delay", each.labels["le"]] = int(each.value)
        elif each.name in COUNTED and each.labels["disk"] not in left_out:
            found[each.name.removeprefix("iovigil_"), each.labels.get("reason", "")] += int(each.value)
    return found


def note_delays(measured: Sequence[Measured], runs: Iterable[RunRecord], hanging: Sequence[MadeDisk]) -> None:
    """Put down how late each run began, by its place in the plan."""
    host = host_id()
    for run in runs:
        for each, hung_names in zip(measured, left_out(measured, hanging), strict=True):
            if each.begin_unix <= run.started_unix < each.end_unix and run.disk not in hung_names:
                every_s = (REST if each.phase.is_rest else LOAD)[run.probe]
                late_s = (run.started_unix - phase_s(host, run.disk, run.probe, every_s)) % every_s
                # Where the history has it begin too early by what lay between two looks at the clock.
                each.delays_s.append(late_s if late_s < every_s - EARLY_S else 0.0)


def left_out(measured: Sequence[Measured], hanging: Sequence[MadeDisk]) -> list[list[str]]:
    """The disks that hang in each phase, and those that have and may be tried at other times than planned."""
    most = itertools.accumulate((each.phase.hung for each in measured), max)
    return [[disk.name for disk in hanging[:number]] for number in most]


def quantile(values: Sequence[float], q: float) -> float:
    """The value that the share `q` of them does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(q * len(ordered)), 1) - 1] if ordered else math.nan


def spread(values: Sequence[float], digits: int = 1, factor: float = 1e3) -> str:
    """p50 / p99 / greatest."""
    if not values:
        return "—"
    return " / ".join(f"{quantile(values, q) * factor:.{digits}f}" for q in (0.5, 0.99, 1.0))


def mib(sizes: Sequence[int]) -> str:
    return f"{max(sizes, default=0) / MIB:.0f}"


def rows(measured: Sequence[Measured]) -> Iterator[tuple[str, list[str]]]:
    yield "minutes", [f"{each.time_s / 60:.0f}" for each in measured]
    yield "CPU of the agent, % of a core", [f"{100 * each.cpu_s / each.time_s:.2f}" for each in measured]
    yield (
        "... without scrapes",
        [f"{100 * max(each.cpu_s - sum(each.scrape_cpu_s), 0.0) / each.time_s:.2f}" for each in measured],
    )
    yield "scrapes", [f"{len(each.scrape_s)}, {each.failed_scrapes} failed" for each in measured]
    yield "a scrape, ms of CPU: p50 / p99 / most", [spread(each.scrape_cpu_s) for each in measured]
    yield "a scrape, ms until all is there", [spread(each.scrape_s) for each in measured]
    yield "its size, KiB of gzip", [f"{quantile(each.scrape_bytes, 0.5) / 1024:.0f}" for each in measured]
    yield "memory, MiB: RSS, PSS", [f"{mib(each.rss)}, {mib(each.pss)}" for each in measured]
    yield (
        "descriptors, threads, children, at most",
        [f"{max(each.descriptors)}, {max(each.threads)}, {max(each.children)}" for each in measured],
    )
    yield "runs, and failed, on good disks", [runs_of(each) for each in measured]
    yield "starts skipped there", [skips_of(each) for each in measured]
    yield "starts there, ms late: p50 / p99 / most", [spread(each.delays_s, 0) for each in measured]
    yield "starts of all within 0.05, 1, 10 s", [punctuality(each) for each in measured]


def runs_of(measured: Measured) -> str:
    failed = sum(number for (name, _), number in measured.counted.items() if name == "run_failures_total")
    return f"{measured.counted['runs_total', '']}, {failed}"


def skips_of(measured: Measured) -> str:
    told = [
        f"{number} {reason}" for (name, reason), number in measured.counted.items()
        if name == "runs_skipped_total" and number
    ]  # fmt: skip
    return ", ".join(told) or "0"


def punctuality(measured: Measured) -> str:
    """As the agent's own histogram has it."""
    starts = measured.counted["start_delay", "+Inf"]
    if not starts:
        return "—"
    shares = [100 * measured.counted["start_delay", bound] / starts for bound in ("0.05", "1.0", "10.0")]
    return " / ".join(f"{share:.1f}" for share in shares) + " %"


def table(measured: Sequence[Measured], disks: int) -> str:
    head = f"| {disks} disks, {4 * disks} probes on them | {' | '.join(each.phase.name for each in measured)} |"
    lines = [head, f"| --- |{' ---: |' * len(measured)}"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows(measured)]
    return "\n".join(lines)


def verdict(measured: Sequence[Measured]) -> str:
    """What is asked of it, and whether that was so."""
    rest = next(each for each in measured if each.phase.is_rest and each.phase.scrape_every_s > 1)
    scrapes_s = [scrape_s for each in measured for scrape_s in each.scrape_cpu_s]
    asked = (
        ("at rest below 0.5 % of one core", rest.cpu_s / rest.time_s < 0.005),
        ("below 80 MiB (RSS)", max(size for each in measured for size in each.rss) < 80 * MIB),
        ("a scrape (p50) below 20 ms of CPU", quantile(scrapes_s, 0.5) < 0.020),
        ("and 99 of 100 of them", quantile(scrapes_s, 0.99) < 0.020),
    )
    told = [f"{what}: {'met' if is_met else 'MISSED'}" for what, is_met in asked]
    return f"Asked for: {'; '.join(told)}."


def machine() -> str:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]  # fmt: skip
    return (
        f"{time.strftime('%-d %B %Y')}, {models[0] if models else platform.machine()} with {os.cpu_count()} CPUs, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def run(args: argparse.Namespace, directory: Path) -> str:
    loops = args.disks - args.zram
    with contextlib.ExitStack() as stack:
        disks = stack.enter_context(
            many_disks(directory, mounted=loops // 2, raw=loops - loops // 2, zram=args.zram)
        )  # fmt: skip
        hanging = [disk for disk in disks if disk.name.startswith(HANGS)][: max(phase.hung for phase in PHASES)]
        soon = dict.fromkeys(PROBES, max(math.ceil(WARM_UP_S_PER_DISK * len(disks)), 10))
        with whole():
            agent = stack.enter_context(started(directory, args.port, configuration(disks, directory, args.port, soon)))
        print(f"warming up: {4 * len(disks)} probes", flush=True)
        warm_up(agent, 4 * len(disks))
        agent.reload(configuration(disks, directory, args.port, LOAD))
        measured, is_at_rest = [], False
        for phase in PHASES:
            if phase.is_rest and not is_at_rest:
                is_at_rest = True
                agent.reload(configuration(disks, directory, args.port, REST))
                agent.wait(lambda: agent.total("iovigil_workers") == 0, "the last child")
            print(f"{phase.name}: {phase.share * args.duration:.0f} s", flush=True)
            with hung(hanging[: phase.hung]):
                each = measure(agent, phase, phase.share * args.duration, hanging[: phase.hung])
            measured.append(each)
            print(table([each], len(disks)), flush=True)
            if phase.hung:
                agent.wait(lambda: agent.total("iovigil_workers", state="abandoned") == 0, "the disks' recovery")
        stack.close()
        note_delays(measured, History(history.database(directory / "state")).latest(limit=1_000_000), hanging)
        return f"{table(measured, len(disks))}\n\n{verdict(measured)}"


def end(*_: object) -> None:
    """Once: nothing is to keep it from removing what it made."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit("ended before its time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=HOUR_S, help="seconds, over all phases; warming up is more")
    parser.add_argument("--disks", type=int, default=60)
    parser.add_argument("--zram", type=int, default=6, help="how many of them")
    parser.add_argument("--port", type=int, default=19_942)
    parser.add_argument("--directory", help="where the images of the loop devices are; 1 GiB")
    parser.add_argument("--keep", metavar="FILE", help="where the agent's log is copied to at the end")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    args = parser.parse_args()
    if lacks := missing():
        sys.exit(f"this machine lacks {', '.join(lacks)}")
    for number in ENDS:
        signal.signal(number, end)
    directory = Path(tempfile.mkdtemp(prefix="iovigil-scale-", dir=args.directory))
    try:
        text = f"{machine()}; {args.duration / 60:.0f} minutes.\n\n{run(args, directory)}"
    finally:
        if args.keep:
            with contextlib.suppress(OSError):
                shutil.copy(directory / "agent.log", args.keep)
        shutil.rmtree(directory, ignore_errors=True)
    print(f"\n{text}")
    if args.write:
        sys.path.append(str(ROOT / "tests" / "system"))
        import reliability_page  # type: ignore[import-not-found]

        reliability_page.write("scale", text)


if __name__ == "__main__":
    main()

"""An agent whose disks go wrong one fault beside the other, scraped all the while: what was seen of each, and when.

A fault is made when all its disks have been read, and mended when all of them show its signs.
"""

import contextlib
import json
import socket
import statistics
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec
from agent_process import RunningAgent, running_agent
from fault_benches import Bench, MakesBench
from fault_cases import EVERY_S, RUNTIME_MS, Case, Fault
from fault_signs import Samples, Sign
from processes import wait_until
from scraping import get

from iovigil.agent import schedule
from iovigil.agent.host import host_id

HEALTHY: Final = "healthy"
WATCHDOG_S: Final = 10.0
"""What the unit that is shipped gives the main loop, and more often than it asks for."""
CLOSE_S: Final = 5.0

JOBS: Final = {
    "reads": "{{rw: randread, bs: 4k, runtime: {runtime_ms}ms, rate_iops: 50, direct: 1, ioengine: {engine}}}",
    "writes": "{{rw: randwrite, bs: 4k, size: 1MiB, runtime: {runtime_ms}ms, rate_iops: 50, direct: 1, "
    "ioengine: {engine}}}",
    "long": "{{rw: randread, bs: 4k, runtime: 100s, rate_iops: 50, direct: 1, ioengine: {engine}}}",
}


@dataclass(frozen=True)
class Pace:
    """How often things are done; a virtual machine takes its time."""

    healthy_every_s: float = 2.0
    every_s: float = EVERY_S
    scrape_every_s: float = 0.5
    scrape_deadline_s: float = 5.0
    least_s: float = 8.0
    """For which a fault is left: both its disk and the healthy one are to be read meanwhile."""
    start_s: float = 30.0
    """Until the agent answers, and again until all its disks have been read."""


@dataclass(frozen=True)
class Scrape:
    """What the agent said at a moment."""

    text: str = ""
    at_unix: float = 0.0


@dataclass
class Seen:
    """What one disk showed: seconds from the fault, or the repair, to the scrape that shows each sign."""

    signs: dict[str, float] = field(default_factory=dict)
    clears: dict[str, float] = field(default_factory=dict)
    good: Scrape = Scrape()
    """Just before the fault."""
    bad: Scrape = Scrape()
    """Just before the repair."""


@dataclass
class Beside:
    """What happened to all that nothing was done to, while something was wrong."""

    starts_late_s: list[float] = field(default_factory=list)
    """How long after its planned time each run on the healthy disk began."""
    runs: int = 0
    planned: int = 0
    skipped: int = 0
    failed: int = 0
    scrapes_s: list[float] = field(default_factory=list)
    watchdog_gaps_s: list[float] = field(default_factory=list)
    """Between two signs of life of the main loop to systemd."""
    cpu_wait: float = 0.0
    """Share of the time in which something on this machine waited for a CPU: then milliseconds tell nothing."""

    def show(self) -> str:
        return (
            f"healthy disk: {self.runs} of {self.planned} runs, {self.skipped} skipped, {self.failed} failed, late by "
            f"{statistics.median(self.starts_late_s):.3f} s, {max(self.starts_late_s):.3f} s at most; "
            f"{len(self.scrapes_s)} scrapes: median {1e3 * statistics.median(self.scrapes_s):.1f} ms, "
            f"worst {1e3 * max(self.scrapes_s):.1f} ms; longest time between two signs of life "
            f"{max(self.watchdog_gaps_s):.1f} s of {WATCHDOG_S:g} s"
        )


def configuration(benches: Mapping[Fault, Bench], healthy: str, pace: Pace) -> str:
    """The disks of all benches and the healthy one, one probe on each, as many at a time as there are disks."""
    disks = [f"  - {{name: {HEALTHY}, {healthy}}}"]
    probes = []
    for fault, bench in benches.items():
        every_s = 150 if fault.load == "long" else pace.every_s
        for engine, target in bench.targets.items():
            disk = Case(fault, engine).disk
            disks.append(f"  - {{name: {disk}, {target}}}")
            job = JOBS[fault.load].format(engine=engine, runtime_ms=RUNTIME_MS)
            probes.append(f"  {disk}: {{every: {every_s:g}s, disks: [{disk}], job: {job}}}")
    job = JOBS["reads"].format(engine="psync", runtime_ms=RUNTIME_MS)
    probes.append(f"  {HEALTHY}: {{every: {pace.healthy_every_s:g}s, disks: [{HEALTHY}], job: {job}}}")
    agent = f"  max_workers: {len(disks) + 1}\n  web: {{enable_control: true}}\n"
    return "\n".join([f"{agent}disks:", *disks, "probes:", *probes, ""])


class Watchdog:
    """systemd's end of the notify socket: when the main loop said that it is alive."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.path = path
        self.gaps_s: list[float] = []
        self.through = ("env", f"NOTIFY_SOCKET={path}", f"WATCHDOG_USEC={WATCHDOG_S * 1e6:.0f}")

    def _listen(self) -> None:
        last_s = 0.0
        while data := self._socket.recv(4096):
            if b"WATCHDOG=1" in data:
                now_s = time.monotonic()
                if last_s:
                    self.gaps_s.append(now_s - last_s)
                last_s = now_s

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._thread.join(CLOSE_S)
        self._socket.close()


class Trial:
    """One fault on its way: its disks are waited for, broken, mended."""

    def __init__(self, fault: Fault, bench: Bench, pace: Pace) -> None:
        self.fault = fault
        self._pace = pace
        self.bench = bench
        self.seen = {Case(fault, engine): Seen() for engine in bench.targets}
        self.is_broken = False
        self.is_over = False
        self._is_mended = False
        self._since_s = time.monotonic()
        self._before: Samples | None = None

    def follow(self, now: Samples, at_s: float) -> None:
        """Take one scrape, made at that time, into account."""
        if self.is_over:
            return
        if self._before is None:
            begun = "ios_total" if self.fault.load == "long" else "last_run_success"
            is_begun = all(now.value(begun, disk=case.disk) for case in self.seen)
            if is_begun or at_s - self._since_s > self._pace.start_s:
                self._break(now)
            return
        signs = self.fault.clears if self._is_mended else self.fault.signs
        for case, seen in self.seen.items():
            noted = seen.clears if self._is_mended else seen.signs
            for sign in signs:
                if str(sign) not in noted and sign.is_seen(case.disk, now, self._before):
                    noted[str(sign)] = at_s - self._since_s
        passed_s = at_s - self._since_s
        if self._is_complete(signs) or passed_s > longest_s(signs):
            if self._is_mended:
                self.is_over = True
            elif passed_s > self._pace.least_s:
                for seen in self.seen.values():
                    seen.bad = Scrape(now.text, time.time())
                self.mend(now)

    def _is_complete(self, signs: Sequence[Sign]) -> bool:
        return all(
            str(sign) in (seen.clears if self._is_mended else seen.signs)
            for seen in self.seen.values()
            for sign in signs
        )

    def _break(self, now: Samples) -> None:
        for seen in self.seen.values():
            seen.good = Scrape(now.text, time.time())
        self._before = now
        self.is_broken = True
        self.bench.breaks()
        self._since_s = time.monotonic()

    def mend(self, now: Samples | None = None) -> None:
        """Make the disks good again, if they are not."""
        if self.is_broken:
            self.is_broken = False
            self.bench.mends()
        self._is_mended = True
        self._before = now or self._before
        self._since_s = time.monotonic()


def is_ready(agent: RunningAgent) -> bool:
    try:
        get(f"{agent.url}/-/ready")
    except urllib.error.HTTPError:
        return False
    return True


def can_run_now(agent: RunningAgent, disk: str) -> bool:
    """Start the probe of the disk, whose turn is far away, unless the agent has not found the disk yet."""
    order = json.dumps({"disk": disk, "probe": disk}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{agent.url}/api/v1/run", order, headers)
    try:
        with urllib.request.urlopen(request, timeout=CLOSE_S):
            return True
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.CONFLICT:
            raise
        return False


def longest_s(signs: Sequence[Sign]) -> float:
    return max(sign.within_s for sign in signs)


class Neighbour:
    """The healthy disk: its runs, and when they were to begin."""

    def __init__(self, pace: Pace) -> None:
        self._every_s = pace.healthy_every_s
        self._phase_s = schedule.phase_s(host_id(), HEALTHY, HEALTHY, self._every_s)
        self._first: Samples | None = None
        self._last_start_unix = 0.0
        self._begun_s = 0.0
        self.late_s: list[float] = []

    def follow(self, now: Samples) -> None:
        start_unix = now.value("last_run_start_timestamp_seconds", disk=HEALTHY)
        if start_unix and start_unix != self._last_start_unix:
            if self._last_start_unix:
                self.late_s.append((start_unix - self._phase_s) % self._every_s)
            else:
                self._first, self._begun_s = now, time.monotonic()
            self._last_start_unix = start_unix

    def fill(self, beside: Beside, now: Samples) -> None:
        assert self._first is not None, "the healthy disk was never read"

        def since(metric: str) -> int:
            assert self._first is not None
            return int(now.value(metric, disk=HEALTHY) - self._first.value(metric, disk=HEALTHY))

        beside.starts_late_s = self.late_s
        beside.runs, beside.skipped, beside.failed = map(
            since, ("runs_total", "runs_skipped_total", "run_failures_total")
        )
        beside.planned = int((time.monotonic() - self._begun_s) // self._every_s)


def waited_s() -> float:
    """For how long so far something has waited for a CPU; 0 where the kernel does not tell."""
    try:
        some, *_ = Path("/proc/pressure/cpu").read_text().splitlines()
    except (OSError, ValueError):
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6


@dataclass
class Report:
    """What came of it all."""

    seen: dict[str, Seen]
    """By the disk's name."""
    beside: Beside
    log: str = ""

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Report":
        return msgspec.json.decode(text, type=cls)


def watch(
    directory: Path,
    benches: Mapping[Fault, Bench],
    healthy: str,
    pace: Pace = Pace(),
) -> Report:
    """Try all faults under one agent, whose files are under the directory. Every one is mended when this returns."""
    beside = Beside()
    neighbour = Neighbour(pace)
    with contextlib.ExitStack() as stack:
        watchdog = Watchdog(directory / "notify")
        stack.callback(watchdog.close)
        agent = stack.enter_context(
            running_agent(
                directory,
                configuration(benches, healthy, pace),
                through=(*watchdog.through, f"RUNTIME_DIRECTORY={directory}"),
                start_s=pace.start_s,
            )
        )
        wait_until(lambda: is_ready(agent), "the agent is ready", pace.start_s)
        for case in (Case(fault, engine) for fault, bench in benches.items() for engine in bench.targets):
            if case.fault.load == "long":
                wait_until(partial(can_run_now, agent, case.disk), f"{case.disk} is there", pace.start_s)
        trials = [Trial(fault, bench, pace) for fault, bench in benches.items()]
        for trial in trials:
            stack.callback(trial.mend)
        now = Samples("")
        while not all(trial.is_over for trial in trials):
            begun_s = time.monotonic()
            text = get(f"{agent.url}/metrics", pace.scrape_deadline_s).decode()
            at_s = time.monotonic()
            beside.scrapes_s.append(at_s - begun_s)
            now = Samples(text)
            neighbour.follow(now)
            for trial in trials:
                trial.follow(now, at_s)
            time.sleep(max(pace.scrape_every_s - (time.monotonic() - begun_s), 0.0))
        neighbour.fill(beside, now)
        beside.watchdog_gaps_s = watchdog.gaps_s
    seen = {case.disk: seen for trial in trials for case, seen in trial.seen.items()}
    return Report(seen, beside, agent.log.read_text())


@contextlib.contextmanager
def all_benches(
    directory: Path, engines: Mapping[Fault, Sequence[str]], makers: Mapping[str, MakesBench]
) -> Iterator[dict[Fault, Bench]]:
    """A bench for each fault, with a disk for each of these I/O engines."""
    with contextlib.ExitStack() as stack:
        benches = {}
        for fault, wanted in engines.items():
            place = directory / fault.key
            place.mkdir()
            benches[fault] = stack.enter_context(makers[fault.key](place, wanted))
        yield benches

"""What a job costs before it does anything: time from spawn to end of one I/O, and memory while running.

    python benchmarks/spawn_vs_fio.py [--rounds 9]

Time is wall clock from spawn to exit for a job of a single read, on both sides; of ours also the time
to the first I/O, which our stats page holds. Memory is the proportional set size of the whole process
tree (smaps_rollup), one second into a job of reads from a cached file.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
from engine_vs_fio import machine, pinned, spawn_ours

from iovigil.agent.config import DiskSettings
from iovigil.engines.clock import Clock
from iovigil.engines.spelling import parse_options
from iovigil.engines.stats import StatsPage

SIZE = 16 << 20
DEADLINE_S = 20
ONE_READ = {"rw": "randread", "ioengine": "psync", "bs": "4k", "size": "16m", "number_ios": "1"}
READS = {"rw": "randread", "ioengine": "psync", "bs": "4k", "size": "16m", "time_based": "1", "runtime": "2s"}


def start_fio(options: dict[str, str], path: str) -> subprocess.Popen[bytes]:
    command = ["fio", "--name=job", f"--filename={path}", *(f"--{name}={value}" for name, value in options.items())]
    return subprocess.Popen(pinned(command), stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())


def start_ours(options: dict[str, str], path: str, clock: Clock) -> tuple[subprocess.Popen[bytes], StatsPage]:
    page = StatsPage.create()
    page.calibrate(clock.source())
    disk = DiskSettings(name="bench", file=path, size=SIZE)
    return spawn_ours(parse_options(options), disk, page), page


def end(process: subprocess.Popen[bytes]) -> None:
    if process.wait(DEADLINE_S):
        raise SystemExit(f"exit status {process.returncode}: {process.args!r}")


def memory_mib(process: subprocess.Popen[bytes]) -> float:
    """Proportional set size of a process and all below it, a second from now; then waits for its end."""
    time.sleep(1)
    root = psutil.Process(process.pid)
    tree = [root, *root.children(recursive=True)]
    total = sum(pss_kib(Path(f"/proc/{member.pid}/smaps_rollup")) for member in tree)
    end(process)
    return total / 1024


def pss_kib(smaps: Path) -> int:
    return next(int(line.split()[1]) for line in smaps.read_text().splitlines() if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    clock = Clock()
    theirs: list[float] = []
    ours: list[float] = []
    first: list[float] = []
    with tempfile.NamedTemporaryFile(prefix="iovigil-bench-") as file:
        file.write(bytes(SIZE))
        file.flush()
        for _ in range(arguments.rounds):
            begun = time.monotonic()
            end(start_fio(ONE_READ, file.name))
            theirs.append(time.monotonic() - begun)
            begun = time.monotonic()
            process, page = start_ours(ONE_READ, file.name, clock)
            end(process)
            ours.append(time.monotonic() - begun)
            first.append((page.first_io_ns - page.spawned_ns) / 1e9)
        fio_mib = memory_mib(start_fio(READS, file.name))
        process, page = start_ours(READS, file.name, clock)
        our_mib = memory_mib(process)
    print(machine())
    fio_ms, our_ms, first_ms = (1e3 * statistics.median(times) for times in (theirs, ours, first))
    print(f"spawn to exit, one read    fio {fio_ms:6.1f} ms   ours {our_ms:6.1f} ms   ratio {our_ms / fio_ms:.2f}")
    print(f"spawn to first I/O                         ours {first_ms:6.1f} ms")
    print(f"memory of the job (PSS)    fio {fio_mib:6.1f} MiB  ours {our_mib:6.1f} MiB  ratio {our_mib / fio_mib:.2f}")


if __name__ == "__main__":
    main()

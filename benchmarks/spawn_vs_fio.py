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
from collections.abc import Iterable
from pathlib import Path

import psutil
from pairs import OurJob, machine, release, start_fio, wait_for_all

SIZE = 16 << 20
ONE_READ = {"rw": "randread", "ioengine": "psync", "bs": "4k", "size": "16m", "number_ios": "1"}
READS = {"rw": "randread", "ioengine": "psync", "bs": "4k", "size": "16m", "time_based": "1", "runtime": "2s"}


def started_fio(options: dict[str, str], path: str) -> subprocess.Popen[bytes]:
    return start_fio({"filename": path, **options}, True, subprocess.DEVNULL)


def started_ours(options: dict[str, str], path: str) -> OurJob:
    job = OurJob(options, path)
    release([job])
    return job


def memory_mib(processes: Iterable[subprocess.Popen[bytes]]) -> float:
    """Proportional set size of processes and all below them."""
    roots = [psutil.Process(process.pid) for process in processes]
    tree = {member for root in roots for member in (root, *root.children(recursive=True))}
    return sum(pss_kib(Path(f"/proc/{member.pid}/smaps_rollup")) for member in tree) / 1024


def pss_kib(smaps: Path) -> int:
    return next(int(line.split()[1]) for line in smaps.read_text().splitlines() if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    theirs: list[float] = []
    ours: list[float] = []
    first: list[float] = []
    memory: list[float] = []
    with tempfile.NamedTemporaryFile(prefix="iovigil-bench-") as file:
        file.write(bytes(SIZE))
        file.flush()
        for _ in range(arguments.rounds):
            begun = time.monotonic()
            wait_for_all([started_fio(ONE_READ, file.name)])
            theirs.append(time.monotonic() - begun)
            begun = time.monotonic()
            job = started_ours(ONE_READ, file.name)
            wait_for_all([job.process])
            ours.append(time.monotonic() - begun)
            first.append((job.page.first_io_ns - job.page.spawned_ns) / 1e9)
        for start in (started_fio, lambda *given: started_ours(*given).process):
            process = start(READS, file.name)
            time.sleep(1)
            memory.append(memory_mib([process]))
            wait_for_all([process])
    print(machine())
    fio_mib, our_mib = memory
    fio_ms, our_ms, first_ms = (1e3 * statistics.median(times) for times in (theirs, ours, first))
    print(f"spawn to exit, one read    fio {fio_ms:6.1f} ms   ours {our_ms:6.1f} ms   ratio {our_ms / fio_ms:.2f}")
    print(f"spawn to first I/O                         ours {first_ms:6.1f} ms")
    print(f"memory of the job (PSS)    fio {fio_mib:6.1f} MiB  ours {our_mib:6.1f} MiB  ratio {our_mib / fio_mib:.2f}")


if __name__ == "__main__":
    main()

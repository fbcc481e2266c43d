"""Good data, verified by the terabyte: no block of it may be called wrong.

`python tests/system/verify_soak.py --bytes 1T` works on files in memory, prints what each set of options came to, and
writes the sum into docs/reliability.md when asked to (`--write`).
"""

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reliability_page
from engine_runs import MIB, job_options

from iovigil.engines.checksum_types import FIELD_SIZES
from iovigil.engines.io.base import EngineUnavailable
from iovigil.engines.job import Job
from iovigil.engines.quantities import parse_size
from iovigil.engines.stats import Counter, Mismatch, StatsPage

GB = 10**9

# What is read again after it was written: a check costs a fraction of a write.
AGAIN = 8

PATTERN = "0x1234567890abcdef%o"

OPTIONS: dict[str, dict[str, Any]] = {
    "in order, 64 KiB": {"rw": "write", "bs": "64k"},
    "in order, 1 MiB, io_uring": {"rw": "write", "bs": "1m", "ioengine": "io_uring", "iodepth": 8},
    "at random, 4 KiB": {"rw": "randwrite", "bs": "4k"},
    "at random, 16 KiB, libaio": {"rw": "randwrite", "bs": "16k", "ioengine": "libaio", "iodepth": 32},
    "without a map, 8 KiB": {"rw": "randwrite", "bs": "8k", "norandommap": 1, "is_drawn": True},
    "without a map, 4 KiB, io_uring": {"rw": "randwrite", "bs": "4k", "norandommap": 1, "ioengine": "io_uring",
                                       "iodepth": 64, "is_drawn": True},
    "lengths from 4 to 64 KiB": {"rw": "randwrite", "bsrange": "4k-64k", "is_drawn": True},
    "four lengths, io_uring": {"rw": "randwrite", "bssplit": "4k/40:16k/30:128k/20:256k/10", "ioengine": "io_uring",
                               "iodepth": 16, "is_drawn": True},
    "headers every 512 bytes": {"rw": "write", "bs": "64k", "verify_interval": 512},
    "headers every 4 KiB, libaio": {"rw": "randwrite", "bs": "256k", "verify_interval": 4096, "ioengine": "libaio",
                                    "iodepth": 8},
    "a backlog": {"rw": "randwrite", "bs": "32k", "verify_backlog": 256, "verify_backlog_batch": 64},
    "a backlog without a map, io_uring": {"rw": "randwrite", "bs": "16k", "norandommap": 1, "verify_backlog": 1024,
                                          "ioengine": "io_uring", "iodepth": 32, "is_drawn": True},
    "two threads that check": {"rw": "randwrite", "bs": "128k", "verify_async": 2, "ioengine": "libaio", "iodepth": 16},
    "reads and writes mixed": {"rw": "randrw", "bs": "16k", "rwmixread": 40, "ioengine": "io_uring", "iodepth": 16,
                               "is_drawn": True},
    "passes one over another": {"rw": "randwrite", "bs": "64k", "loops": 2, "ioengine": "libaio", "iodepth": 16},
    "the layout of fio 2.2": {"rw": "write", "bs": "64k", "verify_header": "fio-2.2"},
    "headers within their blocks": {"rw": "randwrite", "bs": "64k", "verify_offset": 1000},
    "a pattern behind headers": {"rw": "write", "bs": "64k", "verify": "pattern_hdr", "verify_pattern": PATTERN},
    "a pattern with offsets alone": {"rw": "randwrite", "bs": "64k", "verify": "pattern", "verify_pattern": PATTERN},
    **{name: {"rw": "randwrite", "bs": "64k", "verify": name, "ioengine": "io_uring", "iodepth": 4}
       for name in ("xxhash", "crc32", "crc64")},
    **{name: {"rw": "randwrite", "bs": "64k", "verify": name, "is_slow": True}
       for name in FIELD_SIZES if FIELD_SIZES[name] and name not in ("crc32c", "xxhash", "crc32", "crc64")},
}  # fmt: skip
"""`is_drawn`: not all of the file is written, so that a later job has no place that is sure to hold a block.
`is_slow`: a checksum that costs more than the rest; an eighth of the file is enough."""


@dataclass
class Account:
    """What one set of options came to."""

    jobs: int = 0
    verified: int = 0
    took_s: float = 0.0
    mismatches: int = 0
    wrong: list[str] = field(default_factory=list)
    """Everything that went wrong, in words."""

    def add(self, page: StatsPage, took_s: float) -> None:
        self.jobs += 1
        verified = page.counter(Counter.VERIFIED_BYTES, 0)
        self.verified += verified
        self.took_s += took_s
        mismatches = sum(page.mismatch(kind) for kind in Mismatch)
        self.mismatches += mismatches
        if page.error or mismatches:
            self.wrong.append(page.text or os.strerror(page.error))
            self.wrong += [str(record) for record in page.mismatches()]
        elif not verified or page.unverified_bytes:
            self.wrong.append(f"{verified} bytes were verified, {page.unverified_bytes} were not")


@contextlib.contextmanager
def file_in_memory(directory: Path, size: int) -> Iterator[int]:
    with tempfile.TemporaryFile(dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, size)
        yield file.fileno()


class Soak:
    """Rounds over all sets of options, by several threads, until enough was verified."""

    def __init__(self, directory: Path, size: int, wanted: int) -> None:
        self.directory = directory
        self.size = size
        self.wanted = wanted
        self.accounts = {name: Account() for name in OPTIONS}
        self._lock = threading.Lock()
        self._begun = 0

    @property
    def verified(self) -> int:
        return sum(account.verified for account in self.accounts.values())

    @property
    def wrong(self) -> list[str]:
        return [f"{name}: {line}" for name, account in self.accounts.items() for line in account.wrong]

    def run(self, threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for worker in [pool.submit(self.work) for _ in range(threads)]:
                worker.result()

    def work(self) -> None:
        with file_in_memory(self.directory, self.size) as fd:
            while self.verified < self.wanted and not self.wrong:
                with self._lock:
                    number = self._begun
                    self._begun += 1
                name = list(OPTIONS)[number % len(OPTIONS)]
                self.write_and_read_again(fd, name, number)
                if number % len(OPTIONS) == 0:
                    print(f"{self.verified / GB:.0f} of {self.wanted / GB:.0f} GB", file=sys.stderr)

    def write_and_read_again(self, fd: int, name: str, number: int) -> None:
        options = dict(OPTIONS[name])
        is_drawn, is_slow = options.pop("is_drawn", False), options.pop("is_slow", False)
        options["size"] = self.size // 8 if is_slow else self.size
        self.job(fd, name, {**options, "randseed": number + 1})
        if is_drawn or is_slow or self.wrong:
            return
        again = {key: value for key, value in options.items() if key not in ("loops", "verify_backlog_batch")}
        again |= {"rw": options["rw"].replace("write", "read"), "verify_backlog": 0, "loops": AGAIN}
        self.job(fd, name, {**again, "randseed": number + 2})

    def job(self, fd: int, name: str, options: dict[str, Any]) -> None:
        page = StatsPage.create()
        start = time.monotonic()
        written = {"verify": "crc32c", "invalidate": 0, **options}
        Job(job_options(**written).native(), page, [(fd, self.size)]).run()
        with self._lock:
            self.accounts[name].add(page, time.monotonic() - start)
        page.close()

    def table(self) -> str:
        lines = ["| options | jobs | verified, GB | GB/s | false mismatches |", "| --- | ---: | ---: | ---: | ---: |"]
        lines += [
            f"| {name} | {account.jobs} | {account.verified / GB:.1f} | {account.verified / GB / account.took_s:.1f} | "
            f"{account.mismatches} |"
            for name, account in self.accounts.items()
            if account.jobs
        ]
        jobs = sum(account.jobs for account in self.accounts.values())
        mismatches = sum(account.mismatches for account in self.accounts.values())
        lines.append(f"| all | {jobs} | {self.verified / GB:.1f} | | {mismatches} |")
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write good data, verify them, and count what is called wrong.")
    parser.add_argument("--bytes", type=parse_size, default=20 * GB, help="how much to verify (20 GB)")
    parser.add_argument("--size", type=parse_size, default=1024 * MIB, help="of the file of each thread (1 GiB)")
    parser.add_argument("--threads", type=int, default=1, help="jobs at a time (1)")
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="where the files are (/dev/shm)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    chosen = parser.parse_args()
    soak = Soak(chosen.directory, chosen.size, chosen.bytes)
    start = time.monotonic()
    try:
        soak.run(chosen.threads)
    except EngineUnavailable as reason:
        sys.exit(f"error: {reason}")
    print(soak.table())
    print(f"\n{time.monotonic() - start:.0f} s")
    print(*soak.wrong, sep="\n")
    if chosen.write:
        reliability_page.write("soak", soak.table())
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

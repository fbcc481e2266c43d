"""Runs a scrub on a file or block device without agent and guard: for tests, and for machines made to lose power.

    PYTHONPATH=src python tests/system/scrub_alone.py TARGET STATE --cycles 2 --option bs=64k

prints what came of it as one JSON document; the status is the child's. TARGET is written without further questions.
"""

import argparse
import contextlib
import json
import marshal
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import iovigil
from iovigil.agent import order as orders
from iovigil.agent.config import ScrubSettings
from iovigil.engines.clock import Clock
from iovigil.engines.spelling import parse_options
from iovigil.engines.stats import Counter, Mismatch, StatsPage

CHILD = Path(iovigil.__file__).parent / "engines" / "child.py"
DEADLINE_S = 60.0
CLOCK = Clock()


class Scrubbed(NamedTuple):
    """A run that is over."""

    status: int
    page: StatsPage
    said: str

    @property
    def mismatches(self) -> int:
        return sum(self.page.mismatch(kind) for kind in Mismatch)

    def show(self) -> str:
        return f"status {self.status}, {self.page.text!r}, {self.page.mismatches()}, {self.said}"


class Scrub:
    """A child that scrubs."""

    def __init__(
        self, target: Path, state: Path, *, cycles: int, n: int, window: int, options: Mapping[str, object]
    ) -> None:
        parsed = parse_options({"rw": "rw", "bs": "4k", "randrepeat": 1, **options})
        with contextlib.ExitStack() as stack:
            direct = os.O_DIRECT if parsed.direct else 0
            target_fd = os.open(target, os.O_RDWR | os.O_CLOEXEC | direct)
            stack.callback(os.close, target_fd)
            state_fd = os.open(state, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, state_fd)
            size = os.lseek(target_fd, 0, os.SEEK_END)
            wanted = orders.target_order(
                "disk", "auto", str(target), size, parsed, is_probe_file=False, create_size=size
            )
            order = orders.order_of([wanted], parsed, parsed.ioengine, 0.0, names=[str(target)])
            settings = ScrubSettings(n=n, period_s=0.0, every_s=0.0)
            scrub = orders.scrub_order(settings, parsed, state_path=str(state), cycles=cycles)
            order |= {
                "targets": [{**wanted, "start": 0}],
                "scrub": {**scrub, "window_bytes": window or scrub["window_bytes"]},
                "extra_fds": {"scrub": state_fd},
            }
            self.page = StatsPage.create()
            self.page.calibrate(CLOCK.source())
            self.page.release()
            self.page.spawned_ns = time.monotonic_ns()
            order_fd = os.memfd_create("order")
            os.write(order_fd, marshal.dumps(order))
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", CHILD, *map(str, (order_fd, self.page.fileno(), target_fd))],
                pass_fds=(order_fd, self.page.fileno(), target_fd, state_fd),
                stderr=subprocess.PIPE,
                text=True,
            )
            os.close(order_fd)

    def kill(self) -> None:
        self.process.kill()

    def end(self, deadline_s: float = DEADLINE_S) -> Scrubbed:
        """Wait for the end."""
        try:
            _, said = self.process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return Scrubbed(self.process.returncode, self.page, said)


@contextlib.contextmanager
def scrubbing(
    target: Path, state: Path, *, cycles: int = 1, n: int = 3, window: int = 0, **options: object
) -> Iterator[Scrub]:
    """A scrub at work; killed when the block is left."""
    scrub = Scrub(target, state, cycles=cycles, n=n, window=window, options=options)
    try:
        yield scrub
    finally:
        if scrub.process.poll() is None:
            scrub.kill()
            scrub.process.communicate()


def scrub_to_the_end(target: Path, state: Path, **more: Any) -> Scrubbed:
    with scrubbing(target, state, **more) as scrub:
        return scrub.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--cycles", type=int, default=1, help="complete so many (%(default)s)")
    parser.add_argument("--n", type=int, default=10, help="a cycle writes one block in so many (%(default)s)")
    parser.add_argument("--window", type=int, default=0, help="bytes under way at a time")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the job, as fio's")
    args = parser.parse_args()
    options = dict(option.split("=", 1) for option in args.option)
    more: dict[str, Any] = {"cycles": args.cycles, "n": args.n, "window": args.window, **options}
    ended = scrub_to_the_end(args.target, args.state, **more)
    figures = ended.page.scrub
    report = {
        "status": ended.status,
        "error": ended.page.error,
        "text": ended.page.text,
        "said": ended.said,
        "scrub": figures._asdict() if figures else None,
        "mismatches": [{**record._asdict(), "kind": record.kind.name} for record in ended.page.mismatches()],
        "mismatch_count": ended.mismatches,
        "errors": [ended.page.errors(ddir) for ddir in range(4)],
        "read_bytes": ended.page.counter(Counter.BYTES, 0),
        "written_bytes": ended.page.counter(Counter.BYTES, 1),
    }
    print(json.dumps(report, indent=2))
    return ended.status


if __name__ == "__main__":
    sys.exit(main())

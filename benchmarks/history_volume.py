"""What the history of a large node costs its disk: bytes written a day, per interval between writes, and its size."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from iovigil.agent import archive, history, run_table
from iovigil.agent.bounds import Bounds
from iovigil.agent.history import Runs
from iovigil.agent.run_record import RunRecord

DISKS = 60
EVERY_S = {"latency": 30, "integrity": 600, "throughput": 3600, "integrity-deep": 86_400}  # config/node.yml
DAY_S = 86_400
BEGAN_UNIX = time.time() - DAY_S
LATENCY_S = {"0.5": 0.000123904, "0.99": 0.000987136, "0.999": 0.004112384, "max": 0.012345678}


def record(disk: int, probe: str, at_unix: float) -> RunRecord:
    is_write = probe.startswith("integrity")
    operations = ["read", "write"] if is_write else ["read"]
    return RunRecord(
        name=f"data{disk:02}/{probe}/{at_unix:.3f}",
        disk=f"data{disk:02}",
        probe=probe,
        started_unix=at_unix,
        duration_s=5.123,
        engine="io_uring",
        exit_status=0,
        options={"rw": "randread", "bs": "4k", "runtime": "5s", "rate_iops": "100", "direct": "1", "time_based": "1"},
        ios=dict.fromkeys(operations, 4096),
        bytes=dict.fromkeys(operations, 268435456),
        latency_s=dict.fromkeys(operations, LATENCY_S),
        verified_bytes=268435456 if is_write else 0,
    )


def runs_of(begin_s: int, end_s: int) -> Iterator[RunRecord]:
    for second in range(begin_s, end_s):
        for number, (probe, every_s) in enumerate(EVERY_S.items()):
            for disk in range(DISKS):
                if (second + 7919 * disk + 104_729 * number) % every_s == 0:
                    yield record(disk, probe, BEGAN_UNIX + second)


def written_bytes() -> int:
    """What this process has had written to disks."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", help="on the disk to be written to; not in memory")
    parser.add_argument("--interval", type=int, nargs="*", default=[1, 10, int(archive.SUCCESSES_S), 300])
    parser.add_argument("--time", type=int, default=3600, help="seconds of a day that are played")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        path, number, clock_s = history.database(directory), 0, 0
        bounds = Bounds()

        def play(time_s: int, interval_s: int) -> int:
            nonlocal number, clock_s
            rows = 0
            for begin_s in range(clock_s, clock_s + time_s, interval_s):
                records = list(runs_of(begin_s, begin_s + interval_s))
                numbered = [run_table.numbered(number + place, each) for place, each in enumerate(records, 1)]
                number, rows = number + len(records), rows + len(records)
                if numbered:
                    history.write(path, [], [], Runs("benchmark", numbered, bounds))
            clock_s += time_s
            return rows

        play(DAY_S // 2, 3600)  # so that as much is removed as is added
        for interval_s in args.interval:
            before, cpu_s = written_bytes(), time.process_time()
            rows = play(args.time, interval_s)
            share = DAY_S / args.time
            print(
                f"every {interval_s:>3} s: {(written_bytes() - before) * share / 1e6:7.0f} MB a day written, "
                f"{rows * share:.0f} runs, {100 * (time.process_time() - cpu_s) / args.time:.2f} % of a CPU; "
                f"the database has {path.stat().st_size / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()

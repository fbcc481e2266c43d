"""What the history of a large node costs its disk: bytes written a day, of runs and of baselines, and its size."""

import argparse
import random
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from iovigil.agent import archive, history, run_table
from iovigil.agent.baseline_table import KeptBaseline
from iovigil.agent.bounds import Bounds
from iovigil.agent.history import Runs
from iovigil.agent.run_record import RunRecord
from iovigil.agent.slowdown import watch

DISKS = 60
EVERY_S = {"latency": 30, "integrity": 600, "throughput": 3600, "integrity-deep": 86_400}  # config/node.yml
DAY_S = 86_400
BEGAN_UNIX = time.time() - DAY_S
LATENCY_S = {"0.5": 0.000123904, "0.99": 0.000987136, "0.999": 0.004112384, "max": 0.012345678}


def operations_of(probe: str) -> list[str]:
    return ["read", "write"] if probe.startswith("integrity") else ["read"]


def record(disk: int, probe: str, at_unix: float) -> RunRecord:
    operations = operations_of(probe)
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
        verified_bytes=268435456 if "write" in operations else 0,
    )


def runs_of(begin_s: int, end_s: int) -> Iterator[RunRecord]:
    for second in range(begin_s, end_s):
        for number, (probe, every_s) in enumerate(EVERY_S.items()):
            for disk in range(DISKS):
                if (second + 7919 * disk + 104_729 * number) % every_s == 0:
                    yield record(disk, probe, BEGAN_UNIX + second)


def baselines_of(begin_s: int, end_s: int, every_s: int, state_bytes: int) -> Iterator[KeptBaseline]:
    """What falls due of those that have changed: of a probe that runs less often, as often as that."""
    for probe, run_every_s in EVERY_S.items():
        for disk in range(DISKS):
            due_s = max(every_s, run_every_s)
            phase_s = zlib.crc32(f"{disk} {probe}".encode()) % due_s
            if (end_s - phase_s) // due_s == (begin_s - phase_s) // due_s:
                continue
            for operation in operations_of(probe):
                state = random.randbytes(state_bytes)
                yield KeptBaseline(f"data{disk:02}", probe, operation, "c" * 350, BEGAN_UNIX + end_s, state)


def written_bytes() -> int:
    """What this process has had written to disks."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", help="on the disk to be written to; not in memory")
    parser.add_argument("--interval", type=int, nargs="*", default=[1, 10, int(archive.SUCCESSES_S), 300])
    parser.add_argument("--baselines", type=int, nargs="*", default=[0, 900, int(watch.KEEP_S)], metavar="SECONDS",
                        help="between two writes of a baseline; 0 is none at all")  # fmt: skip
    parser.add_argument("--baseline-bytes", type=int, default=3700, help="of each: four foreign loads, settled")
    parser.add_argument("--time", type=int, default=3600, help="seconds of a day that are played")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        path, number, clock_s = history.database(directory), 0, 0
        bounds = Bounds()

        def play(time_s: int, interval_s: int, baselines_s: int = 0) -> tuple[int, int]:
            nonlocal number, clock_s
            rows = kept = 0
            for begin_s in range(clock_s, clock_s + time_s, interval_s):
                records = list(runs_of(begin_s, begin_s + interval_s))
                numbered = [run_table.numbered(number + place, each) for place, each in enumerate(records, 1)]
                number, rows = number + len(records), rows + len(records)
                baselines = (
                    list(baselines_of(begin_s, begin_s + interval_s, baselines_s, args.baseline_bytes))
                    if baselines_s
                    else []
                )
                kept += len(baselines)
                if numbered:
                    history.write(path, [], [], Runs("benchmark", numbered, bounds), baselines=baselines)
            clock_s += time_s
            return rows, kept

        play(DAY_S // 2, 3600)  # so that as much is removed as is added
        rounds = [(interval_s, 0) for interval_s in args.interval]
        rounds += [(int(archive.SUCCESSES_S), baselines_s) for baselines_s in args.baselines]
        for interval_s, baselines_s in rounds:
            if baselines_s:
                play(max(interval_s, baselines_s), interval_s, baselines_s)  # so that each is there
            before, cpu_s = written_bytes(), time.process_time()
            rows, kept = play(args.time, interval_s, baselines_s)
            share = DAY_S / args.time
            also = f", {kept * share:.0f} baselines (each {baselines_s} s)" if baselines_s else ""
            print(
                f"every {interval_s:>3} s: {(written_bytes() - before) * share / 1e6:7.0f} MB a day written, "
                f"{rows * share:.0f} runs{also}, {100 * (time.process_time() - cpu_s) / args.time:.2f} % of a CPU; "
                f"the database has {path.stat().st_size / 1e6:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()

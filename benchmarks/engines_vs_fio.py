"""How many I/Os a second each engine makes, and at what CPU time each, beside fio's engine of the same name.

python benchmarks/engines_vs_fio.py [--pairs 5] [--seconds 2] [--only WORD] [--directory DIR] [--markdown]

Random reads of 4 KiB from a file: cached, which shows what the engine costs, and direct, which shows
whether it keeps a disk busy. `fio's best` is fio with the options that its own advice for speed adds.
"""

from collections.abc import Iterator

from pairs import Case, compare, parser

ONE_AT_A_TIME = ("psync", "sync", "pvsync2", "mmap", "splice")
QUEUEING = ("libaio", "posixaio", "io_uring")

IN_BATCHES = {"iodepth_batch_submit": "16", "iodepth_batch_complete_min": "1", "iodepth_batch_complete_max": "16"}
BEST = {
    "io_uring": {"fixedbufs": "1", "registerfiles": "1", **IN_BATCHES},
    "libaio": {"userspace_reap": "1", **IN_BATCHES},
}


def cases(seconds: int) -> Iterator[Case]:
    timed = {"time_based": "1", "runtime": f"{seconds}s", "bs": "4k", "rw": "randread", "norandommap": "1"}
    null = {**timed, "ioengine": "null", "size": "1g"}
    yield Case("null QD1", null, least_iops=3.0)
    yield Case("null QD32", {**null, "iodepth": "32"}, least_iops=5.0)
    yield from cached({**timed, "invalidate": "0"})
    yield from direct({**timed, "direct": "1"})
    yield net(seconds, bs="4k", bytes_per_s=1 << 30)
    yield net(seconds, bs="64k", bytes_per_s=2 << 30)


def cached(options: dict[str, str]) -> Iterator[Case]:
    for engine in ONE_AT_A_TIME:
        hopes = (1.25, 0.75) if engine == "psync" else (None, None)
        yield Case(
            f"{engine}, cached", {**options, "ioengine": engine}, "cache", least_iops=hopes[0], most_cpu=hopes[1]
        )
    for engine in QUEUEING:
        yield Case(f"{engine} QD1, cached", {**options, "ioengine": engine}, "cache")
        deep = {**options, "ioengine": engine, "iodepth": "32"}
        yield Case(f"{engine} QD32, cached", deep, "cache", least_iops=1.7 if engine in BEST else None)
        if engine in BEST:
            name = f"{engine} QD32, cached, fio's best"
            yield Case(name, deep, "cache", fio_only=BEST[engine], least_iops=1.1)


def direct(options: dict[str, str]) -> Iterator[Case]:
    for engine in ONE_AT_A_TIME:
        yield Case(f"{engine}, direct", {**options, "ioengine": engine}, "disk", 1024)
    for engine in QUEUEING:
        yield Case(f"{engine} QD1, direct", {**options, "ioengine": engine}, "disk", 1024)
        deep = {**options, "ioengine": engine, "iodepth": "32"}
        is_ring = engine == "io_uring"
        least = 0.99 if engine in BEST else None
        yield Case(f"{engine} QD32, direct", deep, "disk", 1024, least_iops=least, most_cpu=0.62 if is_ring else None)
        if engine in BEST:
            yield Case(
                f"{engine} QD32, direct, fio's best",
                deep,
                "disk",
                1024,
                fio_only=BEST[engine],
                least_iops=0.99,
                most_cpu=0.9 if is_ring else None,
            )


def net(seconds: int, bs: str, bytes_per_s: int) -> Case:
    """Two of the same kind over the loopback device; a size, not a time: who ends first is no error of the other."""
    ends = {"ioengine": "net", "bs": bs, "size": str(seconds * bytes_per_s)}
    reads = {**ends, "rw": "read", "listen": "1"}
    writes = {**ends, "rw": "write", "hostname": "127.0.0.1"}
    return Case(f"net, {bs}, both ends on one CPU", reads, partner=writes)


def main() -> None:
    arguments = parser(__doc__).parse_args()
    compare(cases(arguments.seconds), arguments)


if __name__ == "__main__":
    main()

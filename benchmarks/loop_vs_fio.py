"""What the loop's own work costs beside fio's: choosing places, keeping a rate, writing and checking contents.

python benchmarks/loop_vs_fio.py [--pairs 5] [--seconds 2] [--only WORD] [--directory DIR] [--markdown]
"""

from collections.abc import Iterator

from pairs import Case, compare, parser

RATE_IOPS = 20_000


def cases(seconds: int) -> Iterator[Case]:
    timed = {"time_based": "1", "runtime": f"{seconds}s", "bs": "4k"}
    null = {**timed, "ioengine": "null", "rw": "randread"}
    yield Case("null, every block of 1 GiB once", {**null, "size": "1g"})
    yield Case("null, every block of 1 TiB once", {**null, "size": "1t"}, least_iops=4.0)
    yield Case("null, 70 % reads", {**null, "rw": "randrw", "rwmixread": "70", "norandommap": "1", "size": "1g"})
    rated = {**timed, "rw": "randread", "norandommap": "1", "invalidate": "0", "rate_iops": str(RATE_IOPS)}
    yield Case(f"psync, {RATE_IOPS} a second", {**rated, "ioengine": "psync"}, "cache", rate_iops=RATE_IOPS)
    queueing = {**rated, "ioengine": "io_uring", "iodepth": "32"}
    yield Case(f"io_uring QD32, {RATE_IOPS} a second", queueing, "cache", rate_iops=RATE_IOPS)
    verified = {"ioengine": "psync", "rw": "randwrite", "bs": "4k", "verify": "crc32c", "size": "64m", "loops": "8"}
    yield Case("verify crc32c 4k, 64 MiB in memory", verified, "memory", 64, least_iops=2.0)
    large = {**verified, "size": "512m", "loops": "1"}
    yield Case("verify crc32c 4k, 512 MiB in memory", large, "memory", 512)


def main() -> None:
    arguments = parser(__doc__).parse_args()
    compare(cases(arguments.seconds), arguments)


if __name__ == "__main__":
    main()

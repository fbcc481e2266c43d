"""What writing under verify and reading back cost beside fio, by checksum and block; what the log of a region takes.

python benchmarks/verify_vs_fio.py [--pairs 5] [--only WORD] [--directory DIR] [--markdown]
"""

from collections.abc import Iterator

from pairs import Case, OurJob, compare, parser, release, wait_for_all

MIB = 1 << 20
SIZE_MIB = 64
LOOPS = {"crc32c": 16, "xxhash": 8, "md5": 4, "sha1": 4, "sha256": 3, "sha3-256": 1}
"""As many as make a run of some tenths of a second or more, also with fio's slowest."""
LEAST_IOPS = {("crc32c", "4k"): 2.0, ("xxhash", "64k"): 3.5, ("sha256", "64k"): 4.0}
"""Of both phases together."""


def cases() -> Iterator[Case]:
    for checksum, loops in LOOPS.items():
        for bs in ("4k", "64k"):
            job = {"ioengine": "psync", "bs": bs, "verify": checksum, "loops": str(loops), "size": f"{SIZE_MIB}m"}
            name = f"{checksum} {bs}"
            both, least = {**job, "rw": "randwrite"}, LEAST_IOPS.get((checksum, bs))
            yield Case(f"{name}, write and read back", both, "memory", SIZE_MIB, least_iops=least)
            yield Case(f"{name}, write", {**job, "rw": "write", "do_verify": "0"}, "memory", SIZE_MIB)
            # As much in one pass: fio's readers under verify make no second one.
            reads = {**job, "rw": "read", "loops": "1", "size": f"{SIZE_MIB * loops}m"}
            written = {**reads, "rw": "write", "do_verify": "0"}
            yield Case(f"{name}, read", reads, "memory", SIZE_MIB * loops, written_by_fio=written)


def tell_memory() -> None:
    """Resident memory of a job that has written all of 1 TiB in blocks of 64 KiB, and knows what each must hold."""
    job = OurJob({
        "ioengine": "null", "rw": "randwrite", "bs": "64k", "size": "1t", "verify": "meta", "do_verify": "0",
    }, "", is_pinned=False)  # fmt: skip
    release([job])
    wait_for_all([job.process])
    job.check("memory")
    print(f"1 TiB in blocks of 64 KiB: {job.page.usage.max_rss_bytes / MIB:.0f} MiB resident", flush=True)


def main() -> None:
    arguments = parser(__doc__).parse_args()
    compare(cases(), arguments)
    if arguments.only in "memory":
        tell_memory()


if __name__ == "__main__":
    main()

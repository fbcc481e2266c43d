"""Runs in the virtual machine: jobs on a SCSI disk that misbehaves as told, by sg and by pread; what came out, as JSON.

The kernel's own way to the disk (psync, direct) is the oracle of every errno.
"""

import contextlib
import fcntl
import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

from iovigil.engines.io import sg
from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, StatsPage

BLOCK, CHARACTER = "/dev/sda", "/dev/sg0"
SIZE = 4 << 20
PARAMETERS = Path("/sys/bus/pseudo/drivers/scsi_debug")
BLKRRPART = 0x125F
READ, WRITE, SYNC = 0, 1, 3


def run(device: str, flags: int = os.O_RDWR, news: str = "", **options: Any) -> dict[str, Any]:
    """Run one job on a device; its outcome. `news` is a unit attention to raise between open and first I/O."""
    bs, claimed = options.pop("bs", 4096), options.pop("claimed", 64 << 20)
    asked = {"size": SIZE, "bs": (bs,) * 3, "invalidate": False, **options}
    fd = os.open(device, flags)
    try:
        page = StatsPage.create()
        job = Job(JobOptions(**asked).native(), page, [(fd, claimed)])
        if news:
            (PARAMETERS / news).write_text("2")
        job.run()
        return {
            "ios": [page.counter(Counter.IOS, ddir) for ddir in range(4)],
            "bytes": [page.counter(Counter.BYTES, ddir) for ddir in range(4)],
            "verified": page.counter(Counter.VERIFIED_BYTES, READ),
            "errors": [page.errors(ddir) for ddir in range(4)],
            "text": page.text,
            "notes": job.notes,
            "deepest": max((place for place, ios in enumerate(page.depth_levels()) if ios), default=-1),
        }
    except (OSError, ValueError) as error:
        return {"refused": str(error)}
    finally:
        os.close(fd)


def by_kernel(**options: Any) -> dict[str, Any]:
    return run(BLOCK, os.O_RDWR | os.O_DIRECT, ioengine="psync", direct=True, **options)


def by_sg(device: str, **options: Any) -> dict[str, Any]:
    return run(device, ioengine="sg", **options)


@contextlib.contextmanager
def sense(key: int, asc: int, ascq: int, opcode: int):
    """Have every command of this kind fail with this answer."""
    rules = next(Path("/sys/kernel/debug/scsi_debug").glob("*:*")) / "error"
    rules.write_text(f"2 -100 {opcode:#x} 0 0 0x2 {key:#x} {asc:#x} {ascq:#x}")
    try:
        yield
    finally:
        rules.write_text(f"- 2 {opcode:#x}")


def errors_of(outcome: dict[str, Any], ddir: int) -> list[str]:
    return sorted(outcome["errors"][ddir])


def main() -> None:
    end_s = time.monotonic() + 10
    while not (Path(BLOCK).exists() and Path(CHARACTER).exists()) and time.monotonic() < end_s:
        time.sleep(0.1)
    answers: dict[str, Any] = {}
    fd = os.open(CHARACTER, os.O_RDONLY)
    answers["capacity"] = sg.capacity(fd)
    os.close(fd)

    for device in (BLOCK, CHARACTER):
        there = answers[device] = {}
        there["read"] = by_sg(device, rw="randread", iodepth=8, bs=16384)
        there["fua"] = by_sg(device, rw="write", iodepth=4, readfua=True, writefua=True, bs=65536)
        there["verify"] = by_sg(device, rw="randwrite", iodepth=8, verify="crc32c", fsync=64)
        there["deep"] = by_sg(device, rw="randread", iodepth=64)
        # Written by the one, checked by the other.
        by_sg(device, rw="write", verify="crc32c", do_verify=False, iodepth=8)
        there["kernel reads"] = by_kernel(rw="read", verify="crc32c")
        by_kernel(rw="write", verify="crc32c", do_verify=False, offset=SIZE)
        there["sg reads"] = by_sg(device, rw="read", verify="crc32c", offset=SIZE, iodepth=8)
        there["unaligned"] = by_sg(device, rw="read", bs=1000, number_ios=4, continue_on_error="all")
        there["news"] = by_sg(device, rw="read", iodepth=4, news="max_luns")
        there["beyond"] = by_sg(device, rw="read", offset=60 << 20, size=8 << 20, claimed=1 << 30)
    answers["read-only character device"] = run(CHARACTER, os.O_RDONLY, ioengine="sg", rw="read", iodepth=8)

    (PARAMETERS / "opts").write_text("2")  # sectors 0x1234 to 0x123d cannot be read
    answers["medium"] = {
        "kernel": by_kernel(rw="read", continue_on_error="read")["errors"][READ],
        BLOCK: by_sg(BLOCK, rw="randread", continue_on_error="read")["errors"][READ],
        CHARACTER: by_sg(CHARACTER, rw="randread", iodepth=16, continue_on_error="read")["errors"][READ],
        "fatal": by_sg(CHARACTER, rw="read", iodepth=16)["text"],
    }
    (PARAMETERS / "opts").write_text("0")

    answers["senses"] = {}
    for key, asc, ascq in (
        (0x1, 0x17, 0x0), (0x2, 0x4, 0x3), (0x3, 0x11, 0x0), (0x3, 0xC, 0x0), (0x4, 0x44, 0x0), (0x5, 0x21, 0x0),
        (0x7, 0x27, 0x0), (0x7, 0x27, 0x7), (0x8, 0x0, 0x0), (0xB, 0x47, 0x3), (0xB, 0x10, 0x1), (0xE, 0x1D, 0x0),
    ):  # fmt: skip
        found = []
        for rw, ddir, opcode in (("read", READ, 0x28), ("write", WRITE, 0x2A)):
            with sense(key, asc, ascq, opcode):
                found.append([
                    errors_of(by_kernel(rw=rw, number_ios=1), ddir),
                    errors_of(by_sg(BLOCK, rw=rw, number_ios=1), ddir),
                    errors_of(by_sg(CHARACTER, rw=rw, number_ios=1), ddir),
                ])  # fmt: skip
        answers["senses"][f"{key:x}/{asc:02x}/{ascq:02x}"] = found

    fd = os.open(BLOCK, os.O_RDWR)
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\0\3\0", 2048, 4096)
    os.pwrite(fd, bytes(446) + entry + bytes(48) + b"\x55\xaa", 0)
    os.fsync(fd)
    fcntl.ioctl(fd, BLKRRPART)
    os.close(fd)
    answers["partition"] = run("/dev/sda1", ioengine="sg", rw="read", size=1 << 20)
    json.dump(answers, sys.stdout)


main()

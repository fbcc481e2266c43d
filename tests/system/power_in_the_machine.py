"""Runs in the virtual machine: scrubs of a device and of a file, every write of theirs recorded by dm-log-writes.

One recorded device holds both the region and the filesystem with the state, so that the log has the order of all.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device_mapper import command, make_device, make_filesystem, mounted, part_of, remove_device, sectors
from scrub_alone import scrub_to_the_end
from scrub_region import BLOCK, ITS_FILE, MIB, OPTIONS, REGION, STATE_FILE, WINDOW, N, layout


@contextlib.contextmanager
def recorded(disk: Path, log: Path) -> Iterator[Path]:
    """The disk, with all that is written to it noted on another."""
    device = make_device("recorded", f"0 {sectors(disk)} log-writes {disk} {log}")
    try:
        yield device
    finally:
        remove_device("recorded")


def mark(text: str) -> None:
    command("dmsetup", "message", "recorded", "0", "mark", text)


def record(disk: Path, log: Path, *, is_file: bool) -> list[dict[str, Any]]:
    """Two runs: of the cycle that writes everything, and of some that read all and write a share."""
    runs = []
    region_part, state_part = layout(is_file=is_file)
    with recorded(disk, log) as whole, part_of(whole, state_part) as state_device:
        make_filesystem(state_device)
        with mounted(state_device) as states, contextlib.ExitStack() as stack:
            region = stack.enter_context(part_of(whole, region_part))
            if is_file:
                make_filesystem(region)
                region = stack.enter_context(mounted(region)) / ITS_FILE
                with region.open("wb") as file:
                    for _ in range(REGION // MIB):
                        file.write(os.urandom(MIB))
                    os.fsync(file.fileno())
            mark("ready")
            for cycles in (1, 4):
                done = scrub_to_the_end(
                    region, states / STATE_FILE, cycles=cycles, n=N, window=WINDOW * BLOCK, **OPTIONS
                )
                runs.append({"status": done.status, "shown": done.show(), "written": done.page.counter(1, 1)})
                mark(f"cycles-{cycles}")
    return runs


def main() -> None:
    answers = {
        "device": record(Path("/dev/vda"), Path("/dev/vdb"), is_file=False),
        "file": record(Path("/dev/vdc"), Path("/dev/vdd"), is_file=True),
    }
    json.dump(answers, sys.stdout)


main()

"""Runs in the virtual machine: scrubs under which the power goes, as far as the disk is concerned.

From some moment on dm-flakey drops what is written to region and state alike; what is then read anew is what a cut at
that moment would have left. What came of the runs after each is printed as JSON.
"""

import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device_mapper import make_device, make_filesystem, mounted, part_of, remove_device, sectors, switched
from scrub_alone import Scrubbed, scrub_to_the_end, scrubbing
from scrub_region import (
    BLOCK,
    BLOCKS,
    ITS_FILE,
    MIB,
    OPTIONS,
    REGION,
    STATE_FILE,
    WINDOW,
    N,
    Part,
    layout,
    spoil,
    state_in,
)

ENDLESS = 1_000_000
ROUNDS = 4
FIRST_IO_S = 30.0
DISK = Path("/dev/vda")
MORE: dict[str, Any] = {"n": N, "window": WINDOW * BLOCK}


@contextlib.contextmanager
def powered_on(disk: Path, parts: tuple[Part, Part], *, is_file: bool) -> Iterator[tuple[Path, Path]]:
    """Region and state."""
    with contextlib.ExitStack() as stack:
        region, states = (stack.enter_context(part_of(disk, part)) for part in parts)
        point = stack.enter_context(mounted(states))
        if is_file:
            region = stack.enter_context(mounted(region)) / ITS_FILE
        yield region, point / STATE_FILE


def outcome(done: Scrubbed) -> dict[str, Any]:
    return {
        "found": {str(record.offset // BLOCK): record.kind.name for record in done.page.mismatches()},
        "said": done.show(),
        "cycles": done.page.scrub.cycles_completed if done.page.scrub else 0,
    }


def rounds(dice: random.Random, *, is_file: bool) -> list[dict[str, Any]]:
    parts = layout(is_file=is_file)
    length = sectors(DISK)
    works, drops = f"0 {length} linear {DISK} 0", f"0 {length} flakey {DISK} 0 0 1000000 1 drop_writes"
    disk = make_device("power", works)
    with contextlib.ExitStack() as stack:
        region, states = (stack.enter_context(part_of(disk, part)) for part in parts)
        make_filesystem(states)
        if is_file:
            make_filesystem(region)
            with mounted(region) as point:
                (point / ITS_FILE).write_bytes(os.urandom(MIB) * (REGION // MIB))
    older: list[list[bytes]] = [[] for _ in range(BLOCKS)]
    answers = []
    for _ in range(ROUNDS):
        answer: dict[str, Any] = {}
        with (
            powered_on(disk, parts, is_file=is_file) as (region, state),
            scrubbing(region, state, cycles=ENDLESS, **MORE, **OPTIONS) as scrub,
        ):
            until = time.monotonic() + FIRST_IO_S
            while not scrub.page.first_io_ns and time.monotonic() < until and scrub.process.poll() is None:
                time.sleep(0.01)
            time.sleep(dice.random() * 1.5)
            with switched("power", drops):
                at_the_cut = scrub.page.scrub
            time.sleep(dice.random() * 0.3)
            scrub.kill()
            scrub.end()
            if at_the_cut:
                answer["told"] = at_the_cut.cycle * BLOCKS + at_the_cut.cursor_bytes // BLOCK
        with switched("power", works):
            pass
        with powered_on(disk, parts, is_file=is_file) as (region, state):
            record = state_in(state)
            if record:
                answer["cursor"] = record["cycle"] * BLOCKS + record["cursor"]
                answer["cycles"] = record["cycles_completed"]
                answer["spoilt"] = {str(block): kind.name for block, kind in spoil(region, record, older, dice).items()}
            answer["after"] = outcome(scrub_to_the_end(region, state, cycles=2, **MORE, **OPTIONS))
        answers.append(answer)
    remove_device("power")
    return answers


def main() -> None:
    json.dump({kind: rounds(random.Random(kind), is_file=kind == "file") for kind in ("device", "file")}, sys.stdout)


main()

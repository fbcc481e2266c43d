"""Runs many jobs of fio's in one process, a file each, and keeps what it found wrong with which file."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Options = Mapping[str, object]

DEADLINE_S: Final = 120
# What is wrong stands in front of it; lines of several jobs may run into one another there.
PLACE: Final = re.compile(r"at file (\S+) offset \d+, length \d+ \(requested block: offset=(\d+)")


@dataclass(frozen=True)
class Found:
    """What fio says of a file."""

    error: int
    offsets: frozenset[int]
    """Of the blocks that it found wrong."""


def run_fio(
    directory: Path, common: Mapping[str, object], jobs: Mapping[str, Mapping[str, object]]
) -> dict[str, Found]:
    """Run the jobs side by side, each on the file of its name. Raises AssertionError where fio drops one of them."""
    sections = {"global": common, **{name: {"filename": name, **options} for name, options in jobs.items()}}
    lines = [
        line
        for name, options in sections.items()
        for line in (f"[{name}]", *(f"{key}={value}" for key, value in options.items()))
    ]
    (directory / "jobs.fio").write_text("\n".join(lines))
    (directory / "result.json").unlink(missing_ok=True)
    done = subprocess.run(
        ["fio", "--output-format=json", "--output=result.json", "jobs.fio"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=directory,
    )
    text = (directory / "result.json").read_text()
    errors = {job["jobname"]: job["error"] for job in json.loads(text[text.index("{\n") :])["jobs"]}
    assert errors.keys() == jobs.keys(), f"{jobs.keys() - errors.keys()} did not run: {done.stderr[-2000:]}"
    offsets: dict[str, set[int]] = {name: set() for name in jobs}
    for name, offset in PLACE.findall(done.stderr):
        offsets[name].add(int(offset))
    return {name: Found(errors[name], frozenset(offsets[name])) for name in jobs}

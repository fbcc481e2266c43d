"""A job works inside of what was admitted, or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iovigil.engines.options import JobOptions
from iovigil.engines.prepared_job import PreparedJob
from iovigil.engines.setup_error import SetupError
from iovigil.engines.stats import StatsPage
from iovigil.engines.target import TargetFiles

MIB = 1 << 20


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(bytes(16 * MIB))
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("start", "length", "first", "end"),
    [(0, 8, 1, 8), (7, 1, 8, 16), (8, 9, 8, 16), (16, 1, 8, 16), (8, 2**62, 8, 16), (8, -1, 0, 16)],
)
def test_a_region_that_reaches_outside_is_refused(start: int, length: int, first: int, end: int) -> None:
    with pytest.raises(SetupError, match=f"and {first} to {end} is its own"):
        TargetFiles([(-1, end, start, length)], [(first, end)])


def test_a_region_may_fill_what_was_admitted() -> None:
    assert len(TargetFiles([(-1, 16, 8, 8), (-1, 0, 0, 2**62)], [(8, 16), (0, 0)])) == 2


def regions(fd: int, options: dict[str, Any]) -> list[tuple[int, int, int, int]]:
    """Of a job that may touch the 8 MiB that begin at 2 MiB."""
    files = [(fd, 8 * MIB, 2 * MIB)]
    return PreparedJob(JobOptions(rw="write", **options).native(), StatsPage.private(), files).regions(files)


@pytest.mark.parametrize(
    ("options", "start", "length"),
    [
        ({}, 2 * MIB, 8 * MIB),
        ({"offset": MIB}, 3 * MIB, 7 * MIB),
        ({"offset": MIB, "size": MIB}, 3 * MIB, MIB),
        ({"offset": -50, "size": -25}, 6 * MIB, 2 * MIB),
    ],
)
def test_offset_0_of_a_job_is_the_first_byte_that_was_admitted(
    fd: int, options: dict[str, Any], start: int, length: int
) -> None:
    assert regions(fd, options) == [(fd, 10 * MIB, start, length)]


@pytest.mark.parametrize("options", [{"offset": 8 * MIB}, {"size": 8 * MIB + 4096}, {"fill_device": True}])
def test_a_job_that_would_leave_what_was_admitted_does_not_start(fd: int, options: dict[str, Any]) -> None:
    with pytest.raises(SetupError):
        regions(fd, options)

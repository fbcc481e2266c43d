"""Dumps of bad blocks: bounded, and nothing of anybody else's is removed."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from ledgers import READ, WRITE_AND_VERIFY, probe

from iovigil.agent import dumps
from iovigil.agent.config import DiskSettings
from iovigil.agent.config.kinds import LABEL
from iovigil.agent.run import Run, Tools
from iovigil.agent.worker import Worker
from iovigil.engines.clock import Clock
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import StatsPage


def dump(where: Path, number: int, size: int = 10) -> Path:
    path = dumps.received(where, "data0", number * 4096, dumps.run_label("integrity", 1000.0))
    path.write_bytes(bytes(size))
    os.utime(path, (number, number))
    return path


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return dumps.directory(tmp_path)


def test_the_directory_is_made_for_the_agent_alone(where: Path) -> None:
    assert dumps.bound(where) == 0
    assert where.stat().st_mode & 0o777 == 0o700


def test_the_oldest_go_where_there_are_too_many(where: Path) -> None:
    where.mkdir()
    files = [dump(where, number) for number in range(10)]
    assert dumps.bound(where, most_files=4) == 6
    assert sorted(where.iterdir()) == sorted(files[6:])


def test_the_oldest_go_where_they_take_too_much_room(where: Path) -> None:
    where.mkdir()
    files = [dump(where, number, 1000) for number in range(10)]
    assert dumps.bound(where, most_bytes=3500) == 7
    assert sorted(where.iterdir()) == sorted(files[7:])


def test_what_is_not_a_dump_stays(where: Path, tmp_path: Path) -> None:
    where.mkdir()
    target = tmp_path / "precious"
    target.write_bytes(b"x")
    (where / "notes.txt").write_bytes(b"x")
    (where / "data0.4096.integrity-1.received").symlink_to(target)
    (where / "data0.8192.integrity-1.received").mkdir()
    assert dumps.bound(where, most_files=0, most_bytes=0) == 0
    assert len(list(where.iterdir())) == 3
    assert target.exists()


def test_names_are_made_of_what_a_configuration_allows() -> None:
    disk = probe = "a_B.9:-"
    assert LABEL.fullmatch(disk)
    path = dumps.received(Path("/d"), disk, 1 << 50, dumps.run_label(probe, 1763.5))
    assert path.name == f"{disk}.{1 << 50}.{probe}-1763500.received"
    assert dumps.NAME.fullmatch(path.name)


def order_of_a_run(options: JobOptions, where: str) -> dict[str, Any]:
    """What the child of such a run would have been told."""
    told: dict[str, Any] = {}

    def spawn(order: dict[str, object], page: StatsPage, launcher: Path) -> Worker:  # noqa: ARG001
        told.update(order)
        raise OSError(11, "no child today")

    disk = DiskSettings(name="data0", file="/srv/data0/probe", size=1 << 20)
    tools = Tools(clock=Clock(), spawn=spawn, dump_directory=where)

    async def run() -> None:
        await Run(disk, probe(options=options, name="integrity"), tools).execute(fallback=False)

    asyncio.run(run())
    return told


def test_a_run_that_verifies_may_leave_dumps_and_no_other() -> None:
    told = order_of_a_run(WRITE_AND_VERIFY, "/state/dumps")["dumps"]
    assert (told["directory"], told["prefix"]) == ("/state/dumps", "data0")
    name = f"{told['prefix']}.4096.{told['suffix']}.received"
    assert dumps.NAME.fullmatch(name)
    assert str(dumps.received(Path("/state/dumps"), "data0", 4096, told["suffix"])) == f"/state/dumps/{name}"
    assert "dumps" not in order_of_a_run(READ, "/state/dumps")
    assert "dumps" not in order_of_a_run(WRITE_AND_VERIFY, "")


def test_a_child_is_told_where_and_how_much() -> None:
    told = dumps.order("/d", "data0", "integrity-1")
    assert (told["directory"], told["prefix"], told["suffix"]) == ("/d", "data0", "integrity-1")
    assert (told["most_files"], told["most_bytes"]) == (24, 16 << 20)


def test_what_was_read_and_what_should_have_been_go_together(where: Path) -> None:
    where.mkdir()
    pairs = [(dump(where, number), dump(where, number).with_suffix(".expected")) for number in range(5)]
    for number, (_, expected) in enumerate(pairs):
        expected.write_bytes(bytes(10))
        os.utime(expected, (number, number))
    assert dumps.bound(where, most_files=5) == 6
    assert sorted(where.iterdir()) == sorted(path for pair in pairs[3:] for path in pair)

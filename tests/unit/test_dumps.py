"""Dumps of bad blocks: bounded, and nothing of anybody else's is removed."""

import os
from pathlib import Path

import pytest

from iovigil.agent import dumps
from iovigil.agent.config.kinds import LABEL


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


def test_a_child_is_told_where_and_how_much() -> None:
    told = dumps.order("/d", "data0", "integrity-1")
    assert told == {"directory": "/d", "prefix": "data0", "suffix": "integrity-1", "most_bytes": 64 << 20}

"""A file that takes the place of another as a whole."""

import os
from pathlib import Path

import pytest

from iovigil.agent import atomic_file


def test_the_new_contents_are_flushed_before_they_take_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    seen: list[bytes] = []

    def fsync(_fd: int) -> None:
        seen.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_file.replace(path, b"new")
    assert seen == [b"old", b"new"]  # the file, then its directory
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_what_cannot_be_flushed_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")

    def fail(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_file.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]

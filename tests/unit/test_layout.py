"""The file a job works on is made whole, or not at all."""

import errno
import fcntl
import os
import zlib
from pathlib import Path

import pytest

from iovigil.agent.disks import footer, layout
from iovigil.agent.disks.refusal import Refused

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "probe"


def create(path: Path, size: int = 2 * MIB + 5, has_data: bool = True, footer_block: bytes = b"") -> None:
    layout.create(str(path), size, has_data=has_data, footer_block=footer_block)


def partial_of(path: Path) -> Path:
    return path.with_name(path.name + layout.PARTIAL)


def test_a_file_has_its_size_and_its_footer_on_the_next_block(path: Path) -> None:
    size = 2 * MIB + 5
    create(path, size, footer_block=footer.pack("data0", size))
    data = path.read_bytes()
    assert len(data) == footer.offset(size) + footer.BLOCK
    assert footer.parse(data[-footer.BLOCK :]) == ("data0", size)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["probe"]


def test_data_cannot_be_compressed(path: Path) -> None:
    create(path, 2 * MIB)
    data = path.read_bytes()
    assert len(zlib.compress(data, 1)) > len(data) * 0.99
    assert data[:MIB] != data[MIB:]


def test_without_data_the_space_is_reserved(path: Path) -> None:
    create(path, MIB, has_data=False)
    assert path.stat().st_size == MIB
    assert path.stat().st_blocks * 512 >= MIB


def test_an_existing_file_is_never_replaced(path: Path) -> None:
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        create(path)
    assert path.read_bytes() == b"mine"
    assert not partial_of(path).exists()


def test_without_hard_links_an_existing_file_is_not_replaced_either(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    create(path)
    assert path.stat().st_size == 2 * MIB + 5
    with pytest.raises(FileExistsError):
        create(path)
    assert not partial_of(path).exists()


def test_without_fallocate_the_file_is_made_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
    create(path, MIB, has_data=False)
    assert path.stat().st_size == MIB


def test_a_full_filesystem_says_how_much_is_missing_and_keeps_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No space left on device: 2\.0 MiB needed, .* free") as caught:
        create(path)
    assert caught.value.errno == errno.ENOSPC
    assert list(path.parent.iterdir()) == []


def test_an_error_while_writing_keeps_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        create(path)
    assert list(path.parent.iterdir()) == []


def test_what_would_leave_too_little_free_is_refused(path: Path) -> None:
    space = os.statvfs(path.parent)
    with pytest.raises(Refused, match=r"no room for .*probe: .* needed, .* free, of which 64\.0 MiB must stay free"):
        create(path, space.f_bavail * space.f_frsize)
    assert list(path.parent.iterdir()) == []


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no directory"):
        create(tmp_path / "nowhere" / "probe")


def test_the_rest_of_an_interrupted_call_is_replaced(path: Path) -> None:
    partial_of(path).write_bytes(b"half")
    create(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["probe"]


def test_a_link_in_the_place_of_the_partial_file_is_refused(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    partial_of(path).symlink_to(victim)
    with pytest.raises(Refused, match="in the way"):
        create(path)
    assert victim.read_bytes() == b"theirs"


def test_a_hard_link_in_the_place_of_the_partial_file_is_refused(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    partial_of(path).hardlink_to(victim)
    with pytest.raises(Refused, match="was not made by iovigil"):
        create(path)
    assert victim.read_bytes() == b"theirs"


def test_a_file_that_another_process_is_creating_is_refused(path: Path) -> None:
    with partial_of(path).open("wb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="just being created by another process"):
            create(path)
    assert partial_of(path).exists()


def test_a_creation_killed_before_its_last_step_is_finished(path: Path) -> None:
    create(path)
    partial_of(path).hardlink_to(path)
    layout.finish_interrupted(str(path))
    assert [entry.name for entry in path.parent.iterdir()] == ["probe"]


def test_another_file_of_the_partial_name_is_left_alone(path: Path) -> None:
    create(path)
    partial_of(path).write_bytes(b"other")
    layout.finish_interrupted(str(path))
    assert partial_of(path).read_bytes() == b"other"


def test_growing_keeps_the_data(path: Path) -> None:
    path.write_bytes(b"data")
    with path.open("r+b") as file:
        layout.extend(file.fileno(), str(path), MIB)
    assert path.stat().st_size == MIB
    assert path.read_bytes()[:4] == b"data"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1536, "1.5 KiB"), (3 * MIB, "3.0 MiB"), (5 << 40, "5.0 TiB"), (5 << 50, "5120.0 TiB")],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert layout.readable(size) == text


def failing(number: int) -> object:
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call

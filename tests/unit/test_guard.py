"""The guard and files: what it admits, what it refuses, and that what it refuses stays as it was."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iovigil.agent.disks import footer, guard
from iovigil.agent.disks.guard import Target
from iovigil.agent.disks.refusal import Refused

if TYPE_CHECKING:
    from iovigil.agent.disks.guard import TargetOrder

SIZE = 1 << 20
OPTIONS: Mapping[str, Any] = {
    "offset": 0,
    "size": 0,
    "does_read": True,
    "does_write": True,
    "does_trim": False,
    "lengths": ((4096, 4096),) * 3,
}


def order(path: Path, **changes: Any) -> TargetOrder:
    """A probe file of the disk data0, for reading and writing."""
    wanted: TargetOrder = {
        "disk": "data0",
        "kind": "file",
        "path": str(path),
        "size": SIZE,
        "create_size": SIZE,
        "file_count": 1,
        "read": True,
        "write": True,
        "direct": False,
        "is_probe_file": True,
        "overwrite": False,
        "fill_device": False,
        "must_exist": False,
        "sync": "none",
        "may_create": True,
        "is_scsi_generic": False,
        "session": "",
    }
    if "size" in changes:
        wanted["create_size"] = changes["size"]
    return {**wanted, **changes}  # type: ignore[typeddict-item]


def run_order(path: Path, **changes: Any) -> TargetOrder:
    """A file that a user named for `iovigil run`."""
    return order(path, **{"is_probe_file": False, **changes})


def lengths(bs: int) -> tuple[tuple[int, int], ...]:
    """A job whose every I/O is as long as that."""
    return ((bs, bs),) * 3


def admit(wanted: TargetOrder, **options: Any) -> Target:
    """Admit and close: what is tested is the verdict."""
    target = guard.admit(wanted, {**OPTIONS, **options})
    os.close(target.fd)
    return target


def assert_refused(wanted: TargetOrder, reason: str, **options: Any) -> None:
    before = open_descriptors()
    with pytest.raises(Refused, match=reason):
        admit(wanted, **options)
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "probe"


# Probe files


def test_a_missing_probe_file_is_created_and_admitted_again(path: Path) -> None:
    first = admit(order(path))
    assert (first.size, first.kind, first.is_writable) == (SIZE, "file", True)
    content = path.read_bytes()
    assert admit(order(path)).size == SIZE
    assert path.read_bytes() == content


def test_a_probe_file_has_one_writer_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CLAIM_S", 0.05)
    writer = guard.admit(order(path), OPTIONS)
    assert_refused(order(path), "is being written by another process")
    admit(order(path, write=False))
    os.close(writer.fd)
    admit(order(path))


def test_a_writer_that_is_about_to_end_is_waited_for(path: Path) -> None:
    writer = guard.admit(order(path), OPTIONS)
    threading.Timer(0.1, os.close, (writer.fd,)).start()
    admit(order(path))


def test_a_probe_file_opened_for_reading_cannot_be_written(path: Path) -> None:
    target = guard.admit(order(path, write=False), OPTIONS)
    try:
        assert not target.is_writable
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(target.fd, b"x", 0)
    finally:
        os.close(target.fd)


def test_the_target_ends_before_the_footer(path: Path) -> None:
    target = admit(order(path, size=5000), lengths=lengths(512))
    assert target.size == 5000
    assert path.stat().st_size == 8192 + footer.BLOCK


def test_a_foreign_file_is_refused_and_left_as_it_is(path: Path) -> None:
    content = os.urandom(SIZE + footer.BLOCK)
    path.write_bytes(content)
    assert_refused(order(path), "is left alone: it has no footer of iovigil; remove it, or choose another path")
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_small_foreign_file_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert_refused(order(path), "no footer")
    assert path.read_bytes() == content


def test_a_symbolic_link_is_refused_and_its_target_left_as_it_is(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    admit(order(real))
    content = real.read_bytes()
    path.symlink_to(real)
    assert_refused(order(path), "is a symbolic link, and a probe file must be a regular file")
    assert real.read_bytes() == content


def test_a_dangling_link_is_refused_and_nothing_created(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    assert_refused(order(path), "is a symbolic link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_among_the_directories_is_legitimate(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    admit(order(tmp_path / "link" / "probe"))
    assert (tmp_path / "real" / "probe").exists()


def test_a_hard_link_is_refused(path: Path, tmp_path: Path) -> None:
    admit(order(path))
    (tmp_path / "second").hardlink_to(path)
    assert_refused(order(path), "has 2 hard links")


def test_a_creation_killed_before_its_last_step_is_taken_up(path: Path, tmp_path: Path) -> None:
    admit(order(path))
    (tmp_path / "probe.partial").hardlink_to(path)
    assert admit(order(path)).size == SIZE
    assert not (tmp_path / "probe.partial").exists()


def test_another_size_in_the_configuration_is_refused_with_what_to_do(path: Path) -> None:
    admit(order(path))
    assert_refused(order(path, size=2 * SIZE), f"made for {SIZE} bytes .* says {2 * SIZE}: remove it")


def test_the_probe_file_of_another_disk_is_refused(path: Path) -> None:
    admit(order(path))
    assert_refused(order(path, disk="data1"), "is the probe file of disk data0, not of data1")


def test_a_truncated_probe_file_is_refused(path: Path) -> None:
    admit(order(path))
    os.truncate(path, SIZE)
    assert_refused(order(path), "no footer")


def test_a_shifted_footer_is_refused(path: Path) -> None:
    path.write_bytes(b"\0" * 4096 + footer.pack("data0", SIZE))
    assert_refused(order(path), "remove it, and it is created anew")


def test_a_damaged_footer_is_refused_and_pointed_out(path: Path) -> None:
    admit(order(path))
    with path.open("r+b") as file:
        file.seek(SIZE + 100)
        file.write(b"\xff")
    content = path.read_bytes()
    assert_refused(order(path), "its footer is damaged, perhaps by the disk")
    assert path.read_bytes() == content


def test_a_probe_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admit(order(path))
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert_refused(order(path), f"belongs to uid {owner}, not to uid {owner + 1}")


def test_a_directory_a_fifo_and_a_socket_are_refused_without_blocking(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    assert_refused(order(tmp_path / "directory"), "is a directory")
    assert_refused(order(tmp_path / "fifo"), "is a FIFO")
    assert_refused(order(tmp_path / "socket"), "is a socket")


def test_a_relative_path_is_refused() -> None:
    assert_refused(order(Path("probe")), "must be absolute")


def test_a_probe_file_without_a_size_is_refused(path: Path) -> None:
    assert_refused(order(path, size=0), "needs a size")


def test_a_job_beyond_the_end_is_refused(path: Path) -> None:
    assert_refused(order(path), "reach beyond its end", offset=SIZE)
    assert_refused(order(path), "reach beyond its end", size=SIZE, offset=4096)
    assert_refused(order(path), "reach beyond its end", lengths=lengths(2 * SIZE))
    assert admit(order(path), size=SIZE - 4096, offset=4096).size == SIZE


def test_a_forecast_creates_nothing(path: Path) -> None:
    assert guard.forecast(order(path)) == "to be created: 1.0 MiB"
    assert not path.exists()
    admit(order(path))
    assert guard.forecast(order(path)) == "ready: 1.0 MiB"
    with pytest.raises(Refused, match="remove it"):
        guard.forecast(order(path, size=2 * SIZE))


# Files of `iovigil run`


def test_a_file_made_by_run_is_as_long_as_asked_and_may_be_written_again(path: Path) -> None:
    if not takes_marks(path.parent):
        pytest.skip("this filesystem has no user attributes")
    admit(run_order(path))
    assert path.stat().st_size == SIZE
    assert admit(run_order(path)).is_writable


def test_a_file_made_by_run_with_another_size_needs_overwrite(path: Path) -> None:
    if not takes_marks(path.parent):
        pytest.skip("this filesystem has no user attributes")
    admit(run_order(path))
    assert_refused(run_order(path, size=2 * SIZE), "--overwrite=1")


def test_writing_into_an_existing_file_needs_overwrite(path: Path) -> None:
    path.write_bytes(b"mine")
    assert_refused(run_order(path), "--overwrite=1 allows the job to write into it")
    assert path.read_bytes() == b"mine"
    assert admit(run_order(path, overwrite=True)).size == SIZE
    assert path.stat().st_size == SIZE


def test_a_longer_file_is_overwritten_in_place_and_not_cut(path: Path) -> None:
    path.write_bytes(b"x" * (2 * SIZE))
    assert admit(run_order(path, overwrite=True)).size == SIZE
    assert path.stat().st_size == 2 * SIZE


def test_reading_takes_any_file_as_it_is(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"x" * SIZE)
    (tmp_path / "link").symlink_to(path)
    assert admit(run_order(tmp_path / "link", write=False, size=0)).size == SIZE


def test_writing_through_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"x" * SIZE)
    (tmp_path / "link").symlink_to(path)
    assert_refused(run_order(tmp_path / "link", overwrite=True), "is a symbolic link")


def test_reading_more_than_there_is_is_refused(path: Path) -> None:
    path.write_bytes(b"x" * 4096)
    assert_refused(run_order(path, write=False), "has 4096 bytes, and the job is to read 1048576")
    assert path.stat().st_size == 4096


def test_reading_a_missing_file_lays_it_out_as_fio_does(path: Path) -> None:
    admit(run_order(path, write=False))
    assert path.stat().st_size == SIZE
    assert any(path.read_bytes())


def test_a_missing_file_without_a_size_is_refused(path: Path) -> None:
    assert_refused(run_order(path, size=0), "does not exist: to create it, the job needs --size")
    assert not path.exists()


def test_an_empty_file_without_a_size_is_refused(path: Path) -> None:
    path.touch()
    assert_refused(run_order(path, size=0, write=False), "is empty: the job needs --size")


def test_fill_device_starts_with_an_empty_file(path: Path) -> None:
    assert admit(run_order(path, size=0, fill_device=True)).size == 0
    assert path.stat().st_size == 0


def test_auto_tells_a_file_from_a_device(path: Path) -> None:
    assert admit(run_order(path, kind="auto")).kind == "file"


# Devices, as far as they need no root


def test_writing_to_a_raw_device_is_refused_before_it_is_opened() -> None:
    assert_refused(order(Path("/dev/no-such-device"), kind="device"), "raw devices are read-only, but for a region")


def test_a_missing_device_is_refused() -> None:
    wanted = order(Path("/dev/no-such-device"), kind="device", write=False)
    assert_refused(wanted, "there is no device /dev/no-such-device")


def test_a_file_in_place_of_a_device_is_refused(path: Path) -> None:
    path.touch()
    assert_refused(order(path, kind="device", write=False), "is a regular file, not a block device")
    assert_refused(order(Path("/dev/null"), kind="device", write=False), "is a character device, not a block device")


def test_only_the_guard_makes_targets() -> None:
    agent = Path(guard.__file__).parents[1]
    makers = [file.name for file in agent.rglob("*.py") if " Target(" in file.read_text()]
    assert makers == ["guard.py"]


@pytest.mark.parametrize("write", [True, False])
def test_the_misspelt_name_of_a_device_does_not_become_a_file(write: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/dev")
    for path in (Path("/dev/no-such-disk"), Path("no-such-disk"), Path("/dev/shm/../no-such-disk")):
        assert_refused(run_order(path, kind="auto", write=write), "there is no device .*, and under /dev no file")
    assert not Path("/dev/no-such-disk").exists()


def takes_marks(directory: Path) -> bool:
    try:
        os.setxattr(directory, guard.RUN_MARK, b"")
        os.removexattr(directory, guard.RUN_MARK)
    except OSError:
        return False
    return True


def test_nothing_is_made_for_a_job_that_only_verifies(tmp_path: Path) -> None:
    wanted = run_order(tmp_path / "missing", kind="auto", write=False)
    wanted["must_exist"] = True
    assert_refused(wanted, "does not exist: there is nothing to verify")
    assert not (tmp_path / "missing").exists()


def test_the_longest_io_of_the_directions_in_use_must_fit(path: Path) -> None:
    too_long = ((4096, 4096), (4096, 2 * SIZE), (4096, 4096))
    assert admit(order(path), lengths=too_long, does_write=False).size == SIZE
    assert_refused(order(path), "reach beyond its end", lengths=too_long)


def test_a_region_in_per_cent_fits_every_target(path: Path) -> None:
    assert admit(order(path), offset=-50, size=-50).size == SIZE


def test_files_that_share_a_size_need_their_share_of_it(path: Path) -> None:
    assert admit(order(path, file_count=4), size=4 * SIZE).size == SIZE
    assert_refused(order(path, file_count=2), "2 files share size", size=4 * SIZE)


def test_what_may_not_be_created_is_refused(path: Path) -> None:
    assert_refused(run_order(path, may_create=False), "allow_file_create=0")
    assert not path.exists()


@pytest.mark.parametrize(("sync", "flag"), [("none", 0), ("sync", os.O_SYNC), ("dsync", os.O_DSYNC)])
def test_a_target_is_opened_as_synchronous_as_asked(path: Path, sync: str, flag: int) -> None:
    target = guard.admit(run_order(path, sync=sync), OPTIONS)
    flags = int(Path(f"/proc/self/fdinfo/{target.fd}").read_text().split("flags:")[1].split()[0], 8)
    os.close(target.fd)
    assert flags & os.O_SYNC == flag


def test_another_job_of_the_session_may_write_into_what_it_created(path: Path) -> None:
    """Two jobs that ask for other sizes of one file, as clones with an offset_increment do."""
    admit(run_order(path, session="a", size=SIZE, create_size=2 * SIZE))
    assert path.stat().st_size == 2 * SIZE
    assert admit(run_order(path, session="a", size=2 * SIZE, create_size=3 * SIZE)).size == 2 * SIZE
    assert_refused(run_order(path, session="b", size=SIZE), "not the 1048576 of this job")
    assert_refused(run_order(path, session="", size=SIZE), "not the 1048576 of this job")


def test_only_what_this_session_created_is_removed(path: Path) -> None:
    admit(run_order(path, session="a"))
    guard.remove(run_order(path, session="b"))
    guard.remove(run_order(path, session=""))
    assert path.exists()
    guard.remove(run_order(path, session="a"))
    assert not path.exists()
    guard.remove(run_order(path, session="a"))


def test_a_file_that_was_there_is_not_removed(path: Path) -> None:
    path.write_bytes(b"precious" * 512)
    admit(run_order(path, session="a", overwrite=True, size=4096))
    guard.remove(run_order(path, session="a"))
    assert path.exists()


def test_a_link_to_a_file_of_the_session_is_not_followed(path: Path) -> None:
    admit(run_order(path, session="a"))
    link = path.with_name("link")
    link.symlink_to(path)
    guard.remove(run_order(link, session="a"))
    assert path.exists()
    assert link.is_symlink()


def test_a_character_device_is_no_scsi_generic_one() -> None:
    wanted = run_order(Path("/dev/null"), kind="auto", is_scsi_generic=True, write=False)
    assert_refused(wanted, "not a regular file")
    with pytest.raises(Refused, match="not a SCSI generic device"):
        guard.admit_scsi_generic(wanted)
    with pytest.raises(Refused, match="read-only"):
        guard.admit_scsi_generic({**wanted, "write": True})

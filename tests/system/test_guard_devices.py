"""The guard, the inventory and real block devices: loop devices made here, and filesystems on them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loop import command

from iovigil.agent.config import DiskSettings
from iovigil.agent.disks import claims, guard, inventory, layout
from iovigil.agent.disks.refusal import Refused

if TYPE_CHECKING:
    from iovigil.agent.disks.guard import TargetOrder

MIB = 1 << 20
OPTIONS: Mapping[str, Any] = {
    "offset": 0,
    "size": 0,
    "does_read": True,
    "does_write": False,
    "does_trim": False,
    "lengths": ((4096, 4096),) * 3,
}

MakeDevice = Callable[..., Path]

pytestmark = pytest.mark.requires_loop


def device_order(device: Path, **changes: Any) -> TargetOrder:
    wanted: TargetOrder = {
        "disk": "loop",
        "kind": "device",
        "path": str(device),
        "size": 0,
        "read": True,
        "write": False,
        "direct": True,
        "is_probe_file": False,
        "overwrite": False,
        "fill_device": False,
        "must_exist": False,
        "create_size": 0,
        "file_count": 1,
        "sync": "none",
        "may_create": True,
        "is_scsi_generic": False,
        "session": "",
    }
    return {**wanted, **changes}  # type: ignore[typeddict-item]


def probe_file_order(path: Path, size: int) -> TargetOrder:
    return device_order(path, kind="file", path=str(path), size=size, create_size=size, write=True, is_probe_file=True)


def digest(device: Path) -> str:
    return hashlib.sha256(device.read_bytes()).hexdigest()


def test_a_device_is_admitted_for_reading_with_its_size(loop_device: MakeDevice) -> None:
    target = guard.admit(device_order(loop_device(8 * MIB)), OPTIONS)
    try:
        assert (target.size, target.kind, target.is_writable) == (8 * MIB, "device", False)
        assert stat.S_ISBLK(os.fstat(target.fd).st_mode)
        assert not os.get_inheritable(target.fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(target.fd, b"x" * 4096, 0)
    finally:
        os.close(target.fd)


def test_a_link_to_a_device_is_followed(loop_device: MakeDevice, tmp_path: Path) -> None:
    (tmp_path / "by-name").symlink_to(loop_device(MIB))
    target = guard.admit(device_order(tmp_path / "by-name"), OPTIONS)
    os.close(target.fd)
    assert target.size == MIB


def test_auto_knows_a_device(loop_device: MakeDevice) -> None:
    target = guard.admit(device_order(loop_device(MIB), kind="auto"), OPTIONS)
    os.close(target.fd)
    assert target.kind == "device"


@pytest.mark.parametrize("overwrite", [False, True])
def test_writing_to_a_device_is_refused_and_changes_nothing(loop_device: MakeDevice, overwrite: bool) -> None:
    device = loop_device(MIB)
    before = digest(device)
    with pytest.raises(Refused, match=r"read-only, but for a region .*; use a probe file"):
        guard.admit(device_order(device, write=True, overwrite=overwrite), OPTIONS)
    assert digest(device) == before


@pytest.mark.parametrize(
    "changes",
    [{"kind": "file"}, {"kind": "file", "overwrite": True}, {"kind": "file", "is_probe_file": True, "size": MIB}],
)
def test_a_device_declared_as_a_file_is_refused_and_changes_nothing(
    loop_device: MakeDevice, changes: dict[str, Any]
) -> None:
    device = loop_device(MIB)
    before = digest(device)
    with pytest.raises(Refused, match="is a block device"):
        guard.admit(device_order(device, write=True, **changes), OPTIONS)
    assert digest(device) == before


@pytest.mark.parametrize("wrong", [{"lengths": ((512, 4096),) * 3}, {"offset": 512}, {"size": 4096 + 512}])
def test_direct_io_must_fit_the_blocks_of_the_device(loop_device: MakeDevice, wrong: dict[str, Any]) -> None:
    device = loop_device(MIB, sector_size=4096)
    named = next(iter(wrong)).replace("lengths", "bs")
    with pytest.raises(Refused, match=f"has blocks of 4096 bytes: {named}="):
        guard.admit(device_order(device), {**OPTIONS, **wrong})
    os.close(guard.admit(device_order(device, direct=False), {**OPTIONS, **wrong}).fd)


def test_a_device_without_a_medium_is_refused(loop_device: MakeDevice, tmp_path: Path) -> None:
    device = loop_device(MIB)
    os.truncate(next(tmp_path.glob("loop-*.img")), 0)
    command("losetup", "--set-capacity", device)
    with pytest.raises(Refused, match="no medium"):
        guard.admit(device_order(device), OPTIONS)


def test_a_probe_file_on_ext4_is_created_for_direct_io(ext4_mount: MakeDevice) -> None:
    path = ext4_mount(64 * MIB) / ".iovigil"
    for _ in range(2):  # created, then found
        target = guard.admit(probe_file_order(path, 8 * MIB), OPTIONS)
        flags = open_flags(target.fd)
        os.close(target.fd)
        assert flags & os.O_DIRECT
        assert target.size == 8 * MIB


def open_flags(fd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("flags:")), 8)


def test_a_filesystem_without_direct_io_is_refused() -> None:
    """/proc files know no O_DIRECT, and unlike a tmpfs they never will."""
    with pytest.raises(Refused, match="does not support direct I/O"):
        guard.admit(device_order(Path("/proc/self/maps"), kind="file", size=0), OPTIONS)


def test_a_probe_file_that_does_not_fit_is_refused_and_leaves_nothing(ext4_mount: MakeDevice) -> None:
    mount = ext4_mount(64 * MIB)
    with pytest.raises(
        Refused, match=r"no room for .*: 100\.0 MiB needed, .* MiB free, of which .* MiB must stay free"
    ):
        guard.admit(probe_file_order(mount / ".iovigil", 100 * MIB), OPTIONS)
    assert names_in(mount) == {"lost+found"}


def test_a_filesystem_filled_meanwhile_says_so_and_leaves_nothing(
    ext4_mount: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was free when it was looked at is taken when it is needed."""
    mount = ext4_mount(64 * MIB)
    monkeypatch.setattr(layout, "require_space", lambda *_: None)
    with pytest.raises(OSError, match=r"No space left on device: 100\.0 MiB needed, .* MiB free"):
        guard.admit(probe_file_order(mount / ".iovigil", 100 * MIB), OPTIONS)
    assert names_in(mount) == {"lost+found"}


def names_in(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_a_read_only_filesystem_is_an_error_in_words(ext4_mount: MakeDevice) -> None:
    mount = ext4_mount(64 * MIB)
    command("mount", "-o", "remount,ro", mount)
    with pytest.raises(OSError, match="Read-only file system"):
        guard.admit(probe_file_order(mount / ".iovigil", MIB), OPTIONS)


def test_a_free_loop_device_has_no_claims(loop_device: MakeDevice) -> None:
    assert claims.inspect(str(loop_device(MIB))) == []


def test_a_mounted_loop_device_is_claimed(ext4_mount: MakeDevice) -> None:
    mount = ext4_mount(16 * MIB)
    device = Path("/dev") / mount.name.removeprefix("mount-")
    assert claims.inspect(str(device)) == [f"mounted on {mount}"]


def test_an_exclusively_opened_device_is_claimed(loop_device: MakeDevice) -> None:
    device = loop_device(MIB)
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        assert claims.inspect(str(device)) == ["in use: the kernel refuses an exclusive open"]
    finally:
        os.close(holder)


def test_the_inventory_finds_the_device_behind_a_probe_file(ext4_mount: MakeDevice) -> None:
    mount = ext4_mount(16 * MIB)
    found = inventory.resolve(DiskSettings(name="data0", file=str(mount / "deep" / ".iovigil"), size=MIB))
    assert found.is_present
    assert found.device == mount.name.removeprefix("mount-")
    assert found.identity["transport"] == "loop"
    command("umount", mount)
    assert inventory.resolve(DiskSettings(name="data0", file=str(mount / ".iovigil"))).device != found.device


def test_a_loop_device_is_there_while_it_is_attached(loop_device: MakeDevice) -> None:
    device = loop_device(MIB)
    found = inventory.resolve(DiskSettings(name="raw", device=str(device)))
    assert (found.is_present, found.device, found.size_bytes) == (True, device.name, MIB)
    assert device.name in {disk.device for disk in inventory.all_disks()}
    command("losetup", "--detach", device)
    assert not inventory.resolve(DiskSettings(name="raw", device=str(device))).is_present

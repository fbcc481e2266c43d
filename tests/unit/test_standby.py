"""What a disk's answers say of its sleep, and what is asked of which."""

import struct
from pathlib import Path

import pytest
from machine import Machine

from iovigil.agent.disks import standby

GIB = 1 << 30
SATA = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block"


def in_descriptors(count: int) -> bytes:
    """The answer to CHECK POWER MODE as libata gives it by default."""
    return bytes((0x72, 0x01, 0x00, 0x1D, 0, 0, 0, 14, 0x09, 12, 0, 0, 0, count, *([0] * 6), 0x40, 0x50)).ljust(
        64, b"\0"
    )


def fixed(count: int) -> bytes:
    return bytes((0x70, 0, 0x01, 0x00, 0x50, 0x40, count, 10, 0, 0, 0, 0, 0x00, 0x1D)).ljust(64, b"\0")


@pytest.mark.parametrize("answer", [in_descriptors, fixed])
@pytest.mark.parametrize(
    ("count", "is_asleep"), [(0x00, True), (0x01, True), (0x80, False), (0x81, False), (0xFF, False)]
)
def test_an_ata_disk_says_its_mode_in_the_sector_count(answer: object, count: int, is_asleep: bool) -> None:
    assert callable(answer)
    assert (standby.power_mode(answer(count)) in standby.ATA_STANDBY) is is_asleep


@pytest.mark.parametrize("sense", [bytes(64), bytes((0x72, 0x05, 0x20, 0)).ljust(64, b"\0"), b""])
def test_a_bridge_that_does_not_understand_says_nothing(sense: bytes) -> None:
    """Not that the disk sleeps: it would never be probed."""
    with pytest.raises(OSError, match="does not answer"):
        standby.power_mode(sense)


@pytest.mark.parametrize(
    ("data", "key", "code"),
    [
        (bytes((0x70, 0, 0x00, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x5E, 0x02)), 0, (0x5E, 0x02)),
        (bytes((0x72, 0x02, 0x04, 0x02)), 2, (0x04, 0x02)),
    ],
)
def test_a_scsi_disk_says_it_in_its_sense_data(data: bytes, key: int, code: tuple[int, int]) -> None:
    assert standby.sense_code(data.ljust(64, b"\0")) == (key, code)


def test_the_header_of_a_command_is_the_kernels() -> None:
    assert struct.calcsize(standby.SG_HEADER) == 88


def test_a_disk_that_the_kernel_has_suspended_is_not_opened(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.disk("sda", "8:0", GIB, SATA, device__power__runtime_status="suspended", device__vendor="ATA")
    machine.partition("sda", 1, "8:1", GIB)
    (tmp_path / "dev/sda").unlink()
    assert standby.asleep("sda", machine.root) == "sda is suspended by the kernel"
    assert standby.asleep("sda1", machine.root) == "sda is suspended by the kernel"


def test_an_array_sleeps_when_one_of_its_disks_does(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for number, name in enumerate(("sda", "sdb")):
        status = ("active", "suspended")[number]
        machine.disk(name, f"8:{16 * number}", GIB, SATA.replace("0:0:0:0", f"0:0:{number}:0"))
        machine.file(f"/sys/class/block/{name}/device/power/runtime_status", f"{status}\n")
        machine.partition(name, 1, f"8:{16 * number + 1}", GIB)
    machine.disk("md0", "9:0", GIB, "virtual/block")
    machine.stack("md0", "sda1", "sdb1")
    assert standby.asleep("md0", machine.root) == "sdb is suspended by the kernel"
    assert standby.asleep("sda", machine.root) == ""


def test_a_disk_that_cannot_be_asked_is_taken_for_awake(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.disk("sda", "8:0", GIB, SATA, device__vendor="ATA")
    with pytest.raises(standby.DoesNotSay, match="/dev/sda"):  # a plain file in place of the node
        standby.of_disk("sda", machine.root)
    assert standby.asleep("sda", machine.root) == ""


def test_drives_of_other_kinds_are_asked_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.disk("nvme0n1", "259:0", GIB, "pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0")
    (tmp_path / "dev/nvme0n1").unlink()
    assert standby.of_disk("nvme0n1", machine.root) == ""

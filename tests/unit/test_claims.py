"""Signs of other users of a block device, on made-up machines."""

from pathlib import Path

import pytest
from machine import Machine

from iovigil.agent.disks import claims

GIB = 1 << 30
SATA = "pci0000:00/ata2/host0/target0:0:0/0:0:0:0/block"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.disk("sdb", "8:16", GIB, SATA)
    return machine


def test_a_disk_of_nobody_has_no_reasons(machine: Machine) -> None:
    assert claims.inspect("/dev/sdb", machine.root) == []


def test_a_mount_of_the_disk_is_a_reason(machine: Machine) -> None:
    machine.mount("/srv", "8:16", "xfs", "/dev/sdb")
    assert claims.inspect("/dev/sdb", machine.root) == ["mounted on /srv"]


def test_a_mount_of_a_partition_and_the_partitions_are_reasons(machine: Machine) -> None:
    machine.partition("sdb", 1, "8:17", GIB // 2)
    machine.partition("sdb", 2, "8:18", GIB // 2)
    machine.mount("/srv", "8:18", "xfs", "/dev/sdb2")
    assert claims.inspect("/dev/sdb", machine.root) == ["sdb2: mounted on /srv", "has partitions sdb1 sdb2"]


def test_btrfs_hides_its_number_and_is_found_by_its_source(machine: Machine) -> None:
    machine.mount("/srv", "0:51", "btrfs", "/dev/sdb")
    assert claims.inspect("/dev/sdb", machine.root) == ["mounted on /srv"]


def test_a_device_built_on_the_disk_is_a_reason(machine: Machine) -> None:
    machine.disk("dm-0", "252:0", GIB, "virtual/block")
    machine.stack("dm-0", "sdb")
    assert claims.inspect("/dev/sdb", machine.root) == ["held by dm-0"]


def test_swap_is_a_reason_also_by_another_name(machine: Machine) -> None:
    machine.link("/dev/disk/by-label/swap", "../../sdb")
    machine.file("/proc/swaps", "Filename Type Size Used Priority\n/dev/disk/by-label/swap partition 1 0 -2\n")
    assert claims.inspect("/dev/sdb", machine.root) == ["used as swap"]


def test_a_write_protected_disk_is_a_reason(machine: Machine) -> None:
    machine.file("/sys/class/block/sdb/ro", "1\n")
    assert claims.inspect("/dev/sdb", machine.root) == ["is set read-only"]


def test_what_is_no_block_device_is_a_reason(machine: Machine) -> None:
    machine.file("/dev/null", "")
    assert claims.inspect("/dev/null", machine.root) == ["/dev/null is not a block device"]

"""Who else uses a device that has a region, on made-up machines: each sign alone is enough."""

from pathlib import Path

import pytest
from machine import Machine

from iovigil.agent.disks import claims, hardware
from iovigil.agent.disks.ownership import Hardware

GIB = 1 << 30
SATA = "pci0000:00/ata2/host0/target0:0:0/0:0:0:0/block"
MOUNTINFO = "36 1 {number} / {point} rw - {filesystem} {source} rw\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.disk("sdb", "8:16", GIB, SATA, device__wwid="naa.5000c500a1b2c3d4")
    machine.link("/proc/self/ns/mnt", "mnt:[1]")
    return machine


def process(machine: Machine, pid: int, namespace: str, point: str = "/srv", number: str = "8:16") -> None:
    machine.link(f"/proc/{pid}/ns/mnt", namespace)
    line = MOUNTINFO.format(number=number, point=point, filesystem="xfs", source="/dev/x")
    machine.file(f"/proc/{pid}/mountinfo", line)


def test_a_disk_of_nobody_has_no_signs(machine: Machine) -> None:
    process(machine, 7, "mnt:[2]", number="8:99")
    assert claims.signs("sdb", machine.root) == []


def test_mounts_of_every_namespace_count_and_each_is_read_once(machine: Machine) -> None:
    process(machine, 20, "mnt:[2]")
    process(machine, 100, "mnt:[2]", point="/never-read")
    process(machine, 300, "mnt:[3]", point="/other")
    assert claims.signs("sdb", machine.root) == [
        "mounted on /srv in the mount namespace of process 20",
        "mounted on /other in the mount namespace of process 300",
    ]


def test_a_process_that_ends_does_not_hide_the_others_of_its_namespace(machine: Machine) -> None:
    machine.link("/proc/20/ns/mnt", "mnt:[2]")  # its mountinfo is gone already
    process(machine, 21, "mnt:[2]")
    assert claims.signs("sdb", machine.root) == ["mounted on /srv in the mount namespace of process 21"]


def test_mounts_that_cannot_be_read_are_no_permission(machine: Machine) -> None:
    (machine.directory / "proc/self/mountinfo").unlink()
    assert "the mounts cannot be read" in claims.signs("sdb", machine.root)[0]


def test_what_is_built_on_what_is_built_on_it_is_told(machine: Machine) -> None:
    machine.disk("md0", "9:0", GIB, "virtual/block")
    machine.disk("dm-0", "252:0", GIB, "virtual/block")
    machine.stack("md0", "sdb")
    machine.stack("dm-0", "md0")
    machine.mount("/srv", "252:0", "xfs", "/dev/dm-0")
    assert claims.signs("sdb", machine.root) == ["held by md0 (held by dm-0 (mounted on /srv))"]


def test_a_holder_of_a_partition_is_a_sign_at_the_disk(machine: Machine) -> None:
    machine.partition("sdb", 1, "8:17", GIB // 2)
    machine.disk("dm-0", "252:0", GIB, "virtual/block")
    machine.stack("dm-0", "sdb1")
    assert claims.signs("sdb", machine.root) == ["sdb1: held by dm-0", "has partitions sdb1"]


def test_a_partition_answers_for_its_disk_but_not_for_its_neighbours(machine: Machine) -> None:
    for number, start in ((1, 2048), (2, 1 << 20)):
        machine.partition("sdb", number, f"8:{16 + number}", GIB // 4)
        machine.file(f"/sys/class/block/sdb{number}/start", f"{start}\n")
    machine.mount("/srv", "8:17", "xfs", "/dev/sdb1")
    assert claims.signs("sdb2", machine.root) == []
    machine.mount("/whole", "8:16", "xfs", "/dev/sdb")
    assert claims.signs("sdb2", machine.root) == ["sdb, the whole disk: mounted on /whole"]


def test_a_partition_that_overlaps_with_another_is_refused(machine: Machine) -> None:
    for number, start in ((1, 2048), (2, 4096)):
        machine.partition("sdb", number, f"8:{16 + number}", GIB // 4)
        machine.file(f"/sys/class/block/sdb{number}/start", f"{start}\n")
    assert claims.signs("sdb2", machine.root) == ["overlaps with partition sdb1"]


def test_a_loop_device_over_the_disk_is_a_sign(machine: Machine) -> None:
    machine.link("/dev/disk/by-id/it", "../../sdb")
    machine.disk("loop3", "7:3", GIB, "virtual/block", loop__backing_file="/dev/disk/by-id/it")
    machine.mount("/srv", "7:3", "xfs", "/dev/loop3")
    assert claims.signs("sdb", machine.root) == ["held by loop3 (mounted on /srv)"]
    assert "is a loop device over /dev/disk/by-id/it" in claims.signs("loop3", machine.root)[1]


def test_the_same_disk_by_another_path_is_a_sign(machine: Machine) -> None:
    machine.disk("sdc", "8:32", GIB, SATA.replace("0:0:0:0", "1:0:0:0"), device__wwid="naa.5000c500a1b2c3d4")
    assert claims.signs("sdb", machine.root) == ["is the same disk as sdc, by its wwn or serial number"]


def test_a_path_that_nvme_hides_is_no_other_disk(machine: Machine) -> None:
    machine.disk("nvme0n1", "259:0", GIB, "pci/nvme-subsys0", wwid="eui.01")
    machine.disk("nvme0c0n1", "259:1", GIB, "pci/nvme0", wwid="eui.01", hidden="1")
    assert claims.signs("nvme0n1", machine.root) == []


def test_a_zoned_disk_and_a_write_protected_one_are_refused(machine: Machine) -> None:
    machine.file("/sys/class/block/sdb/queue/zoned", "host-managed\n")
    machine.file("/sys/class/block/sdb/ro", "1\n")
    assert claims.signs("sdb", machine.root) == [
        "is set read-only",
        "has zones, which cannot be written at random",
    ]
    machine.file("/sys/class/block/sdb/queue/zoned", "none\n")
    machine.file("/sys/class/block/sdb/ro", "0\n")
    assert claims.signs("sdb", machine.root) == []


@pytest.mark.parametrize(
    ("fdinfo", "is_writer"),
    [("pos:\t0\nflags:\t0100002\n", True), ("flags:\t0100001\n", True), ("flags:\t0100000\n", False), ("", True)],
)
def test_a_process_that_can_write_to_it_is_a_sign(machine: Machine, fdinfo: str, is_writer: bool) -> None:
    machine.link("/proc/12/fd/5", "/dev/sdb")
    machine.file("/proc/12/fdinfo/5", fdinfo)
    machine.file("/proc/12/comm", "qemu-system-x86\n")
    machine.link("/proc/13/fd/5", "/dev/null")
    machine.link("/proc/13/fd/6", "socket:[1]")
    found = claims.writers("8:16", machine.root)
    assert found == (["open for writing by process 12 (qemu-system-x86)"] if is_writer else [])


# What tells a device from any other


def test_hardware_goes_by_wwn_and_serial_number(machine: Machine) -> None:
    machine.file("/sys/class/block/sdb/device/vpd_pg80", b"\0\x80\0\x04S123")
    assert hardware.read("sdb", machine.root) == Hardware("naa.5000c500a1b2c3d4", "S123", GIB)


def test_a_partition_is_its_place_on_its_disk(machine: Machine) -> None:
    machine.partition("sdb", 1, "8:17", GIB // 2)
    machine.file("/sys/class/block/sdb1/start", "2048\n")
    assert hardware.read("sdb1", machine.root) == Hardware("naa.5000c500a1b2c3d4", "", GIB // 2, 1 << 20)


def test_two_volumes_on_one_disk_are_not_the_same(machine: Machine) -> None:
    for number in range(2):
        machine.disk(f"dm-{number}", f"252:{number}", GIB, "virtual/block", dm__uuid=f"LVM-{number}")
        machine.stack(f"dm-{number}", "sdb")
    first, second = (hardware.read(f"dm-{number}", machine.root) for number in range(2))
    assert first == Hardware("uuid LVM-0", "", GIB)
    assert first != second


def test_a_device_that_tells_nothing_is_not_known(machine: Machine) -> None:
    machine.disk("vdb", "253:16", GIB, "pci/virtio1/block")
    assert not hardware.read("vdb", machine.root).is_known
    machine.file("/run/udev/data/b253:16", "S:x\nE:ID_SERIAL_SHORT=abc\n")
    assert hardware.read("vdb", machine.root) == Hardware("", "abc", GIB)

"""The inventory on made-up machines: what is behind a configured disk, and what it is called."""

import builtins
import os
from pathlib import Path
from types import ModuleType

import pytest
from machine import Machine

from iovigil.agent.config import DiskSettings
from iovigil.agent.disks import identity, inventory

GIB = 1 << 30
SATA = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block"
NVME = "pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One SATA disk with two partitions; the root filesystem is on the first."""
    machine = Machine(tmp_path)
    machine.disk(
        "sda",
        "8:0",
        4 * GIB,
        SATA,
        device__model="WDC WD101EFBX-68",
        device__rev="0A85",
        device__wwid="naa.5000cca0bcd12345",
        queue__rotational="1",
        queue__scheduler="none [mq-deadline] kyber",
    )
    machine.file("/sys/devices/pci0000:00/0000:00:1f.2/numa_node", "1\n")
    machine.file("/sys/class/block/sda/device/vpd_pg80", b"\x00\x80\x00\x14        VCH12345    ")
    machine.partition("sda", 1, "8:1", GIB)
    machine.partition("sda", 2, "8:2", 3 * GIB)
    return machine


def device(path: str) -> DiskSettings:
    return DiskSettings(name="data0", device=path)


def file(path: str) -> DiskSettings:
    return DiskSettings(name="data0", file=path, size=GIB)


def test_a_by_id_link_leads_to_the_disk_and_its_identity(machine: Machine) -> None:
    machine.link("/dev/disk/by-id/wwn-0x5000cca0bcd12345", "../../sda")
    found = inventory.resolve(device("/dev/disk/by-id/wwn-0x5000cca0bcd12345"), machine.root)
    assert (found.is_present, found.device, found.major_minor, found.size_bytes) == (True, "sda", "8:0", 4 * GIB)
    assert found.identity == {
        "device": "sda",
        "model": "WDC WD101EFBX-68",
        "serial": "VCH12345",
        "wwn": "0x5000cca0bcd12345",
        "firmware": "0A85",
        "transport": "sata",
        "rotational": "1",
        "size_bytes": str(4 * GIB),
        "scheduler": "mq-deadline",
        "numa_node": "1",
        "controller": "0000:00:1f.2",
        "path": "/dev/disk/by-id/wwn-0x5000cca0bcd12345",
    }


def test_a_partition_has_the_identity_of_its_disk_and_its_own_size(machine: Machine) -> None:
    found = inventory.resolve(device("/dev/sda2"), machine.root)
    assert (found.device, found.major_minor, found.size_bytes) == ("sda2", "8:2", 3 * GIB)
    assert (found.identity["device"], found.identity["serial"]) == ("sda", "VCH12345")


def test_an_nvme_namespace_has_the_identity_of_its_controller(machine: Machine) -> None:
    machine.disk("nvme0n1", "259:0", GIB, NVME, wwid="eui.0025385b01234567", queue__rotational="0")
    for attribute, text in (("model", "Samsung 990 PRO  \n"), ("serial", "S6Z1NX0T\n"), ("firmware_rev", "4B2QJXD7\n")):
        machine.file(f"/sys/class/block/nvme0n1/device/{attribute}", text)
    labels = inventory.resolve(device("/dev/nvme0n1"), machine.root).identity
    assert labels["model"] == "Samsung 990 PRO"
    assert labels["serial"] == "S6Z1NX0T"
    assert labels["wwn"] == "eui.0025385b01234567"
    assert labels["firmware"] == "4B2QJXD7"
    assert (labels["transport"], labels["rotational"]) == ("nvme", "0")


def test_udev_knows_the_whole_name_of_an_ata_disk(machine: Machine) -> None:
    links = "S:disk/by-id/ata-WDC\nS:disk/by-id/wwn-0x5000cca0\n"
    machine.file("/run/udev/data/b8:0", links + "E:ID_MODEL_ENC=WDC\\x20WD101EFBX-68B0AN0\nE:ID_REVISION=85.00A85\n")
    labels = identity.read("sda", machine.root)
    assert labels["model"] == "WDC WD101EFBX-68B0AN0"
    assert labels["firmware"] == "85.00A85"
    assert labels["path"] == "/dev/disk/by-id/wwn-0x5000cca0"


def test_a_volume_on_one_disk_has_the_hardware_of_that_disk(machine: Machine) -> None:
    machine.disk("dm-0", "252:0", GIB, "virtual/block", dm__name="vg0-data", dm__uuid="LVM-x")
    machine.stack("dm-0", "sda2")
    machine.link("/dev/mapper/vg0-data", "../dm-0")
    found = inventory.resolve(device("/dev/mapper/vg0-data"), machine.root)
    assert found.device == "dm-0"
    assert (found.identity["device"], found.identity["model"]) == ("dm-0", "WDC WD101EFBX-68")


def test_an_array_of_several_disks_has_its_own_name_for_a_model(machine: Machine) -> None:
    machine.disk("sdb", "8:16", GIB, SATA.replace("ata1", "ata2"), device__model="OTHER")
    machine.disk("md0", "9:0", GIB, "virtual/block")
    machine.stack("md0", "sda2", "sdb")
    labels = inventory.resolve(device("/dev/md0"), machine.root).identity
    assert (labels["model"], labels["transport"], labels["serial"]) == ("md0", "md", "")


def test_a_missing_device_is_absent_and_says_so(machine: Machine) -> None:
    found = inventory.resolve(device("/dev/disk/by-id/ata-GONE"), machine.root)
    assert not found.is_present
    assert found.reason == "/dev/disk/by-id/ata-GONE is no block device of this machine"
    assert set(found.identity.values()) == {""}


def test_a_link_to_a_device_that_is_gone_is_absent(machine: Machine) -> None:
    machine.link("/dev/disk/by-id/ata-GONE", "../../sdz")
    assert not inventory.resolve(device("/dev/disk/by-id/ata-GONE"), machine.root).is_present


def test_links_that_go_round_in_circles_end(machine: Machine) -> None:
    machine.link("/dev/one", "two")
    machine.link("/dev/two", "one")
    assert not inventory.resolve(device("/dev/one"), machine.root).is_present


def test_a_link_out_of_dev_is_not_followed(machine: Machine) -> None:
    machine.link("/dev/mine", "/srv/data0/disk")
    assert not inventory.resolve(device("/dev/mine"), machine.root).is_present


def test_a_drive_without_a_medium_is_absent(machine: Machine) -> None:
    machine.disk("sdc", "8:32", 0, SATA.replace("ata1", "ata3"))
    found = inventory.resolve(device("/dev/sdc"), machine.root)
    assert not found.is_present
    assert "no medium" in found.reason


def test_a_file_belongs_to_the_deepest_mount_above_it(machine: Machine) -> None:
    machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    found = inventory.resolve(file("/srv/data0/.iovigil"), machine.root)
    assert (found.device, found.major_minor, found.size_bytes) == ("sda2", "8:2", GIB)
    assert found.identity["serial"] == "VCH12345"


def test_a_mount_with_a_longer_name_beside_it_is_another_one(machine: Machine) -> None:
    machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    assert inventory.resolve(file("/srv/data01/.iovigil"), machine.root).device == "sda1"


def test_blanks_in_a_mount_point_are_read_back(machine: Machine) -> None:
    machine.mount(r"/srv/my\040disk\134x", "8:2", "xfs", "/dev/sda2")
    assert inventory.resolve(file("/srv/my disk\\x/.iovigil"), machine.root).device == "sda2"


def test_the_last_of_several_mounts_on_one_point_is_on_top(machine: Machine) -> None:
    lower = machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    machine.mount("/srv/data0", "0:99", "tmpfs", "tmpfs", below=lower)
    found = inventory.resolve(file("/srv/data0/.iovigil"), machine.root)
    assert (found.is_present, found.device, found.major_minor) == (True, "", "0:99")


def test_a_mount_above_hides_what_was_mounted_below(machine: Machine) -> None:
    machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    machine.mount("/srv", "0:99", "tmpfs", "tmpfs")
    assert inventory.resolve(file("/srv/data0/.iovigil"), machine.root).major_minor == "0:99"


@pytest.mark.parametrize("filesystem", ["btrfs", "overlay", "tmpfs", "nfs4"])
def test_a_filesystem_of_no_single_device_is_present_without_a_device(machine: Machine, filesystem: str) -> None:
    machine.mount("/srv/data0", "0:50", filesystem, "whatever")
    found = inventory.resolve(file("/srv/data0/.iovigil"), machine.root)
    assert found.is_present
    assert found.identity == identity.unknown() | {"path": "/srv/data0/.iovigil"}


def test_a_file_on_a_device_that_was_removed_while_it_was_mounted_is_absent(machine: Machine) -> None:
    machine.mount("/srv/data0", "8:240", "ext4", "/dev/sdp")
    found = inventory.resolve(file("/srv/data0/.iovigil"), machine.root)
    assert not found.is_present
    assert found.reason == "the device of /srv/data0 (8:240) was removed while it was mounted"


def test_a_file_below_a_mount_of_fstab_that_is_not_there_is_absent(machine: Machine) -> None:
    machine.file(r"/run/systemd/generator/srv-data\x2d0.mount", "")
    found = inventory.resolve(file("/srv/data-0/probes/.iovigil"), machine.root)
    assert not found.is_present
    assert found.reason == "/srv/data-0 is in /etc/fstab and not mounted"


def test_a_file_below_a_mount_of_fstab_that_is_there_is_present(machine: Machine) -> None:
    machine.file("/run/systemd/generator/srv-data0.mount", "")
    machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    assert inventory.resolve(file("/srv/data0/.iovigil"), machine.root).is_present


def test_a_directory_bound_onto_itself_is_not_the_mount_of_fstab(machine: Machine) -> None:
    """What ReadWritePaths= makes of the empty directory of a disk that is not mounted."""
    machine.file("/run/systemd/generator/srv-data0.mount", "")
    machine.mount("/srv/data0", "8:1", "ext4", "/dev/sda1", subtree="/srv/data0")
    found = inventory.resolve(file("/srv/data0/.iovigil"), machine.root)
    assert (found.is_present, found.reason) == (False, "/srv/data0 is in /etc/fstab and not mounted")


def test_a_directory_bound_onto_itself_below_the_mount_of_fstab_is_that_mount(machine: Machine) -> None:
    machine.file("/run/systemd/generator/srv-data0.mount", "")
    mount = machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    machine.mount("/srv/data0/iovigil", "8:2", "xfs", "/dev/sda2", below=mount, subtree="/iovigil")
    assert inventory.resolve(file("/srv/data0/iovigil/probe"), machine.root).is_present


def test_nothing_outside_proc_sys_dev_and_run_is_looked_at(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a disk may be on a filesystem that hangs: its path is compared as text."""
    looked_at: list[str] = []
    record(monkeypatch, builtins, "open", looked_at)
    for name in ("open", "stat", "lstat", "readlink", "listdir", "scandir"):
        record(monkeypatch, os, name, looked_at)
    machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    looked_at.clear()
    inventory.resolve(file("/srv/data0/.iovigil"), machine.root)
    assert looked_at
    allowed = tuple(f"{machine.root}/{top}" for top in ("proc", "sys", "dev", "run"))
    forbidden = ("/srv", f"{machine.root}/")
    assert [path for path in looked_at if path.startswith(forbidden) and not path.startswith(allowed)] == []


def record(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, paths: list[str]) -> None:
    original = getattr(module, name)

    def recorded(path: object = ".", *args: object, **kwargs: object) -> object:
        paths.append(str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(module, name, recorded)


def test_all_disks_are_listed_before_their_partitions_and_in_natural_order(machine: Machine) -> None:
    machine.disk("sdaa", "65:160", GIB, SATA.replace("ata1", "ata9"))
    machine.disk("sdb", "8:16", GIB, SATA.replace("ata1", "ata2"))
    machine.partition("sda", 10, "8:10", GIB)
    listed = [disk.device for disk in inventory.all_disks(machine.root)]
    assert listed == ["sda", "sda1", "sda2", "sda10", "sdb", "sdaa"]


def test_devices_that_only_could_be_are_not_listed(machine: Machine) -> None:
    machine.disk("loop0", "7:0", 0, "virtual/block")
    machine.disk("loop1", "7:1", GIB, "virtual/block")
    machine.disk("zram0", "253:0", GIB, "virtual/block")
    machine.disk("ram0", "1:0", GIB, "virtual/block")
    listed = [disk.device for disk in inventory.all_disks(machine.root)]
    assert listed == ["sda", "sda1", "sda2", "loop1", "zram0"]


def test_the_scheduler_is_the_one_in_brackets(machine: Machine) -> None:
    assert identity.scheduler("sda2", machine.root) == "mq-deadline"


@pytest.mark.parametrize(
    ("place", "transport"),
    [
        ("pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block", "sata"),
        ("pci0000:00/usb1/1-1/1-1:1.0/host4/target4:0:0/4:0:0:0/block", "usb"),
        ("pci0000:00/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/block", "sas"),
        ("pci0000:00/0000:00:02.0/virtio1/block", "virtio"),
        ("platform/host3/session1/target3:0:0/3:0:0:0/block", "iscsi"),
        ("pci0000:00/host5/rport-5:0-1/target5:0:0/5:0:0:0/block", "fc"),
        ("pci0000:00/mmc_host/mmc0/mmc0:0001/block", "mmc"),
    ],
)
def test_the_transport_is_read_from_the_place_in_the_tree(machine: Machine, place: str, transport: str) -> None:
    machine.disk("sdx", "65:0", GIB, place)
    assert identity.read("sdx", machine.root)["transport"] == transport


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def watched(machine: Machine) -> tuple[inventory.Watch, Clock]:
    clock = Clock()
    machine.file("/sys/class/block/sda/diskseq", "7\n")
    return inventory.Watch(machine.root, clock), clock


def set_scheduler(machine: Machine, name: str) -> None:
    machine.file("/sys/class/block/sda/queue/scheduler", f"[{name}]\n")


def test_hardware_is_not_asked_again_what_it_is_at_every_look(machine: Machine) -> None:
    watch, clock = watched(machine)
    first = watch.resolve(device("/dev/sda"))
    assert first == inventory.resolve(device("/dev/sda"), machine.root)
    set_scheduler(machine, "none")
    clock.now_s += inventory.IDENTITY_S - 1
    assert watch.resolve(device("/dev/sda")) == first
    clock.now_s += 1
    assert watch.resolve(device("/dev/sda")).identity["scheduler"] == "none", "settings may be changed"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/sys/class/block/sda/diskseq", "8\n"),
        ("/sys/class/block/sda/size", "1024\n"),
        ("/run/udev/data/b8:0", "E:ID_SERIAL_SHORT=OTHER\nS:disk/by-id/wwn-0x5\n"),
    ],
    ids=["another disk", "another size", "another record of udev"],
)
def test_hardware_is_asked_at_once_where_it_may_be_other_hardware(machine: Machine, path: str, content: str) -> None:
    machine.file("/run/udev/data/b8:0", "E:ID_SERIAL_SHORT=BEFORE\n")
    watch, _ = watched(machine)
    watch.resolve(device("/dev/sda"))
    if path.startswith("/run/"):
        (Path(machine.root) / path.lstrip("/")).unlink()  # as udev does, which puts another file in its place
    machine.file(path, content)
    set_scheduler(machine, "none")
    found = watch.resolve(device("/dev/sda"))
    assert found == inventory.resolve(device("/dev/sda"), machine.root)
    assert found.identity["scheduler"] == "none"


def test_hardware_is_asked_each_time_by_a_kernel_that_does_not_number_disks(machine: Machine) -> None:
    watch = inventory.Watch(machine.root, Clock())
    watch.resolve(device("/dev/sda"))
    set_scheduler(machine, "none")
    assert watch.resolve(device("/dev/sda")).identity["scheduler"] == "none"


def test_a_disk_that_goes_and_a_mount_that_goes_are_missed_at_the_next_look(machine: Machine) -> None:
    table = (Path(machine.root) / "proc/self/mountinfo").read_text()
    machine.mount("/srv/data0", "8:2", "ext4", "/dev/sda2")
    watch, clock = watched(machine)
    assert watch.resolve(file("/srv/data0/.iovigil")).identity["path"] == "/dev/sda2"
    assert watch.resolve(device("/dev/sda")).is_present
    machine.file("/proc/self/mountinfo", table)
    (Path(machine.root) / "dev/sda").unlink()
    clock.now_s += inventory.TABLE_S
    assert watch.resolve(file("/srv/data0/.iovigil")).identity["path"] == "/dev/sda1"
    assert not watch.resolve(device("/dev/sda")).is_present


def test_who_is_told_what_a_disk_is_may_change_it_for_himself(machine: Machine) -> None:
    watch, _ = watched(machine)
    watch.resolve(device("/dev/sda")).identity["model"] = "mine"
    assert watch.resolve(device("/dev/sda")).identity["model"] == "WDC WD101EFBX-68"

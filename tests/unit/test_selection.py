"""Which disks an entry of the configuration selects on made-up machines, under which names, and why not the rest."""

from pathlib import Path

import pytest
from machine import Machine

from iovigil.agent.config import Config, parse
from iovigil.agent.disks import inventory, selection
from iovigil.agent.disks.selection import Choice

GIB = 1 << 30
SATA = "pci0000:00/0000:00:1f.2/ata{0}/host{0}/target{0}:0:0/{0}:0:0:0/block"
PROBES = "probes: {latency: {every: 30s, job: {rw: randread, runtime: 5s}}}"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Two hard disks of one kind, an NVMe drive, a loop device; filesystems on some of them."""
    machine = Machine(tmp_path)
    for place, name in enumerate(("sda", "sdb")):
        hardware = {"device__model": "WDC WD101EFBX", "device__wwid": f"naa.5000cca0bcd0000{place}"}
        hardware |= {"serial": f"VCH{place}", "queue__rotational": "1"}
        machine.disk(name, f"8:{place * 16}", 4 * GIB, SATA.format(place), **hardware)
        for number in (1, 2):
            machine.partition(name, number, f"8:{place * 16 + number}", GIB)
        machine.link(f"/dev/disk/by-id/wwn-0x5000cca0bcd0000{place}", f"../../{name}")
        machine.link(f"/dev/disk/by-path/pci-0000:00:1f.2-ata-{place}", f"../../{name}")
    machine.disk(
        "nvme0n1",
        "259:0",
        GIB,
        "pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0",
        wwid="eui.0025385b01234567",
        device__model="Samsung SSD 990 PRO",
        device__serial="S6Z1",
        queue__rotational="0",
    )
    machine.disk("loop0", "7:0", GIB, "virtual/block")
    machine.disk("loop1", "7:1", 0, "virtual/block")
    data0 = machine.mount("/srv/data0", "8:2", "xfs", "/dev/sda2")
    machine.mount("/srv/data1", "8:17", "xfs", "/dev/sdb1")
    machine.mount("/srv/data0/deep", "259:0", "ext4", "/dev/nvme0n1", below=data0)
    machine.mount("/srv/scratch", "0:40", "tmpfs", "tmpfs")
    return machine


def config(*entries: str) -> Config:
    return parse("\n".join(["disks:", *(f"  - {entry}" for entry in entries), PROBES]), "agent.yml")


def choices(machine: Machine, *entries: str) -> list[Choice]:
    return selection.choose(config(*entries), root=machine.root)


def chosen(machine: Machine, *entries: str) -> dict[str, str]:
    """Name and path of each disk that is selected."""
    return {each.disk.name: each.disk.path for each in choices(machine, *entries) if each.disk is not None}


def reasons(machine: Machine, *entries: str) -> dict[str, str]:
    return {each.candidate.title: each.reason for each in choices(machine, *entries) if each.disk is None}


@pytest.mark.parametrize(
    ("match", "names"),
    [
        ("{model: WDC*}", ["VCH0", "VCH1"]),
        ("{serial: [VCH1, S6*]}", ["VCH1", "S6Z1"]),
        ("{wwn: 0x5000cca0bcd00001}", ["VCH1"]),
        ("{wwn: 5000cca0*}", ["VCH0", "VCH1"]),
        ("{by_id: wwn-*}", ["VCH0", "VCH1"]),
        ("{by_path: '*-ata-0'}", ["VCH0"]),
        ("{path: /dev/nvme*n1}", ["S6Z1"]),
        ("{path: /dev/disk/by-path/*-ata-1}", ["VCH1"]),
        ("{path: /dev/*}", ["VCH0", "VCH1", "S6Z1"]),
        ("{transport: [nvme, sas]}", ["S6Z1"]),
        ("{rotational: false}", ["S6Z1"]),
        ("{rotational: yes, serial: VCH1}", ["VCH1"]),
        ("{controller: '0000:01:00.0'}", ["S6Z1"]),
        ("{model: Seagate*}", []),
    ],
)
def test_a_disk_is_selected_by_any_of_its_names(machine: Machine, match: str, names: list[str]) -> None:
    assert sorted(chosen(machine, f"{{match: {match}}}")) == sorted(names)


def test_a_selected_disk_is_opened_by_a_link_that_stays_with_it(machine: Machine) -> None:
    assert chosen(machine, "{match: {model: WDC*}}")["VCH0"] == "/dev/disk/by-id/wwn-0x5000cca0bcd00000"
    assert chosen(machine, "{match: {transport: nvme}}")["S6Z1"] == "/dev/nvme0n1"


def test_what_is_excluded_is_left_out_and_says_so(machine: Machine) -> None:
    entry = "{match: {path: /dev/*}, exclude: {serial: VCH1, model: Samsung*}}"
    assert list(chosen(machine, entry)) == ["VCH0"]
    assert reasons(machine, entry)["sdb"] == "it is excluded: its serial is VCH1"
    assert reasons(machine, entry)["nvme0n1"] == "it is excluded: its model is Samsung SSD 990 PRO, as Samsung*"


def test_what_does_not_match_says_what_it_is(machine: Machine) -> None:
    said = reasons(machine, "{match: {model: WDC*, rotational: true}}")
    assert said["nvme0n1"] == "its model is Samsung SSD 990 PRO, not WDC*"
    assert said["loop0"] == "its model is not known, not WDC*"


def test_partitions_are_no_disks_and_a_loop_device_without_a_file_neither(machine: Machine) -> None:
    found = {each.candidate.title for each in choices(machine, "{match: {path: /dev/*}}")}
    assert found == {"sda", "sdb", "nvme0n1", "loop0"}


def test_a_loop_device_is_selected_only_by_what_it_is(machine: Machine) -> None:
    assert list(chosen(machine, "{match: {path: /dev/loop*}, name: '{kernel}'}")) == ["loop0"]
    assert list(chosen(machine, "{match: {transport: loop}, name: '{kernel}'}")) == ["loop0"]
    assert "loop0" not in chosen(machine, "{match: {controller: '*'}, name: '{kernel}'}")


def test_a_name_is_made_of_what_is_known_in_the_letters_of_a_label(machine: Machine) -> None:
    names = chosen(machine, "{match: {rotational: false}, name: 'ssd-{model}-{serial}'}")
    assert list(names) == ["ssd-Samsung_SSD_990_PRO-S6Z1"]


def test_a_disk_without_a_part_of_its_name_is_left_out(machine: Machine) -> None:
    said = reasons(machine, "{match: {path: /dev/loop0}, name: '{serial}'}")
    assert said["loop0"] == "it has not all of {serial}, which would be its name"


def test_a_long_name_is_cut_and_still_its_own(machine: Machine) -> None:
    for name, serial in (("sdx", "9" * 70 + "x"), ("sdy", "9" * 70 + "y")):
        number = "65:0" if name == "sdx" else "65:16"
        machine.disk(name, number, GIB, SATA.format(7 + ord(name[-1])), serial=serial)
    names = list(chosen(machine, "{match: {serial: '99*'}}"))
    assert len(set(names)) == 2
    assert all(len(name) == 64 for name in names)


def test_two_disks_of_one_name_are_not_mixed_up(machine: Machine) -> None:
    machine.disk("sdc", "8:32", GIB, SATA.format(2), serial="VCH0")
    entry = "{match: {serial: VCH0}}"
    assert chosen(machine, entry) == {"VCH0": "/dev/disk/by-id/wwn-0x5000cca0bcd00000"}
    assert reasons(machine, entry)["sdc"].startswith("VCH0 is the name of sda")


def test_a_newcomer_does_not_take_a_name(machine: Machine) -> None:
    machine.disk("sdc", "8:32", GIB, SATA.format(2), serial="VCH0", device__wwid="naa.5000cca0bcd00009")
    holders = {"VCH0": "0x5000cca0bcd00009"}
    found = selection.choose(config("{match: {serial: VCH0}}"), holders=holders, root=machine.root)
    assert [each.candidate.kernel for each in found if each.disk] == ["sdc"]


def test_an_entry_of_its_own_wins(machine: Machine) -> None:
    own = "{name: system, device: /dev/sda}"
    entry = "{match: {model: WDC*}}"
    assert list(chosen(machine, own, entry)) == ["VCH1"]
    assert reasons(machine, own, entry)["sda"] == "it is system by an entry of its own"


def test_of_two_entries_the_first_wins(machine: Machine) -> None:
    entries = ("{match: {serial: VCH0}, name: 'first-{serial}'}", "{match: {model: WDC*}}")
    assert list(chosen(machine, *entries)) == ["first-VCH0", "VCH1"]
    assert "it is first-VCH0 by an earlier entry" in [each.reason for each in choices(machine, *entries)]


def test_each_mounted_filesystem_gets_a_probe_file(machine: Machine) -> None:
    entry = "{match: {mount: /srv/*}, file: .iovigil, size: 1GiB}"
    assert chosen(machine, entry) == {"srv-data0": "/srv/data0/.iovigil", "srv-data1": "/srv/data1/.iovigil"}
    assert reasons(machine, entry)["/srv/scratch"] == "it is no filesystem on a disk: it is chosen only by filesystem"
    deep = "{match: {mount: '/srv/**'}, file: .iovigil, size: 1GiB}"
    assert set(chosen(machine, deep)) == {"srv-data0", "srv-data0-deep", "srv-data1"}


def test_a_filesystem_is_selected_by_the_disk_below_as_well(machine: Machine) -> None:
    entry = "{match: {mount: '/srv/**', model: Samsung*}, file: probe/.iovigil, size: 1GiB, name: 'fs-{serial}'}"
    assert chosen(machine, entry) == {"fs-S6Z1": "/srv/data0/deep/probe/.iovigil"}


def test_a_filesystem_that_is_seen_twice_is_one(machine: Machine) -> None:
    machine.mount("/srv/again", "8:2", "xfs", "/dev/sda2", subtree="/exports")
    entry = "{match: {mount: /srv/*}, exclude: {mount: /srv/data1}, file: .iovigil, size: 1GiB}"
    assert list(chosen(machine, entry)) == ["srv-data0"]
    assert reasons(machine, entry)["/srv/again"] == "it is the filesystem at /srv/data0 once more"


def test_a_filesystem_with_a_probe_file_of_its_own_is_left_to_that(machine: Machine) -> None:
    own = "{name: data0, file: /srv/data0/x/probe, size: 1GiB}"
    entry = "{match: {mount: /srv/*}, file: .iovigil, size: 1GiB}"
    assert list(chosen(machine, own, entry)) == ["srv-data1"]


def test_a_selected_filesystem_that_is_not_mounted_is_absent(machine: Machine, tmp_path: Path) -> None:
    (disk,) = (each.disk for each in choices(machine, "{match: {mount: /srv/data1}, file: f, size: 1GiB}") if each.disk)
    assert inventory.resolve(disk, machine.root).is_present
    bare = Machine(tmp_path / "later")
    found = inventory.resolve(disk, bare.root)
    assert (found.is_present, found.reason) == (False, "/srv/data1 is not mounted")


def test_another_disk_at_the_same_path_is_not_taken_for_the_one_selected(machine: Machine) -> None:
    (disk,) = (each.disk for each in choices(machine, "{match: {serial: S6Z1}}") if each.disk)
    machine.file("/sys/class/block/nvme0n1/wwid", "eui.ffff\n")
    machine.file("/sys/class/block/nvme0n1/device/serial", "OTHER\n")
    found = inventory.resolve(disk, machine.root)
    assert (found.is_present, found.reason) == (False, "/dev/nvme0n1 (nvme0n1) is another disk now")


def test_paths_of_a_multipath_device_are_not_disks_of_their_own(machine: Machine) -> None:
    machine.disk("dm-0", "252:0", 4 * GIB, "virtual/block", dm__uuid="mpath-36", dm__name="mpatha")
    machine.stack("dm-0", "sda", "sdb")
    entry = "{match: {model: '*'}, name: '{kernel}'}"
    assert set(chosen(machine, entry)) == {"dm-0", "nvme0n1"}
    assert reasons(machine, entry)["sda"] == "it is a path to dm-0"


def test_a_disk_that_udev_has_not_named_yet_waits(machine: Machine) -> None:
    machine.file("/run/udev/control", "")
    machine.file("/run/udev/data/b8:0", "S:disk/by-id/ata-WDC\nE:ID_MODEL_ENC=WDC\\x20whole\n")
    assert list(chosen(machine, "{match: {model: WDC*}}")) == ["VCH0"]
    assert reasons(machine, "{match: {model: WDC*}}")["sdb"] == "udev is not done with it"
    assert list(chosen(machine, "{match: {by_id: ata-WDC}}")) == ["VCH0"]


def test_a_container_sees_disks_that_it_may_not_have(machine: Machine) -> None:
    (machine.directory / "dev/sdb").unlink()
    entry = "{match: {model: WDC*}}"
    assert list(chosen(machine, entry)) == ["VCH0"]
    assert reasons(machine, entry)["sdb"].startswith("it has no node under /dev")


def test_without_udev_links_and_records_sysfs_tells_enough(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.disk("sda", "8:0", GIB, SATA.format(0), device__model="WDC", device__wwid="naa.5000cca0bcd00000")
    assert chosen(machine, "{match: {model: WDC*}, name: '{wwn}'}") == {"0x5000cca0bcd00000": "/dev/sda"}
    assert reasons(machine, "{match: {by_id: 'wwn-*'}}")["sda"] == "its by_id is not known, not wwn-*"

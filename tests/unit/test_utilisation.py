"""How busy disks were, on made-up machines; and beside fio on this one's."""

import json
import subprocess
from pathlib import Path

import pytest
from machine import Machine

from iovigil.agent.disks import utilisation
from iovigil.agent.disks.utilisation import Utilisation

GIB = 1 << 30
PCI = "pci0000:00/block"
VIRTUAL = "virtual/block"


def stat(*values: int) -> str:
    """As the kernel pads it; what follows the first eleven are discards and flushes."""
    return "".join(f" {value:8}" for value in (*values, *[0] * (17 - len(values)))) + "\n"


def set_stat(machine: Machine, name: str, *values: int) -> None:
    place = (machine.directory / "sys/class/block" / name).resolve()
    (place / "stat").write_text(stat(*values))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Two disks with a partition each, a mirror of the partitions, encryption on top; that one is mounted."""
    machine = Machine(tmp_path)
    for name, number in (("sda", "8:0"), ("sdb", "8:16")):
        machine.disk(name, number, 4 * GIB, PCI)
        machine.partition(name, 1, f"8:{int(number[2:]) + 1}", 4 * GIB)
    machine.disk("md0", "9:0", 4 * GIB, VIRTUAL)
    machine.disk("dm-0", "253:0", 4 * GIB, VIRTUAL)
    machine.stack("md0", "sda1", "sdb1")
    machine.stack("dm-0", "md0")
    machine.mount("/srv", "253:0", "ext4", "/dev/mapper/srv")
    for name in ("sda", "sdb", "md0", "dm-0"):
        set_stat(machine, name, *[1000] * 11)
    return machine


def test_a_file_is_followed_down_to_the_disks(machine: Machine) -> None:
    watched = Utilisation(["/srv/probe/file"], machine.root)
    assert [row["name"] for row in watched.rows()] == ["dm-0", "md0", "sda", "sdb"]


def test_counters_are_what_was_added_under_fios_names(machine: Machine) -> None:
    watched = Utilisation(["/dev/sda"], machine.root)
    set_stat(machine, "sda", 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 7, 1000, 1011)
    (row,) = watched.rows()
    assert row == {
        "name": "sda",
        "read_ios": 1, "read_merges": 2, "read_sectors": 3, "read_ticks": 4,
        "write_ios": 5, "write_merges": 6, "write_sectors": 7, "write_ticks": 8,
        "in_queue": 11, "util": 0.0,
    }  # fmt: skip


def test_a_stacked_device_shows_the_mean_of_its_disks_and_the_busiest(machine: Machine) -> None:
    watched = Utilisation(["/dev/md0"], machine.root)
    set_stat(machine, "sda", 1010, 1000, 1000, 1000, 1000, 1004, 1000, 1000, 0, 1000 + 10**9, 1000)
    set_stat(machine, "sdb", 1020, 1000, 1000, 1000, 1000, 1008, 1000, 1000, 0, 1000, 1000)
    mirror, first, second = watched.rows()
    assert (mirror["aggr_read_ios"], mirror["aggr_write_merge"], mirror["aggr_util"]) == (15, 6, 100.0)
    # No disk is busy for more than all of the time, however late its counter was read.
    assert (first["util"], second["util"]) == (100.0, 0.0)
    assert not [name for name in first if name.startswith("aggr")]
    assert list(utilisation.lines([mirror, first])) == [
        "    md0: ios=0/0, merge=0/0, ticks=0/0, in_queue=0, util=0.00%, "
        "aggrios=15/0, aggrmerge=0/6, aggrticks=0/0, aggrin_queue=0, aggrutil=100.00%",
        "  sda: ios=10/0, merge=0/4, ticks=0/0, in_queue=0, util=100.00%",
    ]


def test_a_disk_is_listed_once_however_many_targets_are_on_it(machine: Machine) -> None:
    paths = ["/dev/sda", "/dev/sda1", "/srv/a", "/srv/b", "/dev/md0"]
    names = [row["name"] for row in Utilisation(paths, machine.root).rows()]
    assert sorted(map(str, names)) == ["dm-0", "md0", "sda", "sdb"]


def test_what_has_no_disk_has_no_row(machine: Machine) -> None:
    machine.mount("/tmp", "0:30", "tmpfs", "tmpfs")
    machine.mount("/dev", "0:6", "devtmpfs", "devtmpfs")
    assert Utilisation(["/tmp/file", "/dev/null", "/dev/shm/file2"], machine.root).rows() == []


def test_btrfs_is_on_its_first_device(machine: Machine) -> None:
    machine.mount("/pool", "0:31", "btrfs", "/dev/sdb1")
    assert [row["name"] for row in Utilisation(["/pool/file"], machine.root).rows()] == ["sdb"]


def test_a_disk_that_was_pulled_has_no_row(machine: Machine) -> None:
    watched = Utilisation(["/dev/md0"], machine.root)
    ((machine.directory / "sys/class/block/sdb").resolve() / "stat").unlink()
    assert [row["name"] for row in watched.rows()] == ["md0", "sda"]


@pytest.mark.requires_fio
def test_fio_says_the_same_of_this_machines_disk(tmp_path: Path) -> None:
    words = ["--name=job", "--rw=randread", "--bs=4k", "--size=16m", "--direct=1", "--output-format=json"]
    file = tmp_path / "file"
    watched = Utilisation([str(file)])
    done = subprocess.run(
        ["fio", *words, f"--filename={file}"], capture_output=True, text=True, timeout=60, check=False
    )
    ours = {row["name"]: row for row in watched.rows()}
    theirs = {row["name"]: row for row in json.loads(done.stdout)["disk_util"]} if done.returncode == 0 else {}
    if not theirs:
        pytest.skip("fio cannot do direct I/O here, or sees no disk")
    assert ours.keys() == theirs.keys()
    for name, row in theirs.items():
        assert row.keys() <= ours[name].keys()
        # Others use the disk as well, and what fio's last look saw may be a quarter of a second old.
        assert int(ours[name]["read_ios"]) >= max(row["read_ios"], 4096)

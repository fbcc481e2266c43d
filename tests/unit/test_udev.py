"""What is read of udev's records, with pyudev and without."""

from pathlib import Path

import pytest
from machine import Machine

from iovigil.agent.disks import identity, udev


def test_without_udev_nothing_is_known(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.disk("sda", "8:0", 1 << 30, "pci0000:00/0000:00:1f.2/block")
    assert udev.record("sda", machine.root) == udev.NOTHING
    assert not udev.is_running(machine.root)


def test_a_machine_without_a_tree_of_nodes_has_no_numa_node(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file("/sys/devices/pci0000:00/0000:00:1f.2/numa_node", "-1\n")
    machine.disk("sda", "8:0", 1 << 30, "pci0000:00/0000:00:1f.2/ata1/host0/block")
    assert identity.numa_node("sda", machine.root) == ""


@pytest.mark.parametrize(
    ("place", "controller"),
    [
        ("pci0000:00/0000:00:1c.0/0000:03:00.0/host0/port-0:0/end_device-0:0/block", "0000:03:00.0"),
        ("pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0", "0000:01:00.0"),
        ("pseudo_0/adapter0/host2/target2:0:0/2:0:0:0/block", "host2"),
        ("virtual/block", ""),
    ],
)
def test_a_controller_is_the_last_function_on_the_way_to_the_disk(tmp_path: Path, place: str, controller: str) -> None:
    machine = Machine(tmp_path)
    machine.disk("sda", "8:0", 1 << 30, place)
    assert identity.controller("sda", machine.root) == controller


def test_pyudev_is_asked_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyudev", exc_type=ImportError)
    disk = next((place.name for place in Path("/sys/class/block").iterdir()), None)
    if disk is None:
        pytest.skip("this machine has no block device")
    monkeypatch.setattr(udev, "DATA", str(tmp_path))
    found = udev.record(disk)
    # Where udevd does not run no device is initialized: nothing is believed of it.
    assert found == udev.NOTHING or found.properties["DEVNAME"] == f"/dev/{disk}"

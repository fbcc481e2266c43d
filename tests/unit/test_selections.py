"""What is said of entries that select: to people, and as warnings."""

from pathlib import Path

import pytest
from machine import Machine

from iovigil.agent.cli import selections
from iovigil.agent.config import Config, parse
from iovigil.agent.disks import selection

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.disk("sda", "8:0", GIB, "pci0000:00/0000:00:1f.2/ata1/block", serial="A")
    machine.mount("/proc", "0:20", "proc", "proc")
    machine.mount("/srv/scratch", "0:40", "tmpfs", "tmpfs")
    return machine


def config(*entries: str, probe_disks: str = "['*']") -> Config:
    probes = f"probes: {{p: {{every: 30s, disks: {probe_disks}, job: {{rw: randread, runtime: 5s}}}}}}"
    return parse("\n".join(["disks:", *(f"  - {entry}" for entry in entries), probes]), "a.yml")


def test_pseudo_filesystems_are_named_only_where_the_entry_came_near_them(machine: Machine) -> None:
    written = config("{match: {mount: /srv/*}, file: f, size: 1MiB}")
    said = "\n".join(selections.lines(written, selection.choose(written, root=machine.root)))
    assert "/srv/scratch" in said
    assert "/proc" not in said


def test_an_entry_that_selects_nothing_is_a_warning(machine: Machine) -> None:
    written = config("{match: {serial: B, rotational: true}}")
    choices = selection.choose(written, root=machine.root)
    first, second = selections.warnings(written, choices)
    assert first == "disks[0] on line 2 selects nothing now: serial B and rotational 1; `iovigil disks` says why"
    assert second == "probe p runs on no disk now: its disks are *"


def test_a_probe_for_selected_disks_of_other_names_is_a_warning(machine: Machine) -> None:
    written = config("{match: {serial: A}, name: 'hdd-{serial}'}", probe_disks="[ssd-*]")
    choices = selection.choose(written, root=machine.root)
    expanded = selection.expand(written, machine.root)
    assert list(selections.warnings(expanded, choices)) == ["probe p runs on no disk now: its disks are ssd-*"]


def test_regions_apart_on_one_device_are_two_disks(machine: Machine) -> None:
    machine.link("/dev/disk/by-id/ata-A", "../../sda")
    entries = [
        "{name: a, device: /dev/sda, region: {offset: 16m, size: 16m}}",
        "{name: b, device: /dev/disk/by-id/ata-A, region: {offset: 64m, size: 16m}}",
    ]
    assert selections.conflicts(config(*entries), machine.root) == []
    whole = config("{name: a, device: /dev/sda}", "{name: b, device: /dev/disk/by-id/ata-A}")
    (problem,) = selections.conflicts(whole, machine.root)
    assert (problem.line, problem.key) == (3, "disks[1].device")

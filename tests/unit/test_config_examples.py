"""The examples for storage nodes: each on a made-up machine of its kind, selected, planned and within bounds."""

import io
import math
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import Machine
from rich.console import Console

from iovigil.agent import config, load
from iovigil.agent.cli import check_config
from iovigil.agent.cli.load_report import Hardware
from iovigil.agent.config import Config
from iovigil.agent.disks import candidates, selection

CONFIG = Path(__file__).parents[2] / "config"
NOW_UNIX = 1_800_000_000.0
GIB = 1 << 30
TIB = 1 << 40
HBA = "pci0000:00/0000:00:01.0/0000:02:00.0/host0/port-0:0/end_device-0:0:{0}/target0:0:{0}/0:0:{0}:0/block"
SATA = "pci0000:00/0000:00:1f.2/ata{0}/host{0}/target{0}:0:0/{0}:0:0:0/block"
PCIE = "pci0000:00/0000:00:1d.{0}/0000:0{0}:00.0/nvme/nvme{0}"

# Nobody buys a disk for its probes: of the time in which one runs, at its own low rate; and of drive writes a day.
MOST_BUSY = 0.2
MOST_WEAR = 0.1


def hard_disks(machine: Machine, number: int) -> None:
    for place in range(number):
        kernel = f"sd{chr(97 + place // 26)}{chr(97 + place % 26)}"
        machine.disk(
            kernel,
            f"8:{place * 16}",
            16 * TIB,
            HBA.format(place),
            device__model="ST16000NM004J",
            device__vendor="SEAGATE",
            serial=f"ZL2{place:05}",
            queue__rotational="1",
        )


def drives(machine: Machine, number: int, size: int = 2 * TIB) -> None:
    for place in range(number):
        machine.disk(
            f"nvme{place}n1",
            f"259:{place}",
            size,
            PCIE.format(place),
            device__model="SAMSUNG MZQL21T9HCJR",
            device__serial=f"S6Z{place:05}",
            queue__rotational="0",
        )


def system_disk(machine: Machine) -> None:
    machine.disk(
        "vda", "252:0", 480 * GIB, SATA.format(0), device__model="SSDSCKKB48", serial="BOOT", queue__rotational="0"
    )
    machine.mount("/var/lib/iovigil", "252:0", "ext4", "/dev/vda")


def ceph(machine: Machine) -> None:
    hard_disks(machine, 24)
    drives(machine, 2)
    system_disk(machine)


def minio(machine: Machine) -> None:
    hard_disks(machine, 16)
    system_disk(machine)
    for place in range(16):
        machine.mount(f"/mnt/drive{place + 1}", f"8:{place * 16}", "xfs", f"/dev/sda{chr(97 + place)}")


def kafka(machine: Machine) -> None:
    drives(machine, 2)
    for place in range(2):
        machine.mount(f"/data/kafka{place}", f"259:{place}", "xfs", f"/dev/nvme{place}n1")


def hpc(machine: Machine) -> None:
    drives(machine, 1)
    machine.mount("/scratch", "259:0", "ext4", "/dev/nvme0n1")


def jbod(machine: Machine) -> None:
    hard_disks(machine, 60)
    system_disk(machine)


@dataclass(frozen=True)
class Kind:
    """A node, and what an example comes to there."""

    build: Callable[[Machine], None]
    disks: int
    written_to: int
    """Disks that are written to at all."""


KINDS = {
    "ceph-osd": Kind(ceph, disks=27, written_to=1),
    "minio": Kind(minio, disks=16, written_to=16),
    "kafka": Kind(kafka, disks=2, written_to=2),
    "hpc-scratch": Kind(hpc, disks=1, written_to=1),
    "jbod60": Kind(jbod, disks=60, written_to=0),
}
every_kind = pytest.mark.parametrize("name", KINDS)


def loaded_on(machine: Machine, name: str) -> tuple[Config, str]:
    """The configuration with its disks of this machine, and the plan that check-config prints."""
    KINDS[name].build(machine)
    machine.file("/proc/pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    written = config.load(str(CONFIG / f"{name}.yml"))
    found = candidates.all_candidates(machine.root)
    choices = selection.choose(written, found)
    loaded = selection.expand(written, machine.root)
    output = io.StringIO()
    console = Console(file=output, width=160, highlight=False, color_system=None)
    check_config.show(loaded, console, now_unix=NOW_UNIX, host="host", root=machine.root, choices=choices)
    return loaded, output.getvalue()


def test_every_example_for_a_node_has_a_node_to_be_tried_on() -> None:
    assert {path.stem for path in CONFIG.glob("*.yml")} == KINDS.keys() | {"quickstart", "node", "scrub"}


@every_kind
def test_every_disk_of_such_a_node_is_selected_and_probed(name: str, tmp_path: Path) -> None:
    loaded, plan = loaded_on(Machine(tmp_path), name)
    assert len(loaded.disks) == KINDS[name].disks
    assert {each.disk.name for each in loaded.assignments()} == {disk.name for disk in loaded.disks}
    assert {each.probe.name for each in loaded.assignments()} == {probe.name for probe in loaded.probes}
    # What has a serial number is named by it, or by where it is mounted: not by the kernel.
    assert not [disk.name for disk in loaded.disks if re.search(r"\b(sd[a-z]|nvme\d)", disk.name)]
    assert f"{CONFIG / name}.yml is right: {KINDS[name].disks} disk" in plan


@every_kind
def test_check_config_has_nothing_to_warn_of_but_the_open_door(name: str, tmp_path: Path) -> None:
    _, plan = loaded_on(Machine(tmp_path), name)
    warnings = [line for line in plan.splitlines() if line.startswith("warning: ")]
    assert warnings == ["warning: anybody who reaches agent.listen is served: see agent.web.config_file"]
    assert "no bound" not in plan


@every_kind
def test_data_that_is_not_ours_is_only_read_and_files_lie_beside_it(name: str, tmp_path: Path) -> None:
    loaded, _ = loaded_on(Machine(tmp_path), name)
    demands = list(load.planned(loaded, {disk.name: 16 * TIB for disk in loaded.disks}))
    by_name = {disk.name: disk for disk in loaded.disks}
    written_to = {each.disk for each in demands if each.demand.written_bytes_a_day}
    assert len(written_to) == KINDS[name].written_to
    assert all(by_name[disk].file and not by_name[disk].device for disk in written_to)


@every_kind
def test_the_load_at_worst_is_small(name: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    loaded, _ = loaded_on(machine, name)
    hardware = {disk.name: Hardware.of(disk, machine.root) for disk in loaded.disks}
    demands = list(load.planned(loaded, {disk: each.target_bytes for disk, each in hardware.items()}))
    for disk in loaded.disks:
        whole = load.together(each.demand for each in demands if each.disk == disk.name)
        assert whole.busy <= MOST_BUSY, disk.name
        assert not math.isinf(whole.iops)
        assert not math.isinf(whole.read_bytes_a_day)
        assert whole.wear_a_day(hardware[disk.name].disk_bytes) <= MOST_WEAR
    # All of them together have workers enough, with as much again to spare.
    assert sum(each.demand.busy for each in demands) <= loaded.agent.max_workers / 1.5


@every_kind
def test_the_program_itself_accepts_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On this machine, which has none of these disks."""
    path = CONFIG / f"{name}.yml"
    assert check_config.main(Namespace(file=str(path))) == 0
    assert capsys.readouterr().err == ""

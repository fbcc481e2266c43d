"""Regions on a SCSI disk with a device mapper, a second path and a plug that is pulled, in a kernel of our own."""

import json
from pathlib import Path
from typing import Any

import pytest
import virtual_machine

PROGRAM = Path(__file__).with_name("regions_in_the_machine.py")
PROGRAM_S = 100.0
ADMITTED = f"{(2 << 20) + 4096} {(8 << 20) - 4096}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    try:
        machine = virtual_machine.virtual_machine()
    except virtual_machine.CannotMake as reason:
        pytest.skip(f"no virtual machine: {reason}")
    ended = machine.run(PROGRAM, tmp_path_factory.mktemp("share"), PROGRAM_S)
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    found: dict[str, Any] = json.loads(ended.output)
    return found


def test_a_disk_is_known_by_its_wwn_and_serial_number(answers: dict[str, Any]) -> None:
    assert answers["hardware"] == "wwn naa.33333330000007d0, serial 2000, 67108864 bytes"


def test_a_claimed_disk_is_admitted_and_no_other(answers: dict[str, Any]) -> None:
    assert "it has no ownership header" in answers["unclaimed"]
    assert (answers["claim"], answers["admitted"]) == ("True", ADMITTED)


def test_a_device_mapped_onto_the_disk_keeps_out_and_may_have_a_region_itself(answers: dict[str, Any]) -> None:
    mapped = answers["mapped"]
    assert mapped["disk below"] == "Refused: /dev/sda is not written to: held by dm-0"
    assert mapped["hardware"] == "wwn uuid LVM-test, 20971520 bytes"
    assert (mapped["claim of the volume"], mapped["volume"]) == ("True", ADMITTED)
    assert mapped["volume below another"] == "Refused: /dev/dm-0 is not written to: held by dm-1"
    assert mapped["disk below both"] == "Refused: /dev/sda is not written to: held by dm-0 (held by dm-1)"


def test_a_second_path_to_the_disk_keeps_out_as_long_as_it_is_there(answers: dict[str, Any]) -> None:
    """Somebody may have it in use by that one: the kernel takes them for two disks."""
    paths = answers["second path"]
    assert "is the same disk as sdb" in paths["first"]
    assert "is the same disk as sda" in paths["second"]
    assert paths["alone"] == ADMITTED


def test_a_disk_that_was_pulled_is_not_mistaken_for_the_next(answers: dict[str, Any]) -> None:
    pulled = answers["pulled"]
    assert pulled["before"] == "None"
    assert pulled["gone"] == pulled["another"] == "Refused: /dev/sda was unplugged while it was looked at"

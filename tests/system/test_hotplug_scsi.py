"""Disks that are plugged in and pulled under an agent, in a kernel of our own with udev."""

import json
from pathlib import Path
from typing import Any

import pytest
import virtual_machine

PROGRAM = Path(__file__).with_name("hotplug_in_the_machine.py")
PROGRAM_S = 150.0
SOON_S = 15.0
"""In a machine that is some twenty times as slow; without events it would be a minute."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not Path("/lib/systemd/systemd-udevd").exists():
        pytest.skip("udev is not installed")
    try:
        machine = virtual_machine.virtual_machine()
    except virtual_machine.CannotMake as reason:
        pytest.skip(f"no virtual machine: {reason}")
    ended = machine.run(PROGRAM, tmp_path_factory.mktemp("share"), PROGRAM_S)
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    found: dict[str, Any] = json.loads(ended.output)
    return found


def test_a_disk_is_opened_by_the_link_that_udev_made(answers: dict[str, Any]) -> None:
    assert answers["udev"] is True
    assert answers["first"] == "0x33333330000007d0"
    assert answers["path"] == "/dev/disk/by-id/wwn-0x33333330000007d0"


def test_a_disk_that_is_plugged_in_is_probed_without_a_restart(answers: dict[str, Any]) -> None:
    assert answers["plugged in after"] < SOON_S
    assert answers["second is"] == "sdb"


def test_a_disk_that_is_pulled_is_missed_and_comes_back_as_itself(answers: dict[str, Any]) -> None:
    assert answers["missed after"] < SOON_S
    assert answers["back after"] < SOON_S
    assert answers["same account"] is True
    assert answers["failures"] == 0, "the other disk was not disturbed"
    assert answers["remembered"] == answers["names"]

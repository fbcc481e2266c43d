"""Disks that are removed under jobs and an agent, in a kernel of our own: said to be gone, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
import virtual_machine

PROGRAM = Path(__file__).with_name("gone_in_the_machine.py")
PROGRAM_S = 240.0
SOON_S = 10.0
"""In a machine that is some twenty times as slow."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    share = tmp_path_factory.mktemp("share")
    disk = tmp_path_factory.mktemp("disks") / "virtio"
    disk.write_bytes(bytes(1 << 20))
    try:
        machine = virtual_machine.virtual_machine()
    except virtual_machine.CannotMake as reason:
        pytest.skip(f"no virtual machine: {reason}")
    ended = machine.run(PROGRAM, share, PROGRAM_S, disks=[disk])
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    found: dict[str, Any] = json.loads(ended.output)
    print(json.dumps(found, indent=1))
    return found


@pytest.mark.parametrize("kind", ["scsi", "virtio"])
def test_the_kernel_itself_does_not_say_that_it_has_gone(answers: dict[str, Any], kind: str) -> None:
    assert answers[kind] == {"read": "0", "write": "ENOSPC", "end": "0", "open": "ENOENT"}


@pytest.mark.parametrize("engine", ["psync", "io_uring"])
@pytest.mark.parametrize("rw", ["randread", "randwrite"])
def test_a_job_says_that_its_device_was_removed(answers: dict[str, Any], engine: str, rw: str) -> None:
    told = answers[f"{engine} {rw}"]
    assert told["error"] == "ENODEV"
    assert told["text"].endswith("No such device (ENODEV): the device was removed while it was open")


@pytest.mark.parametrize("kind", ["psync", "io_uring", "file"])
def test_an_agent_misses_the_disk_within_seconds(answers: dict[str, Any], kind: str) -> None:
    told = answers[f"{kind} agent"]
    assert told["failures"] == {"gone": 1}
    assert "the device was removed while it was open" in told["message"]
    assert told["missed after"] < SOON_S
    assert told["stuck"] is False

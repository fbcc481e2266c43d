"""SCSI generic, on a disk that a kernel of our own emulates, with the kernel's own block layer as the oracle."""

import json
from pathlib import Path
from typing import Any

import pytest
import virtual_machine

from iovigil.engines.io import sg
from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import StatsPage

PROGRAM = Path(__file__).with_name("sg_in_the_machine.py")
PROGRAM_S = 100.0
SIZE = 4 << 20
READ, WRITE, SYNC = 0, 1, 3
devices = pytest.mark.parametrize("device", ["/dev/sda", "/dev/sg0"])


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


@pytest.mark.slow
def test_the_disk_says_how_long_it_is(answers: dict[str, Any]) -> None:
    assert answers["capacity"] == [131072, 512]


@pytest.mark.slow
@devices
@pytest.mark.parametrize("job", ["read", "fua", "deep", "news"])
def test_a_whole_disk_gives_every_block_once(answers: dict[str, Any], device: str, job: str) -> None:
    outcome = answers[device][job]
    assert sum(outcome["bytes"]) == SIZE
    assert outcome["errors"] == [{}, {}, {}, {}]


@pytest.mark.slow
@devices
def test_what_was_written_is_read_back_by_either_way(answers: dict[str, Any], device: str) -> None:
    for job in ("verify", "kernel reads", "sg reads"):
        outcome = answers[device][job]
        assert outcome["verified"] == SIZE, job
        assert (outcome["errors"], outcome["text"]) == ([{}, {}, {}, {}], ""), job
    assert answers[device]["verify"]["ios"][SYNC] == SIZE // 4096 // 64


@pytest.mark.slow
def test_a_character_device_keeps_several_commands_in_flight(answers: dict[str, Any]) -> None:
    assert answers["/dev/sg0"]["read"]["deepest"] == 3  # class 8 to 15
    assert answers["/dev/sg0"]["deep"]["deepest"] == 4  # the driver takes 16
    assert answers["/dev/sda"]["read"]["deepest"] == 0


@pytest.mark.slow
def test_who_gets_one_command_at_a_time_is_told(answers: dict[str, Any]) -> None:
    assert answers["/dev/sg0"]["read"]["notes"] == []
    for outcome in (answers["/dev/sda"]["read"], answers["read-only character device"]):
        assert len(outcome["notes"]) == 1
        assert "one command at a time" in outcome["notes"][0]
    assert answers["read-only character device"]["bytes"][READ] == SIZE


@pytest.mark.slow
@devices
def test_a_part_of_a_sector_is_invalid(answers: dict[str, Any], device: str) -> None:
    assert answers[device]["unaligned"]["errors"][READ] == {"22": 4}


@pytest.mark.slow
@devices
def test_no_job_reaches_beyond_the_disk(answers: dict[str, Any], device: str) -> None:
    assert answers[device]["beyond"] == {
        "refused": "ioengine=sg: the disk has 67108864 bytes, and the job reaches to 71303168"
    }


@pytest.mark.slow
def test_a_bad_medium_fails_as_many_reads_as_the_kernels_own(answers: dict[str, Any]) -> None:
    medium = answers["medium"]
    assert medium["kernel"] == {"61": 2}  # sectors 4660 to 4669 touch two blocks of eight
    assert medium["/dev/sda"] == medium["/dev/sg0"] == medium["kernel"]
    assert medium["fatal"].endswith("length 4096: No data available (ENODATA)")


@pytest.mark.slow
def test_every_answer_of_a_disk_has_the_kernels_errno(answers: dict[str, Any]) -> None:
    assert len(answers["senses"]) == 12
    for sense, (reads, writes) in answers["senses"].items():
        for kernel, block, character in (reads, writes):
            assert block == kernel, sense
            assert character == kernel, sense


@pytest.mark.slow
def test_a_partition_is_refused(answers: dict[str, Any]) -> None:
    assert "does not work on a partition" in answers["partition"]["refused"]


def test_what_is_no_scsi_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    with path.open("rb") as file, pytest.raises(OSError, match="needs a SCSI disk"):
        Job(JobOptions(ioengine="sg").native(), StatsPage.create(), [(file.fileno(), 8192)])
    with pytest.raises(OSError, match="needs a SCSI disk"):
        sg.check_whole_disk(-1)

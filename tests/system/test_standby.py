"""A disk in standby is left asleep, in a kernel of our own with a SCSI disk that can be stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import virtual_machine

PROGRAM = Path(__file__).with_name("standby_in_the_machine.py")
PROGRAM_S = 100.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    try:
        machine = virtual_machine.virtual_machine()
    except virtual_machine.CannotMake as reason:
        pytest.skip(f"no virtual machine: {reason}")
    image = tmp_path_factory.mktemp("disk") / "sata.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    drive = ("-drive", f"file={image},if=none,id=sata,format=raw", "-device", "ide-hd,drive=sata,serial=S1")
    ended = machine.run(PROGRAM, tmp_path_factory.mktemp("share"), PROGRAM_S, devices=drive)
    assert ended.status == 0, f"{ended.errors}\n{ended.dmesg}"
    found: dict[str, Any] = json.loads(ended.output)
    return found


def test_a_disk_that_turns_is_awake_and_is_read(answers: dict[str, Any]) -> None:
    assert answers["awake"] == answers["started"] == ""
    for when in ("run awake", "run started"):
        assert answers[when] == {"failure": "", "runs": 1, "skips": 0}


def test_a_disk_that_was_stopped_is_left_so_and_the_run_is_counted_as_skipped(answers: dict[str, Any]) -> None:
    assert answers["stopped"] == "stopped"
    assert answers["run stopped"] == {"failure": "", "runs": 0, "skips": 1}
    assert answers["ready after"] is False


def test_what_is_built_on_a_disk_that_sleeps_is_left_alone_too(answers: dict[str, Any]) -> None:
    assert answers["volume"] == f"{answers['disk']} is stopped"


def test_where_it_may_be_woken_it_is_asked_nothing(answers: dict[str, Any]) -> None:
    assert (answers["woken"]["runs"], answers["woken"]["skips"]) == (1, 0)


def test_a_disk_that_the_kernel_has_suspended_is_not_resumed_by_the_question(answers: dict[str, Any]) -> None:
    assert answers["suspended"] == "suspended by the kernel"
    assert (answers["run suspended"]["runs"], answers["run suspended"]["skips"]) == (0, 1)
    assert answers["still suspended"] == "suspended"


def test_a_sata_disk_answers_who_may_ask_it(answers: dict[str, Any]) -> None:
    sata = answers["sata"]
    assert (sata["to root"], sata["mode"]) == ("", "0xff")
    assert sata["to nobody"] == "/dev/DISK: Operation not permitted: it takes CAP_SYS_RAWIO"

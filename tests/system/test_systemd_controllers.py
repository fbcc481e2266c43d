"""The shipped unit under a systemd that has controllers to delegate, in a kernel of our own."""

import sys
from pathlib import Path

import pytest
import virtual_machine
from debian_root import own_suite

CHECKOUT = Path(__file__).parents[2]
PROGRAM = CHECKOUT / "tests/system/service_in_the_machine.sh"
PROGRAM_S = 100.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if not own_suite() or not Path("/lib/systemd/systemd").exists():
        pytest.skip("the machine has this host's files, and they are no Debian with systemd")
    try:
        machine = virtual_machine.virtual_machine()
    except virtual_machine.CannotMake as reason:
        pytest.skip(f"no virtual machine: {reason}")
    start = f"#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec {PROGRAM} boot {CHECKOUT} {sys.executable}\n"
    share = tmp_path_factory.mktemp("share")
    ended = machine.run(PROGRAM, share, PROGRAM_S, start=start)
    print(ended.errors, (share / "journal").read_text())
    return dict(line.partition(" ")[::2] for line in ended.output.splitlines())


def test_a_child_of_the_service_has_the_limits_of_its_probe(seen: dict[str, str]) -> None:
    assert seen["start"] == "0"
    assert seen["controllers"] == "io memory pids"
    assert seen["limit"] == "8:0 rbps=max wbps=max riops=50 wiops=max"


def test_a_child_that_is_held_does_not_keep_the_next_agent_from_starting(seen: dict[str, str]) -> None:
    assert seen["left"] == ""
    assert seen["start-beside"] == "0"
    assert seen["groups"].split() == ["job-x+y", "main"]


def test_without_the_units_last_command_it_would(seen: dict[str, str]) -> None:
    assert seen["start-without"] == "219"  # or else systemd has learned it, and the unit can do without

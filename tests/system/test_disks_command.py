"""`iovigil disks`, as a user starts it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_disk import FaultDisk

from iovigil.agent.disks import inquiry

MIB = 1 << 20
DEADLINE_S = 20
COMMAND = [sys.executable, "-c", "import sys; from iovigil.agent.cli import main; sys.exit(main())", "disks"]

MakeDevice = Callable[..., Path]


def disks(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def listed(*arguments: str | Path) -> dict[str, dict[str, Any]]:
    done = disks("--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {entry["name"]: entry for entry in json.loads(done.stdout)}


def configuration(directory: Path, *lines: str) -> Path:
    """A configuration of these disks, with a probe that reads."""
    path = directory / "agent.yaml"
    text = "disks:\n" + "".join(f"  - {line}\n" for line in lines)
    path.write_text(f"{text}probes:\n  latency: {{every: 60s, job: {{rw: randread, bs: 4k, runtime: 1s}}}}\n")
    return path


@pytest.mark.requires_loop
def test_a_free_and_a_mounted_device_are_told_apart(loop_device: MakeDevice, ext4_mount: MakeDevice) -> None:
    free, mount = loop_device(MIB), ext4_mount(16 * MIB)
    found = listed()
    assert found[free.name]["guard"] == "read only: no region is declared on it"
    assert found[free.name]["size_bytes"] == MIB
    mounted = found[mount.name.removeprefix("mount-")]
    assert mounted["guard"] == f"read only: mounted on {mount}"
    assert mounted["used_by"] == [str(mount)]


@pytest.mark.requires_loop
def test_the_table_has_one_line_for_each_disk(loop_device: MakeDevice) -> None:
    device = loop_device(MIB)
    lines = disks().stdout.splitlines()
    assert lines[0].split()[:3] == ["NAME", "DEVICE", "SIZE"]
    assert [line for line in lines if line.startswith(f"{device.name} ")]


@pytest.mark.requires_loop
def test_the_disks_of_a_configuration_each_have_a_verdict(loop_device: MakeDevice, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    path = configuration(
        tmp_path,
        f"{{name: new, file: {tmp_path}/new, size: 1MiB}}",
        f"{{name: theirs, file: {tmp_path}/theirs, size: 1MiB}}",
        f"{{name: raw, device: {loop_device(MIB)}}}",
        "{name: gone, device: /dev/disk/by-id/no-such-disk}",
    )
    found = {name: entry["guard"] for name, entry in listed(path).items()}
    assert found["new"] == "probe file to be created: 1.0 MiB"
    assert found["theirs"].startswith(f"refused: {tmp_path}/theirs is left alone: it has no footer")
    assert found["raw"] == "read only: no region is declared on it"
    assert found["gone"] == "absent: /dev/disk/by-id/no-such-disk is no block device of this machine"
    assert not (tmp_path / "new").exists()


def test_a_wrong_configuration_is_a_message_and_no_traceback(tmp_path: Path) -> None:
    done = disks(configuration(tmp_path, "{name: both}"))
    assert done.returncode == 1
    assert "agent.yaml:2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.requires_fuse
def test_a_hung_disk_is_named_and_does_not_hold_the_command(fault_disk: FaultDisk, tmp_path: Path) -> None:
    path = configuration(
        tmp_path,
        f"{{name: hung, file: {fault_disk.path}, size: 1MiB}}",
        f"{{name: fine, file: {tmp_path}/fine, size: 1MiB}}",
    )
    fault_disk.hang(operation="read")
    start = time.monotonic()
    found = listed(path)
    assert time.monotonic() - start < 8
    assert found["hung"]["guard"] == "no answer in 2 s"
    assert found["fine"]["guard"] == "probe file to be created: 1.0 MiB"


def test_a_question_gets_its_answer_and_a_late_one_none() -> None:
    start = time.monotonic()
    answers = inquiry.ask({"quick": lambda: ["yes"], "late": lambda: time.sleep(30), "wrong": lambda: 1 / 0}, 0.3)
    assert answers == {"quick": ["yes"], "wrong": None}
    assert time.monotonic() - start < 5


@pytest.mark.requires_loop
def test_an_entry_that_selects_says_what_and_why_not_the_rest(tmp_path: Path, loop_device: MakeDevice) -> None:
    device, other = loop_device(MIB), loop_device(MIB)
    entry = f'{{match: {{path: {device}}}, name: "{{kernel}}"}}'
    config = configuration(tmp_path, entry)
    lines = disks(config).stdout.splitlines()
    assert f"{config}:2: disks[0], path {device}: selects 1" in lines
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("    ")}
    assert said[device.name] == f"is {device.name}, by {device}"
    assert said[other.name] == f"left out: its path is /dev/{other.name}, not {device}"
    assert listed(config).keys() == {device.name}


@pytest.mark.requires_loop
def test_the_reasons_are_there_for_programs_too(tmp_path: Path, loop_device: MakeDevice) -> None:
    device = loop_device(MIB)
    config = configuration(tmp_path, f"{{match: {{path: {device}}}, exclude: {{transport: loop}}}}")
    found = json.loads(disks("--why", "--json", config).stdout)
    (own,) = (each for each in found if each["device"] == device.name)
    assert (own["entry"], own["left_out"]) == ("disks[0]", "it is excluded: its transport is loop")
    assert disks("--why").returncode == 2


@pytest.mark.requires_loop
def test_two_entries_for_one_device_are_a_mistake_that_is_found_on_the_machine(
    tmp_path: Path, loop_device: MakeDevice
) -> None:
    device = loop_device(MIB)
    link = Path("/dev") / f"iovigil-test-{device.name}"
    link.symlink_to(device)
    try:
        config = configuration(tmp_path, f"{{name: a, device: {device}}}", f"{{name: b, device: {link}}}")
        done = subprocess.run(
            [*COMMAND[:-1], "check-config", config], capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    finally:
        link.unlink()
    assert done.returncode == 1
    reason = f"{link} is {device.name}, and so is a on line 2: one entry for each device"
    assert done.stderr == f"{config}:3: disks[1].device: {reason}\n"

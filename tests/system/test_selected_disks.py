"""An agent whose configuration selects its disks: they are mounted, plugged in, pulled and put back while it runs."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import RunningAgent, owner_of, running_agent
from loop import MIB, attached, command, mounted
from processes import wait_until
from scraping import IOVIGIL

pytestmark = pytest.mark.requires_loop

SOON_S = 8.0
"""Far less than the minute between looks: it was told."""

MOUNTS = """\
disks:
  - match: {{mount: {directory}/srv/*}}
    exclude: {{mount: {directory}/srv/scratch}}
    name: "{{mount}}"
    file: .iovigil
    size: 1MiB
probes:
  latency: {{every: 1s, job: {{rw: randread, bs: 4k, runtime: 200ms, ioengine: psync}}}}
"""
DEVICE = """\
disks:
  - match: {{path: {device}}}
    name: "{{kernel}}"
probes:
  latency: {{every: 1s, job: {{rw: randread, bs: 4k, runtime: 200ms, ioengine: psync}}}}
"""


def names(agent: RunningAgent) -> dict[str, float]:
    """Which disks the agent has, and whether they are there."""
    return {
        dict(labels)["disk"]: value
        for (name, labels), value in agent.samples().items()
        if name == "iovigil_disk_present"
    }


def test_a_filesystem_is_watched_from_its_mount_on_and_missed_once_it_is_gone(
    tmp_path: Path, loop_device: Callable[..., Path]
) -> None:
    first, second = loop_device(16 * MIB), loop_device(16 * MIB)
    for device in (first, second):
        command("mkfs.ext4", "-q", "-F", "-m", "0", device)
    (tmp_path / "srv").mkdir()
    text = MOUNTS.format(directory=tmp_path)
    with contextlib.ExitStack() as mounts:
        a = mounts.enter_context(mounted(first, tmp_path / "srv" / "a"))
        with running_agent(tmp_path, text) as agent:
            agent.wait_for("runs_total")
            (name,) = names(agent)
            assert name.endswith("srv-a") or len(name) == 64
            assert owner_of(a / ".iovigil") == (name, MIB)

            b = mounts.enter_context(mounted(second, tmp_path / "srv" / "b"))
            agent.wait_for("disk_present", least=2, deadline_s=SOON_S)
            wait_until((b / ".iovigil").exists, "a probe file on the second")
            other = next(each for each in names(agent) if each != name)
            agent.wait_for("runs_total", disk=other)
            runs = agent.value("runs_total", disk=other)

            wait_until(lambda: is_unmounted(b), "the second is unmounted")
            agent.wait_for_line(f"disk {other} is not there: {b} is not mounted", SOON_S)
            assert names(agent) == {name: 1.0, other: 0.0}
            agent.wait_for("runs_skipped_total", disk=other, reason="absent")
            assert list(b.iterdir()) == [], "a probe file was made on the filesystem beneath"

            b.rmdir()
            mounts.enter_context(mounted(second, b))
            agent.wait_for("disk_present", least=2, deadline_s=SOON_S)
            agent.wait_for("runs_total", least=runs + 1, disk=other)
            assert "configuration reloaded" not in agent.log.read_text()


def is_unmounted(point: Path) -> bool:
    with contextlib.suppress(Exception):
        command("umount", point)
    return not point.is_mount()


def test_a_device_that_is_pulled_is_missed_also_after_a_restart_and_comes_back_as_itself(
    tmp_path: Path, loop_device: Callable[..., Path]
) -> None:
    device = loop_device(4 * MIB)
    image = next(tmp_path.glob("loop-*.img"))
    text = DEVICE.format(device=device)
    with running_agent(tmp_path, text) as agent:
        agent.wait_for("runs_total", disk=device.name)
        wait_until(lambda: is_detached(device), "the device is detached")
        agent.wait_for_line(f"disk {device.name} is not there", SOON_S)
        assert names(agent) == {device.name: 0.0}
    with running_agent(tmp_path, text) as agent:
        agent.wait_for_line(f"disk {device.name} is not there")
        assert names(agent) == {device.name: 0.0}
        assert f"absent: {device} " in command(IOVIGIL, "disks", agent.config)
        command("losetup", device, image)
        agent.wait_for("disk_present", disk=device.name, deadline_s=SOON_S)
        agent.wait_for("runs_total", disk=device.name)


def is_detached(device: Path) -> bool:
    with contextlib.suppress(Exception):
        command("losetup", "--detach", device)
    return Path(f"/sys/class/block/{device.name}/size").read_text().strip() == "0"


def test_a_reload_that_excludes_a_disk_forgets_it(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 * MIB)
    with attached(image) as device:
        text = DEVICE.format(device=device)
        with running_agent(tmp_path, text) as agent:
            agent.wait_for("disk_present", disk=device.name)
            agent.config.write_text(
                agent.config.read_text().replace("    name:", "    exclude: {transport: loop}\n    name:")
            )
            agent.process.send_signal(1)
            agent.wait_for_line(f"disk {device.name} removed")
            assert names(agent) == {}

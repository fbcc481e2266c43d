"""Runs in the virtual machine: udev, an agent that selects SCSI disks by id, disks that come and go; what it saw, as
JSON."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iovigil.agent.config import parse
from iovigil.agent.daemon import Daemon
from iovigil.agent.disks import udev
from iovigil.agent.ledger import Skip

DEADLINE_S = 40.0
PARAMETERS = Path("/sys/bus/pseudo/drivers/scsi_debug")
STATE = Path("/run/iovigil-test")
TEXT = f"""\
agent: {{listen: ":0", state_directory: {STATE}}}
disks:
  - match: {{by_id: wwn-*, model: scsi_debug*}}
    name: "{{wwn}}"
probes:
  latency: {{every: 3s, job: {{rw: randread, bs: 4k, runtime: 200ms, ioengine: psync, direct: 1}}}}
"""


def names() -> set[str]:
    return {place.name for place in Path("/sys/class/block").glob("sd*")}


async def seen(condition: Callable[[], bool], what: str) -> float:
    """How long it took, in seconds."""
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() - begun_s > DEADLINE_S:
            raise TimeoutError(what)
        await asyncio.sleep(0.1)
    return round(time.monotonic() - begun_s, 1)


async def watch() -> dict[str, Any]:
    config = parse(TEXT, "test")
    daemon = Daemon(lambda: config, config)
    task = asyncio.get_running_loop().create_task(daemon.run())
    try:
        return await asyncio.wait_for(follow(daemon), 3 * DEADLINE_S)
    finally:
        daemon.stop()
        await task


async def follow(daemon: Daemon) -> dict[str, Any]:
    def present() -> set[str]:
        return {disk.name for disk in daemon.ledger.disks.values() if disk.is_present}

    await seen(lambda: len(present()) == 1, "the disk that is there")
    (first,) = present()
    found: dict[str, Any] = {"first": first, "path": daemon.ledger.disks[first].path}
    await asyncio.sleep(5.0)  # past the look that followed the start
    before = names()
    (PARAMETERS / "add_host").write_text("1")
    found["plugged in after"] = await seen(lambda: len(present()) == 2, "the disk that was plugged in")
    (second,) = present() - {first}
    (kernel,) = names() - before
    found["second is"] = kernel
    entry = daemon.ledger.probes[second, "latency"]
    await seen(lambda: entry.runs > 0, "a run on it")
    host = next(Path(f"/sys/class/block/{kernel}/device").resolve().parents[1].glob("scsi_host/host*"))

    (Path(f"/sys/class/block/{kernel}/device") / "delete").write_text("1")
    found["missed after"] = await seen(lambda: present() == {first}, "that it is gone")
    await seen(lambda: entry.skips[Skip.ABSENT] > 0, "a run skipped")
    runs = entry.runs
    await asyncio.sleep(5.0)
    (host / "scan").write_text("- - -")
    found["back after"] = await seen(lambda: len(present()) == 2, "that it is back")
    again = daemon.ledger.probes[second, "latency"]
    found["same account"] = again is entry
    await seen(lambda: again.runs > runs, "a run on it again")
    found["failures"] = sum(daemon.ledger.probes[first, "latency"].failures.values())
    found["remembered"] = sorted(each["name"] for each in json.loads((STATE / "disks.json").read_text()))
    found["names"] = sorted((first, second))
    return found


def main() -> None:
    STATE.mkdir()
    subprocess.run(["/lib/systemd/systemd-udevd", "--daemon"], check=True, timeout=DEADLINE_S)
    for command in (["trigger", "--action=add", "--subsystem-match=block"], ["settle", "--timeout=30"]):
        subprocess.run(["udevadm", *command], check=True, timeout=DEADLINE_S)
    found = {"udev": udev.is_running(), "by pyudev": udev.has_library()}
    print(json.dumps(found | asyncio.run(watch())))


if __name__ == "__main__":
    main()

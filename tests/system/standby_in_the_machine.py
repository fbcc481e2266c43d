"""Runs in the virtual machine: a SCSI disk that is stopped and started; what is said of it, as JSON."""

import asyncio
import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

from iovigil.agent import books
from iovigil.agent.config import parse
from iovigil.agent.disks import standby
from iovigil.agent.ledger import Skip
from iovigil.agent.supervisor import Supervisor

DEADLINE_S = 30.0
DISK = "sda"
START_STOP = 0x1B
TEXT = """\
disks:
  - {{name: d, device: /dev/{device}, wake: {wake}}}
probes:
  latency: {{every: 30s, job: {{rw: randread, bs: 4k, runtime: 200ms, ioengine: psync, direct: 1}}}}
"""


def start_stop(start: bool) -> int:
    """Have the disk spin up or down; the SCSI status."""
    fd = os.open(f"/dev/{DISK}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        sense, _ = standby.command(fd, bytes((START_STOP, 0, 0, 0, int(start), 0)), 0)
        return sense[0]
    finally:
        os.close(fd)


def is_ready() -> bool:
    """By TEST UNIT READY, which wakes no disk."""
    fd = os.open(f"/dev/{DISK}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        sense, _ = standby.command(fd, bytes(6), 0)
        return sense[0] == 0
    finally:
        os.close(fd)


def run(device: str, wake: bool) -> dict[str, Any]:
    """One run of a probe by a supervisor."""
    config = parse(TEXT.format(device=device, wake=str(wake).lower()), "test")
    ledger = books.open_books(config)
    ledger.disks["d"].identity = {"device": device}
    entry = ledger.probes["d", "latency"]

    async def go() -> str:
        supervisor = Supervisor(ledger, 1)
        result = await supervisor.run(config.disks[0], entry)
        return str(result.failure or "")

    failure = asyncio.run(go())
    return {"failure": failure, "runs": entry.runs, "skips": entry.skips[Skip.STANDBY]}


def main() -> None:
    found: dict[str, Any] = {"awake": standby.of_disk(DISK), "run awake": run(DISK, False)}
    start_stop(False)
    found |= {"stopped": standby.of_disk(DISK), "run stopped": run(DISK, False), "ready after": is_ready()}
    subprocess.run(
        ["dmsetup", "create", "volume", "--table", "0 40960 linear /dev/sda 32768"], check=False, timeout=DEADLINE_S
    )
    found["volume"] = standby.asleep("dm-0")
    subprocess.run(["dmsetup", "remove", "volume"], check=False, timeout=DEADLINE_S)
    found["woken"] = run(DISK, True)
    start_stop(True)
    found |= {"started": standby.of_disk(DISK), "run started": run(DISK, False)}
    power = Path(f"/sys/class/block/{DISK}/device/power")
    (power / "autosuspend_delay_ms").write_text("0")
    (power / "control").write_text("auto")
    for _ in range(100):
        if standby.asleep(DISK):
            break
        asyncio.run(asyncio.sleep(0.05))
    found |= {"suspended": standby.of_disk(DISK), "run suspended": run(DISK, False)}
    found["still suspended"] = (power / "runtime_status").read_text().strip()
    print(json.dumps(found))


if __name__ == "__main__":
    assert struct.calcsize(standby.SG_HEADER) == 88
    main()

"""Runs in the virtual machine: a SCSI disk that is stopped and started, a SATA disk; what is said of them, as JSON."""

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
BY_VENDOR = {(place / "device/vendor").read_text().strip(): place.name for place in Path("/sys/block").glob("sd*")}
DISK, SATA_DISK = BY_VENDOR["Linux"], BY_VENDOR["ATA"]
NOBODY = 65534
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


def sata() -> dict[str, str]:
    """What the SATA disk says of itself to root, and to a process without privileges that may open it."""
    found = {"vendor": "ATA", "to root": standby.of_disk(SATA_DISK)}
    Path(f"/dev/{SATA_DISK}").chmod(0o666)
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.setgroups([])
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            said = standby.of_disk(SATA_DISK)
        except standby.DoesNotSay as reason:
            said = str(reason)
        os.write(writing, said.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    found["to nobody"] = os.read(reading, 4096).decode().replace(SATA_DISK, "DISK")
    # Raises where there is no answer in it.
    fd = os.open(f"/dev/{SATA_DISK}", os.O_RDONLY | os.O_NONBLOCK)
    sense, _ = standby.command(fd, standby.CHECK_POWER_MODE, 0)
    os.close(fd)
    return found | {"mode": f"{standby.power_mode(sense):#x}"}


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
    found: dict[str, Any] = {
        "disk": DISK,
        "sata": sata(),
        "awake": standby.of_disk(DISK),
        "run awake": run(DISK, False),
    }
    start_stop(False)
    found |= {"stopped": standby.of_disk(DISK), "run stopped": run(DISK, False), "ready after": is_ready()}
    subprocess.run(
        ["dmsetup", "create", "volume", "--table", f"0 40960 linear /dev/{DISK} 32768"], check=False, timeout=DEADLINE_S
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

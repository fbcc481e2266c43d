"""Runs in the virtual machine: SCSI and virtio disks that are removed under jobs and an agent; what it saw, as JSON."""

import asyncio
import errno
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iovigil.agent.config import parse
from iovigil.agent.daemon import Daemon
from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, StatsPage

DEADLINE_S = 40.0
SCSI = Path("/sys/bus/pseudo/drivers/scsi_debug")
STATE = Path("/run/iovigil-test")
TEXT = f"""\
agent: {{listen: ":0", state_directory: {STATE}}}
disks:
  - {{name: pulled, TARGET}}
probes:
  latency: {{every: 60s, job: {{rw: randread, bs: 4k, runtime: 50s, rate_iops: 20, ioengine: ENGINE, direct: 1}}}}
"""


def until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(what)
        time.sleep(0.02)


def scsi_disks() -> set[str]:
    return {place.name for place in Path("/sys/class/block").glob("sd*")}


def plugged_in() -> str:
    before = scsi_disks()
    (SCSI / "add_host").write_text("1")
    until(lambda: scsi_disks() - before, "a new SCSI disk")
    (name,) = scsi_disks() - before
    until(lambda: can_be_opened(name), "that it can be opened")
    return name


def can_be_opened(name: str) -> bool:
    try:
        os.close(os.open(f"/dev/{name}", os.O_RDWR))
    except OSError:
        return False
    return True


def pull(name: str) -> None:
    device = Path(f"/sys/class/block/{name}/device")
    (device / "delete" if (device / "delete").exists() else device.resolve().parent / "remove").write_text("1")


def what_the_kernel_says(name: str) -> dict[str, str]:
    """Of plain system calls, on the descriptor of a disk that is removed."""
    fd = os.open(f"/dev/{name}", os.O_RDWR)
    pull(name)

    def said(call: Callable[..., Any], *arguments: Any) -> str:
        try:
            answer = call(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return str(len(answer) if isinstance(answer, bytes) else answer)

    answers = {
        "read": said(os.pread, fd, 4096, 0),
        "write": said(os.pwrite, fd, bytes(4096), 0),
        "end": said(os.lseek, fd, 0, os.SEEK_END),
        "open": said(os.open, f"/dev/{name}", os.O_RDONLY),
    }
    os.close(fd)
    return answers


def job_on(name: str, **changes: Any) -> dict[str, Any]:
    """What a job says of a disk that is removed under it."""
    options = JobOptions(
        bs=(4096,) * 3, size=1 << 20, time_based=True, runtime=60_000_000, direct=True, iodepth=4, **changes
    )
    fd = os.open(f"/dev/{name}", os.O_RDWR | os.O_DIRECT)
    page = StatsPage.create()
    thread = threading.Thread(target=lambda: Job(options.native(), page, [(fd, 1 << 20)]).run(), daemon=True)
    thread.start()
    until(lambda: any(page.counter(Counter.IOS, ddir) for ddir in (0, 1)), "an I/O")
    pull(name)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    os.close(fd)
    return {"error": errno.errorcode.get(page.error), "text": page.text}


async def under_an_agent(name: str, engine: str, target: str = "") -> dict[str, Any]:
    target = target or f"device: /dev/{name}"
    config = parse(TEXT.replace("TARGET", target).replace("ENGINE", engine), "test")
    daemon = Daemon(lambda: config, config)
    task = asyncio.get_running_loop().create_task(daemon.run())
    try:
        return await asyncio.wait_for(follow(daemon, name), 2 * DEADLINE_S)
    finally:
        daemon.stop()
        await task


def on_a_file_system(name: str) -> dict[str, Any]:
    point = STATE / "mounted"
    point.mkdir()
    for command in (["mkfs.ext4", "-q", "-F", f"/dev/{name}"], ["mount", f"/dev/{name}", str(point)]):
        subprocess.run(command, check=True, timeout=DEADLINE_S)
    return asyncio.run(under_an_agent(name, "psync", f"file: {point}/probe, size: 2MiB"))


async def seen(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.05)


async def follow(daemon: Daemon, name: str) -> dict[str, Any]:
    entry, disk = daemon.ledger.probes["pulled", "latency"], daemon.ledger.disks["pulled"]
    await seen(lambda: daemon.is_ready)
    daemon.control.run_now("pulled", "latency")
    await seen(lambda: entry.live is not None and entry.live.counter(Counter.IOS, 0) > 5)
    pull(name)
    begun_s = time.monotonic()
    await seen(lambda: entry.last is not None)
    ended_s = time.monotonic() - begun_s
    await seen(lambda: not disk.is_present)
    assert entry.last is not None
    return {
        "ended after": ended_s,
        "missed after": time.monotonic() - begun_s,
        "failures": {reason.value: count for reason, count in entry.failures.items() if count},
        "message": entry.last.message,
        "stuck": disk.is_stuck,
    }


def main() -> None:
    STATE.mkdir()
    found: dict[str, Any] = {"scsi": what_the_kernel_says(plugged_in()), "virtio": what_the_kernel_says("vda")}
    for engine in ("psync", "io_uring"):
        for rw in ("randread", "randwrite"):
            found[f"{engine} {rw}"] = job_on(plugged_in(), ioengine=engine, rw=rw)
        found[f"{engine} agent"] = asyncio.run(under_an_agent(plugged_in(), engine))
    found["file agent"] = on_a_file_system(plugged_in())
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Runs in the virtual machine: probes in control groups of their own, with every controller; what came out, as JSON."""

import asyncio
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from iovigil.agent import books, child_group, config
from iovigil.agent.cgroups import Cgroups
from iovigil.agent.supervisor import Supervisor
from iovigil.engines.stats import Counter

ROOT = Path("/sys/fs/cgroup")
SERVICE = ROOT / "system.slice/iovigil.service"
UNIT = Path(__file__).parents[2] / "packaging/systemd/iovigil.service"
DELAY = Path("/sys/bus/pseudo/drivers/scsi_debug/ndelay")
READ = 0
JOB = "rw: randread, bs: 4k, direct: 1, ioengine: psync, runtime: 3s"
TEXT = """\
disks: [{{name: d, device: /dev/sda}}]
probes: {{p: {{every: 1m, limits: {{{limits}}}, job: {{{job}}}}}}}
"""


def become_a_service() -> None:
    """Put this process into a group that is its own to divide, as systemd does with Delegate=."""
    subprocess.run(["mount", "-t", "cgroup2", "none", str(ROOT)], check=True)
    for group in (ROOT, SERVICE.parent):
        group.mkdir(exist_ok=True)
        (group / "cgroup.subtree_control").write_text("+io +memory +pids")
    SERVICE.mkdir()
    os.setxattr(SERVICE, "trusted.delegate", b"1")
    (SERVICE / "cgroup.procs").write_text("0")


async def run(groups: Cgroups, job: str, limits: str = "") -> dict[str, Any]:
    """A run of a probe as the agent makes it, and what its group looked like from outside."""
    loaded = config.parse(TEXT.format(job=job, limits=limits), "f.yml")
    groups.adopt(loaded)
    ledger = books.open_books(loaded)
    supervisor = Supervisor(ledger, 1, cgroups=groups)
    entry = ledger.probes["d", "p"]
    said: list[str] = []
    task = asyncio.create_task(supervisor.run(loaded.disks[0], entry, on_messages=said.extend))
    group = SERVICE / "job-d+p"
    seen: dict[str, Any] = {}
    while not task.done():
        await asyncio.sleep(0.1)
        if entry.live is not None and entry.live.first_io_ns:
            for name in ("io.max", "memory.max", "pids.max"):
                seen.setdefault(name, (group / name).read_text().strip())
    result = await task
    for _ in range(100):
        if not group.exists():
            break
        await asyncio.sleep(0.05)
    return {
        **seen,
        "message": result.message,
        "said": said,
        "ios": result.page.counter(Counter.IOS, READ),
        "is_removed": not group.exists(),
    }


async def killed(groups: Cgroups) -> bool:
    """Whether what has left its session is reached by the kill of its group."""
    group = SERVICE / "job-d+p"
    group.mkdir()
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    (group / "cgroup.procs").write_text(str(child.pid))
    is_told = await groups.kill("d", "p")
    ended = child.wait(10) == -9
    groups.discard("d", "p")
    await asyncio.sleep(1)
    return is_told and ended and not group.exists()


def start_beside_a_left_over_child() -> list[Any]:
    """Whether systemd could put an agent there while a child is held: before the unit's last command, and after."""
    child = subprocess.Popen(["sleep", "60"])
    group = SERVICE / "job-stuck+p"
    group.mkdir()
    (group / "cgroup.procs").write_text(str(child.pid))
    lines = UNIT.read_text().replace("\\\n", " ").splitlines()
    [command] = [line for line in lines if line.startswith("ExecStopPost=")]
    words = shlex.split(command.removeprefix("ExecStopPost=-").replace("%n", "iovigil.service").replace("$$", "$"))
    before = can_be_entered()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    after = can_be_entered()
    (SERVICE / "main/cgroup.procs").write_text("0")
    child.kill()
    child.wait()
    group.rmdir()
    return [before, done.stdout + done.stderr, after]


def can_be_entered() -> bool:
    try:
        (SERVICE / "cgroup.procs").write_text("0")
    except OSError:
        return False
    return True


def first_limit() -> dict[str, Any]:
    """How long the first io.max of a disk takes while a slow I/O is in flight there, and how long the next; and what a
    child does then."""
    DELAY.write_text("950000000")
    group = ROOT / "first"
    group.mkdir()
    reader = subprocess.Popen(["dd", "if=/dev/sda", "of=/dev/null", "bs=4k", "count=1", "iflag=direct"], stderr=-3)
    while not child_group.in_flight("sda", "/"):
        time.sleep(0.01)
    started = time.monotonic()
    said = list(child_group.limit_io(str(group), "riops=1000", ["/dev/sda"]))
    left_alone_s = time.monotonic() - started
    spent = []
    for value in ("riops=1000", "riops=900"):
        started = time.monotonic()
        (group / "io.max").write_text(f"8:0 {value}")
        spent.append(time.monotonic() - started)
    reader.wait()
    DELAY.write_text("0")
    (group / "io.max").write_text("8:0 riops=max")
    group.rmdir()
    return {"said": said, "left alone": left_alone_s, "first": spent[0], "next": spent[1]}


async def look() -> dict[str, Any]:
    groups = Cgroups()
    answers: dict[str, Any] = {"first limit": first_limit()}
    await groups.settle()
    answers["controllers"] = sorted(groups.controllers)
    answers["own group"] = Path("/proc/self/cgroup").read_text().strip()
    answers["free"] = await run(groups, JOB)
    answers["limited"] = await run(groups, JOB, "riops: 50")
    answers["bytes"] = await run(groups, JOB.replace("4k", "64k"), "rbps: 1MiB, memory: 96MiB, pids: 40")
    answers["paced"] = await run(groups, f"{JOB}, rate_iops: 100")
    answers["killed"] = await killed(groups)
    answers["left over"] = start_beside_a_left_over_child()
    await groups.settle()  # as the next agent does
    answers["again"] = await run(groups, JOB, "riops: 50")
    return answers


def main() -> None:
    end_s = time.monotonic() + 10
    while not Path("/dev/sda").exists() and time.monotonic() < end_s:
        time.sleep(0.1)
    become_a_service()
    json.dump(asyncio.run(look()), sys.stdout)


if __name__ == "__main__":
    main()

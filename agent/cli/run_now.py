"""`iovigil run-now`: has a running agent start a probe on a disk at once, whatever the plan says."""

import argparse
import asyncio
import sys
import time
from typing import Any, Final

from iovigil.agent.cli.asking import RunningAgent, Unanswered, asked
from iovigil.agent.cli.asking import add_arguments as add_agent_arguments

NAME: Final = "run-now"
HELP: Final = "have a running agent start a probe at once, whatever the plan says"

ASLEEP: Final = "standby"
"""The reason of a start that was not made for that."""
POLL_S: Final = 0.5
GRACE_S: Final = 15.0
"""Beyond the probe's own timeout, within which the agent gives it up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("disk", metavar="DISK", help="name of the disk")
    parser.add_argument("probe", metavar="PROBE", help="name of the probe")
    parser.add_argument("--wait", action="store_true", help="wait for its end; the exit status is 1 where it failed")
    add_agent_arguments(parser)


def main(args: argparse.Namespace) -> int:
    async def work(agent: RunningAgent) -> int:
        before = await standing(agent, args.disk, args.probe) if args.wait else None
        await agent.post("/run", disk=args.disk, probe=args.probe)
        print(f"started: {args.probe} on {args.disk}")
        return 0 if before is None else await outcome(agent, args.disk, args.probe, before)

    return asked(args, work)


async def standing(agent: RunningAgent, disk: str, probe: str) -> Any:
    """How the probe stands on the disk; None where there is none, of which the order to run it tells."""
    disks = (await agent.get("/disks"))["disks"]
    found = [each for one in disks if one["name"] == disk for each in one["probes"] if each["probe"] == probe]
    return found[0] if found else {"runs": 0, "timeout_s": 0.0, "state": "", "skips": {}}


async def outcome(agent: RunningAgent, disk: str, probe: str, before: Any) -> int:
    deadline_s = before["timeout_s"] + GRACE_S
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        await asyncio.sleep(POLL_S)
        now = await standing(agent, disk, probe)
        if now["runs"] > before["runs"]:
            return tell(now["last_run"])
        # By their number, not by the last one: planned starts of the probe are skipped while this run is under way.
        if now["skips"].get(ASLEEP, 0) > before["skips"].get(ASLEEP, 0):
            text = "the disk is in standby, and was left asleep; `wake` of its entry has it woken for probes"
            raise Unanswered(f"{probe} on {disk} did not run: {text}")
        if now["state"] == "stuck" != before["state"]:  # a trial of a disk that hung shows as stuck until its end
            raise Unanswered(f"{probe} on {disk} hangs: {now['reason']}")
    raise Unanswered(f"{probe} on {disk} has not ended within {deadline_s:g} s: see iovigil status")


def tell(run: Any) -> int:
    if run["failure"]:
        print(f"failed ({run['failure']}): {run['message']}", file=sys.stderr)
        return 1
    latency = [f"{name} p99 {values['0.99'] * 1e3:.2f} ms" for name, values in run["latency_s"].items()]
    print("; ".join([f"ok in {run['duration_s']:.1f} s", *latency]))
    return 0

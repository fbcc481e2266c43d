"""`iovigil status`: what a running agent does, as its status page has it."""

import argparse
import json
import time
from typing import Any, Final

from rich.text import Text

from iovigil.agent.cli.asking import RunningAgent, asked
from iovigil.agent.cli.asking import add_arguments as add_agent_arguments
from iovigil.agent.cli.pause import spell
from iovigil.agent.cli.report import new_table, open_console, say

NAME: Final = "status"
HELP: Final = "show what a running agent does: what runs, waits, is paused or stuck"

COLUMNS: Final = ("disk", "probe", "state", "why", "last run", "next")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, as GET /api/v1/disks has it")
    add_agent_arguments(parser)


def main(args: argparse.Namespace) -> int:
    async def work(agent: RunningAgent) -> int:
        disks = await agent.get("/disks")
        if args.json:
            print(json.dumps(disks, indent=2))
        else:
            show(await agent.get("/agent"), disks["disks"], (await agent.get("/schedule"))["pauses"])
        return 0

    return asked(args, work)


def show(agent: Any, disks: list[Any], pauses: list[Any]) -> None:
    console, now_unix = open_console(), time.time()
    states = ", ".join(f"{number} {state}" for state, number in agent["states"].items() if number)
    say(console, f"iovigil {agent['version']} on {agent['host']}, up {ago(now_unix - agent['started_unix'])}: {states}")
    if not agent["last_reload_successful"]:
        say(console, "the last reload was refused: the configuration in force is an older one")
    for pause in pauses:
        say(console, f"paused: {spell(pause)}")
    table = new_table(console, "", COLUMNS)
    for disk in disks:
        for probe in disk["probes"]:
            table.add_row(*map(Text, row(disk["name"], probe, now_unix)))
    console.print(table)


def row(disk: str, probe: Any, now_unix: float) -> tuple[str, ...]:
    run = probe["last_run"]
    last = f"{run['failure'] or 'ok'}, {ago(now_unix - run['ended_unix'])} ago" if run else ""
    ahead = f"in {ago(probe['next_unix'] - now_unix)}" if probe["next_unix"] else ""
    return disk, probe["probe"], probe["state"], probe["reason"], last, ahead


def ago(time_s: float) -> str:
    """A time in the two greatest units."""
    left = max(round(time_s), 0)
    parts: list[str] = []
    for unit, unit_s in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, unit_s)
        if number or (unit == "s" and not parts):
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])

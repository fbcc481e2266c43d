"""`iovigil resume`: undoes a pause, and has a disk in quarantine tried at once."""

import argparse
import sys
from fnmatch import fnmatchcase
from typing import Final

from iovigil.agent.cli.asking import RunningAgent, asked
from iovigil.agent.cli.asking import add_arguments as add_agent_arguments
from iovigil.agent.cli.pause import add_name_arguments, spell

NAME: Final = "resume"
HELP: Final = "undo a pause, and have a disk in quarantine tried at once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name_arguments(parser)
    add_agent_arguments(parser)


def main(args: argparse.Namespace) -> int:
    return asked(args, lambda agent: resume(agent, args.disk, args.probe))


async def resume(agent: RunningAgent, disk: str, probe: str) -> int:
    """Undo it, and tell what came of that. Raises Unanswered."""
    before, alone = (await agent.get("/schedule"))["pauses"], await releasable(agent)
    after = (await agent.post("/resume", disk=disk, probe=probe))["pauses"]
    gone = [pause for pause in before if pause not in after]
    # They are in quarantine until they have been tried, so that afterwards nothing looks different yet.
    released = [name for name in alone if fnmatchcase(name, disk)] if probe == "*" else []
    for pause in gone:
        print(f"resumed: {spell(pause)}")
    for name in released:
        print(f"tried at once: {name}, which is in quarantine until it answers")
    if not gone and not released:
        print("nothing is paused by these words, or by less; nothing of it is in quarantine", file=sys.stderr)
    for pause in after:
        print(f"still paused: {spell(pause)}")
    return 0


async def releasable(agent: RunningAgent) -> list[str]:
    """The disks in quarantine, but for those that a child holds."""
    disks = (await agent.get("/disks"))["disks"]
    return [disk["name"] for disk in disks if disk["is_quarantined"] and disk["held_by"] is None]

"""`iovigil resume`: undoes a pause."""

import argparse
import sys
from typing import Final

from iovigil.agent.cli.asking import RunningAgent, asked
from iovigil.agent.cli.asking import add_arguments as add_agent_arguments
from iovigil.agent.cli.pause import add_name_arguments, spell

NAME: Final = "resume"
HELP: Final = "undo a pause"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name_arguments(parser)
    add_agent_arguments(parser)


def main(args: argparse.Namespace) -> int:
    async def work(agent: RunningAgent) -> int:
        before = (await agent.get("/schedule"))["pauses"]
        after = (await agent.post("/resume", disk=args.disk, probe=args.probe))["pauses"]
        gone = [pause for pause in before if pause not in after]
        for pause in gone:
            print(f"resumed: {spell(pause)}")
        if not gone:
            print("no pause is of these words, or of less", file=sys.stderr)
        for pause in after:
            print(f"still paused: {spell(pause)}")
        return 0

    return asked(args, work)

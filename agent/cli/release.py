"""`iovigil release`: gives up a region of a raw device; from then on no job writes there."""

import argparse
import sys
from typing import Final

from iovigil.agent.cli.claim import add_disk_arguments, asked, declared_region
from iovigil.agent.config import load
from iovigil.agent.disks import possession, selection
from iovigil.agent.disks.refusal import Refused

NAME: Final = "release"
HELP: Final = "give up the region of a raw device that was claimed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_disk_arguments(parser)


def main(args: argparse.Namespace) -> int:
    def act() -> str:
        possession.release(disk.name, disk.device, declared)
        return "released"

    try:
        disk, declared = declared_region(selection.expand(load(args.config)), args.disk)
        asked(act)
    except Refused as reason:
        print(f"not released: {reason}", file=sys.stderr)
        return 1
    print(f"released: no job writes to {disk.name} any more; what was written in its region stays as it is")
    return 0

"""`iovigil claim`: takes the region that a configuration declares on a raw device, and erases what is there."""

import argparse
import sys
from collections.abc import Callable
from typing import Final

from iovigil.agent.config import Config, DiskSettings, load
from iovigil.agent.disks import inquiry, possession, selection
from iovigil.agent.disks.refusal import Refused
from iovigil.agent.disks.region import bytes_of_jobs

NAME: Final = "claim"
HELP: Final = "take the region that the configuration declares on a raw device; what is there is lost"

ANSWER_S: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_disk_arguments(parser)
    parser.add_argument(
        "--yes-erase", metavar="NAME", help="the disk's name once more, instead of being asked for it on the terminal"
    )


def add_disk_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("disk", metavar="DISK", help="name of the disk in the configuration")
    parser.add_argument("--config", required=True, metavar="FILE", help="the configuration that declares the region")


def main(args: argparse.Namespace) -> int:
    try:
        disk, declared = declared_region(selection.expand(load(args.config)), args.disk)
        found = asked(lambda: possession.prospect(disk.name, disk.device, declared))
        if not found:
            print(f"{disk.name} is claimed already: {disk.device}")
            return 0
        print(
            f"{found}\nWhat is there will be overwritten, now by a header of 4 KiB and then by the jobs of the agent."
        )
        confirm(disk.name, args.yes_erase)
        asked(lambda: str(possession.claim(disk.name, disk.device, declared)))
    except Refused as reason:
        print(f"not claimed: {reason}", file=sys.stderr)
        return 1
    first, size = bytes_of_jobs(declared)
    print(f"claimed: jobs may write to {disk.name} from byte {first} to {first + size - 1}")
    return 0


def declared_region(loaded: Config, name: str) -> tuple[DiskSettings, tuple[int, int]]:
    """The disk of that very name, with its region. Raises Refused."""
    disk = next((disk for disk in loaded.disks if disk.name == name), None)
    if disk is None:
        raise Refused(f"{loaded.source} has no disk {name}: there are {', '.join(each.name for each in loaded.disks)}")
    if disk.region is None:
        what = "a device without a region" if disk.device else "a probe file, which needs no claim"
        raise Refused(
            f"{loaded.source}: {name} is {what}; a region is declared as region: {{offset: 1GiB, size: 8GiB}}"
        )
    return disk, (disk.region.offset, disk.region.size)


def confirm(name: str, given: str | None) -> None:
    """Raise Refused unless the disk's name is given a second time, to the letter."""
    if given is None:
        try:
            given = input(f"Type the name of the disk to go on ({name}): ")
        except EOFError:
            raise Refused("nobody confirmed it; without a terminal use --yes-erase NAME") from None
    if given != name:
        raise Refused(f"{given!r} is not the name of the disk, {name!r}; nothing was written")


def asked(act: Callable[[], str]) -> str:
    """What an act on a device returns, done in a process of its own: the device may hang. Raises Refused."""

    def question() -> list[str]:
        try:
            return ["", act()]
        except Refused as reason:
            return [str(reason), ""]
        except OSError as problem:
            return [f"{problem.filename or 'the device'}: {problem.strerror}", ""]

    answers = inquiry.ask({"act": question}, ANSWER_S)
    if "act" not in answers:
        raise Refused(f"no answer in {ANSWER_S:g} s")
    refused, answer = answers["act"] or ("the check itself failed", "")
    if refused:
        raise Refused(refused)
    return str(answer)

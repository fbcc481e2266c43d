"""`iovigil disks`: what disks there are, and what the guard says of each and why."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from iovigil.agent import order, roster
from iovigil.agent.cli import selections
from iovigil.agent.config import Config, DiskSettings, load
from iovigil.agent.disks import (
    candidates,
    claims,
    guard,
    identity,
    inquiry,
    inventory,
    possession,
    selection,
    standby,
    sysfs,
)
from iovigil.agent.disks.inventory import Resolved
from iovigil.agent.disks.layout import readable
from iovigil.agent.disks.refusal import Refused
from iovigil.agent.disks.selection import Choice
from iovigil.engines.options import JobOptions

NAME: Final = "disks"
HELP: Final = "show the disks, and what the guard says of each and why"

ANSWER_S: Final = 2.0
ASLEEP: Final = "asleep"

COLUMNS: Final = {
    "NAME": "name",
    "DEVICE": "device",
    "SIZE": "size",
    "MODEL": "model",
    "SERIAL": "serial",
    "TRANSPORT": "transport",
    "ROTATIONAL": "rotational",
    "SCHEDULER": "scheduler",
    "POWER": "power",
    "USED BY": "used_by",
    "GUARD": "guard",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="show the disks of this configuration instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--why", action="store_true", help="with CONFIG: only what each entry selects, and why not the rest"
    )


def main(args: argparse.Namespace) -> int:
    if args.why and not args.config:
        print("--why is about the entries of a CONFIG", file=sys.stderr)
        return 2
    if args.config:
        written = load(args.config)
        found = candidates.all_candidates() if written.selectors else []
        choices = selection.choose(written, found)
        if args.why:
            return print_choices(written, choices, is_json=args.json)
        report = of_configuration(roster.expected(written, found).disks)
    else:
        written, choices, report = None, [], of_machine()
    if args.json:
        print(json.dumps(report, indent=2))
    elif report:
        print("\n".join(table(report)))
    else:
        print("no disks", file=sys.stderr)
    if written is not None and written.selectors and not args.json:
        print("\n".join(selections.lines(written, choices)))
    return 0


def print_choices(written: Config, choices: Sequence[Choice], *, is_json: bool) -> int:
    text = json.dumps(selections.report(written, choices), indent=2)
    print(text if is_json else "\n".join(selections.lines(written, choices)).lstrip("\n"))
    return 0


def of_machine() -> list[dict[str, Any]]:
    """One entry for every block device of the machine."""
    found = inventory.all_disks()
    return judged([(disk, question_about_device(f"/dev/{disk.device.replace('!', '/')}")) for disk in found])


def of_configuration(disks: Sequence[DiskSettings]) -> list[dict[str, Any]]:
    """One entry for every disk of a configuration."""
    return judged([(inventory.resolve(disk), question_about(disk)) for disk in disks])


def verdicts_on(disks: Sequence[DiskSettings]) -> dict[str, str]:
    """What the guard says of the disks of a configuration, by their names."""
    return {each["name"]: each["guard"] for each in of_configuration(disks)}


def question_about(disk: DiskSettings) -> Callable[[], str]:
    if disk.region is not None:
        return question_about_region(disk, (disk.region.offset, disk.region.size))
    return question_about_device(disk.device) if disk.device else question_about_file(disk)


def judged(disks: Sequence[tuple[Resolved, Callable[[], str]]]) -> list[dict[str, Any]]:
    """The entries, once the guard was asked about every disk that is there."""
    questions = {disk.name: left_asleep(disk.device, question) for disk, question in disks if disk.is_present}
    answers = inquiry.ask(questions, ANSWER_S)
    late = ["unknown", f"no answer in {ANSWER_S:g} s"]
    failed = ["unknown", "the check itself failed"]
    return [entry(disk, *(answers.get(disk.name, late) or failed)) for disk, _ in disks]


def left_asleep(device: str, question: Callable[[], str]) -> Callable[[], list[str]]:
    """The question, but to a disk that sleeps; with how it was found."""

    def ask() -> list[str]:
        power = power_of(device) if device else ""
        if power.startswith(ASLEEP):
            return [power, f"not asked: {power}"]
        return [power, question()]

    return ask


def power_of(device: str) -> str:
    """Whether the disks below a device are awake, as far as they say; empty where that is no question."""
    if reason := standby.asleep(device):
        return f"{ASLEEP}: {reason}"
    below = [disk for disk in standby.disks_below(device) if disk.startswith("sd")]
    try:
        for disk in below:
            standby.of_disk(disk)
    except standby.DoesNotSay as reason:
        return f"unknown: {reason}"
    return "awake" if below else ""


def question_about_device(path: str) -> Callable[[], str]:
    def verdict() -> str:
        reasons = claims.inspect(path)
        return f"read only: {'; '.join(reasons)}" if reasons else "read only: no region is declared on it"

    return verdict


def question_about_region(disk: DiskSettings, declared: tuple[int, int]) -> Callable[[], str]:
    def verdict() -> str:
        try:
            return f"writable: {possession.forecast(disk.name, disk.device, declared)}"
        except Refused as reason:
            return f"read only: {reason}"
        except OSError as problem:
            return f"read only: {disk.device}: {problem.strerror}"

    return verdict


def question_about_file(disk: DiskSettings) -> Callable[[], str]:
    wanted = order.target(disk, JobOptions(rw="rw"), is_probe_file=True)

    def verdict() -> str:
        try:
            return f"probe file {guard.forecast(wanted)}"
        except Refused as reason:
            return f"refused: {reason}"
        except OSError as problem:
            return f"refused: {disk.file}: {problem.strerror}"

    return verdict


def entry(disk: Resolved, power: str, verdict: str) -> dict[str, Any]:
    return {
        "name": disk.name,
        "is_present": disk.is_present,
        "device": disk.device,
        "major_minor": disk.major_minor,
        "size_bytes": disk.size_bytes,
        "identity": disk.identity,
        "scheduler": identity.scheduler(disk.device) if disk.device else "",
        "power": power if disk.is_present else "",
        "used_by": users(disk.device) if disk.device else [],
        "guard": verdict if disk.is_present else f"absent: {disk.reason}",
    }


def users(device: str) -> list[str]:
    """Mount points of a device, devices built on it, swap."""
    swap = ["swap"] if device in claims.swaps() else []
    return claims.mount_points(device) + sysfs.holders(device) + swap


def table(report: Sequence[dict[str, Any]]) -> list[str]:
    """The entries in columns; a value that is not known is a dash."""
    rows = [list(COLUMNS)] + [[cell(entry, column) for column in COLUMNS.values()] for entry in report]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def cell(entry: dict[str, Any], column: str) -> str:
    if column == "size":
        text = readable(entry["size_bytes"]) if entry["size_bytes"] else ""
    elif column == "used_by":
        text = " ".join(entry["used_by"])
    elif column in entry:
        text = entry[column]
    else:
        text = entry["identity"][column]
    if column == "power":
        text = text.partition(":")[0]
    return text or "-"

"""`iovigil mismatches`: the last blocks that failed verification, from the agent's history."""

import argparse
import json
import sys
from datetime import datetime
from typing import Any, Final

from iovigil.agent import history
from iovigil.agent.config import DEFAULT_CONFIG, load
from iovigil.agent.history import HistoryUnusable, Mismatched

NAME: Final = "mismatches"
HELP: Final = "show the last blocks that failed verification"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--config", metavar="FILE", default=DEFAULT_CONFIG, help="the agent's configuration (%(default)s)"
    )
    source.add_argument("--state-directory", metavar="DIR", help="where the agent keeps its history, in place of that")
    parser.add_argument("--disk", metavar="NAME", default="", help="those of this disk alone")
    parser.add_argument("--last", metavar="N", type=count, default=-1, help="no more than the last N")
    parser.add_argument("--json", action="store_true", help="print JSON")


def count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of mismatches: 1 or more")
    return number


def main(args: argparse.Namespace) -> int:
    path = history.database(args.state_directory or load(args.config).agent.state_directory)
    try:
        found = history.mismatches(path, args.disk, args.last)
    except HistoryUnusable as reason:
        print(reason, file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([as_json(row) for row in found], indent=2))
    elif found:
        print("\n".join(map(line, found)))
    else:
        of_disk = f" of disk {args.disk}" if args.disk else ""
        print(f"no mismatches{of_disk} are known", file=sys.stderr)
    return 0


def as_json(row: Mismatched) -> dict[str, Any]:
    """A mismatch by the names of the history; what is not known is null."""
    return {**row._asdict(), "dumps": row.dumps.splitlines()}


def line(row: Mismatched) -> str:
    when = datetime.fromtimestamp(row.found_unix).astimezone().isoformat(" ", "seconds")
    return f"{when}  {row.probe}: {row.text}"

"""`iovigil history`: the runs that the agent remembers."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from iovigil.agent import history
from iovigil.agent.config import DEFAULT_CONFIG, load
from iovigil.agent.history import History, HistoryUnusable
from iovigil.agent.run_record import RunRecord

NAME: Final = "history"
HELP: Final = "show the last runs, or all that is known of one"

LAST: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--config", metavar="FILE", default=DEFAULT_CONFIG, help="the agent's configuration (%(default)s)"
    )
    source.add_argument("--state-directory", metavar="DIR", help="where the agent keeps its history, in place of that")
    parser.add_argument("--disk", metavar="NAME", help="runs on this disk alone")
    parser.add_argument("--probe", metavar="NAME", help="runs of this probe alone")
    parser.add_argument("--failed", action="store_true", help="runs that failed alone")
    parser.add_argument(
        "--last", metavar="N", type=positive, default=LAST, help="no more than the last N runs (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("show", nargs="?", choices=["show"], help="all of one run, by its ID")
    parser.add_argument("id", nargs="?", metavar="ID", type=positive)


def positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return number


def main(args: argparse.Namespace) -> int:
    if args.show and args.id is None:
        print("iovigil history show: give the ID of a run, which `iovigil history` lists first", file=sys.stderr)
        return 2
    path = history.database(args.state_directory or load(args.config).agent.state_directory)
    try:
        return show(History(path), args) if args.show else overview(History(path), args)
    except HistoryUnusable as reason:
        print(reason, file=sys.stderr)
        return 1


def overview(runs: History, args: argparse.Namespace) -> int:
    found = runs.latest(args.disk, args.probe, args.last, is_failed=args.failed)[::-1]
    if args.json:
        print(json.dumps([as_json(record) for record in found], indent=2))
    elif found:
        print("\n".join(map(line, found)))
    else:
        print("no such runs are known", file=sys.stderr)
    return 0


def show(runs: History, args: argparse.Namespace) -> int:
    record = runs.run(args.id)
    if record is None:
        print(f"run {args.id} is not known: it was never there, or is forgotten by now", file=sys.stderr)
        return 1
    print(json.dumps(as_json(record), indent=2) if args.json else "\n".join(details(record)))
    return 0


def as_json(record: RunRecord) -> dict[str, Any]:
    """A run by the names of RunRecord."""
    return dataclasses.asdict(record)


def line(record: RunRecord) -> str:
    outcome = f"{record.failure}: {record.message}" if record.failure else summary(record)
    when = at(record.started_unix)
    return f"{record.id:>6}  {when}  {record.duration_s:7.1f} s  {record.probe} on {record.disk}: {outcome}"


def summary(record: RunRecord) -> str:
    parts = [
        f"{name} {record.ios.get(name, 0)} I/Os, p99 {spell(quantiles['0.99'])}"
        for name, quantiles in record.latency_s.items()
    ]
    return "; ".join(["ok", *parts])


def details(record: RunRecord) -> Iterator[str]:
    yield f"run        {record.id}: {record.name}"
    yield f"started    {at(record.started_unix)}, took {record.duration_s:.3f} s, engine {record.engine}"
    yield f"outcome    {record.failure or 'ok'}{f': {record.message}' if record.message else ''}"
    if record.exit_status is not None:
        yield f"exit       status {record.exit_status}"
    if record.signal is not None:
        yield f"exit       signal {record.signal}"
    yield f"options    {' '.join(f'--{name}={value}' for name, value in record.options.items())}"
    for name, ios in record.ios.items():
        errors = f", {record.errors[name]} errors" if name in record.errors else ""
        yield f"{name:<10} {ios} I/Os, {record.bytes.get(name, 0)} bytes{errors}"
        if name in record.latency_s:
            quantiles = ", ".join(f"{q} {spell(value)}" for q, value in record.latency_s[name].items())
            yield f"           latency: {quantiles}"
    if record.errnos:
        yield f"errors     {', '.join(f'{number} {name}' for name, number in record.errnos.items())}"
    if record.verified_bytes:
        yield f"verified   {record.verified_bytes} bytes"
    if record.mismatches:
        found = ", ".join(f"{number} {kind}" for kind, number in record.mismatches.items())
        yield f"mismatches {found}; `iovigil mismatches --disk {record.disk}` has the blocks"
    for message in record.messages:
        yield f"said       {message}"


def at(unix: float) -> str:
    return datetime.fromtimestamp(unix).astimezone().isoformat(" ", "seconds")


def spell(time_s: float) -> str:
    if time_s >= 1:
        return f"{time_s:.2f} s"
    return f"{1e3 * time_s:.2f} ms" if time_s >= 1e-3 else f"{1e6 * time_s:.0f} us"

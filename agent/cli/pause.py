"""`iovigil pause`: has a running agent start nothing of some probes on some disks."""

import argparse
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from iovigil.agent.cli.asking import RunningAgent, asked
from iovigil.agent.cli.asking import add_arguments as add_agent_arguments
from iovigil.agent.config.kinds import read_interval_s

NAME: Final = "pause"
HELP: Final = "have a running agent start nothing of some probes on some disks"

TIME_OF_DAY: Final = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name_arguments(parser)
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--for", metavar="TIME", dest="for_s", type=interval, help="how long, such as 2h or 3d")
    end.add_argument("--until", metavar="TIME", type=instant, help="till when: 22:00, 2026-12-24 or '2026-12-24 08:00'")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for whoever finds it paused")
    add_agent_arguments(parser)


def add_name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("disk", metavar="DISK", nargs="?", default="*", help="name or pattern of disks; all without it")
    parser.add_argument(
        "probe", metavar="PROBE", nargs="?", default="*", help="name or pattern of probes; all without it"
    )


def interval(text: str) -> float:
    try:
        return read_interval_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def instant(text: str, now: datetime | None = None) -> float:
    """The next such time of day, or a date with or without one, by the clock of this host."""
    now = now or datetime.now()
    try:
        if TIME_OF_DAY.fullmatch(text):
            hour, minute = map(int, text.split(":"))
            today = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour, minutes=minute)
            return (today if today > now else today + timedelta(days=1)).timestamp()
        found = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        reason = f"{text!r} is not a time such as 22:00, 2026-12-24 or '2026-12-24 08:00'"
        raise argparse.ArgumentTypeError(reason) from None
    if found <= now.timestamp():
        raise argparse.ArgumentTypeError(f"{text} has passed")
    return found


def main(args: argparse.Namespace) -> int:
    async def work(agent: RunningAgent) -> int:
        until_unix = time.time() + args.for_s if args.for_s else args.until
        order = {"disk": args.disk, "probe": args.probe, "reason": args.reason, "until_unix": until_unix}
        answer = await agent.post("/pause", **order)
        for pause in answer["pauses"]:
            print(f"paused: {spell(pause)}")
        return 0

    return asked(args, work)


def spell(pause: Mapping[str, Any]) -> str:
    probe = "every probe" if pause["probe"] == "*" else pause["probe"]
    disk = "every disk" if pause["disk"] == "*" else pause["disk"]
    until = f" until {at(pause['until_unix'])}" if pause["until_unix"] else ""
    reason = f": {pause['reason']}" if pause["reason"] else ""
    return f"{probe} on {disk}{until}{reason}"


def at(unix: float) -> str:
    return datetime.fromtimestamp(unix).strftime("%F %T")

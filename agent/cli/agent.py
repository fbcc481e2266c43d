"""`iovigil agent`: watch the disks of a configuration until told to stop."""

import argparse
import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from iovigil.agent import heap, journal
from iovigil.agent.config import DEFAULT_CONFIG, Config, load
from iovigil.agent.config.embedded import embedded
from iovigil.agent.daemon import CannotServe, Daemon
from iovigil.agent.state import StateLock, StateTaken

NAME: Final = "agent"
HELP: Final = "watch the disks of a configuration and serve metrics"

EMBEDDED_STATE: Final = Path(".iovigil")
LAST_RESORT_S: Final = 4.5
LEVELS: Final = ("debug", "info", "warning", "error")

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", metavar="FILE", default=DEFAULT_CONFIG, help="configuration (%(default)s)")
    source.add_argument(
        "--embedded", action="store_true", help="use a built-in configuration: two probes on one scratch file"
    )
    parser.add_argument("--state-directory", metavar="DIR", help="in place of agent.state_directory")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", action="append", help="in place of agent.listen; may be given several times"
    )
    parser.add_argument(
        "--web.config.file", metavar="FILE", dest="web_config_file", help="in place of agent.web.config_file"
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="least important messages (%(default)s)")


def main(args: argparse.Namespace) -> int:
    heap.bound()
    load_config = loader(args)
    config = load_config()
    writer = journal.start(logging.getLevelNamesMapping()[args.log_level.upper()])
    try:
        with StateLock(config.agent.state_directory):
            asyncio.run(Daemon(load_config, config).run(announce, arm_last_resort))
    except (StateTaken, CannotServe) as error:
        log.error("%s", error)
        return 1
    finally:
        writer.stop()
    return 0


def loader(args: argparse.Namespace) -> Callable[[], Config]:
    """What reads the configuration, at the start and at each reload, with the command line's word on top."""

    def read() -> Config:
        given: dict[str, Any] = {}
        if args.state_directory:
            given["state_directory"] = str(Path(args.state_directory).absolute())
        if args.listen:
            given["listen"] = tuple(args.listen)
        directory = given.get("state_directory", str(EMBEDDED_STATE.absolute()))
        config = embedded(directory) if args.embedded else load(args.config)
        if args.web_config_file:
            web_file = str(Path(args.web_config_file).absolute())
            given["web"] = msgspec.structs.replace(config.agent.web, config_file=web_file)
        return msgspec.structs.replace(config, agent=msgspec.structs.replace(config.agent, **given))

    return read


def announce(url: str) -> None:
    if journal.is_connected(sys.stdout.fileno()):
        return  # the log says it there
    # One write: an unbuffered print would let a log line in before the end of its own.
    sys.stdout.write(f"iovigil is running: {url}/metrics\n")
    sys.stdout.flush()


def arm_last_resort() -> None:
    """End the process in any case: a thread or a call that hangs must not make systemd wait."""
    timer = threading.Timer(LAST_RESORT_S, os._exit, (0,))
    timer.daemon = True
    timer.start()
    sys.stdout.flush()

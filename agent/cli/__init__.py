"""`iovigil`: the one entry point; finds the subcommand and turns what went wrong into a line and a status."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Final

import iovigil

# A subcommand's module is imported when it is asked for: `iovigil run` needs no HTTP server.
COMMANDS: Final = {
    "agent": ("iovigil.agent.cli.agent", "watch the disks of a configuration and serve metrics"),
    "run": ("iovigil.agent.cli.run", "run one job on one target, from options in fio's spelling"),
    "check-config": ("iovigil.agent.cli.check_config", "say what is wrong with a configuration, or what it would do"),
    "disks": ("iovigil.agent.cli.disks", "list this host's disks and what may be done to them"),
    "claim": ("iovigil.agent.cli.claim", "take the region declared on a raw device; what is there is lost"),
    "release": ("iovigil.agent.cli.release", "give up the region of a raw device that was claimed"),
    "status": ("iovigil.agent.cli.status", "show what a running agent does: what runs, waits, is paused or stuck"),
    "pause": ("iovigil.agent.cli.pause", "have a running agent start nothing of some probes on some disks"),
    "resume": ("iovigil.agent.cli.resume", "undo a pause, and have a disk in quarantine tried at once"),
    "run-now": ("iovigil.agent.cli.run_now", "have a running agent start a probe at once, whatever the plan says"),
    "history": ("iovigil.agent.cli.history", "show the last runs, or all that is known of one"),
    "mismatches": ("iovigil.agent.cli.mismatches", "show the last blocks that failed verification"),
}

EXIT_ERROR: Final = 1
EXIT_INTERNAL: Final = 70  # EX_SOFTWARE
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell reports it
EXIT_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE


def parser_for(wanted: str | None) -> argparse.ArgumentParser:
    """A parser that knows all subcommands by name and the wanted one in full."""
    parser = argparse.ArgumentParser(prog="iovigil", description=iovigil.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"iovigil {iovigil.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module_name, text) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=f"{text.capitalize()}.", allow_abbrev=False)
        if name == wanted:
            module = importlib.import_module(module_name)
            module.add_arguments(subparser)
            subparser.set_defaults(module=module)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return call(arguments)
        finally:
            sys.stdout.flush()  # here, where a reader that has gone away is no error
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at its end: that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception as error:  # the outermost loop of the process
        return explain(error)


def call(arguments: list[str]) -> int:
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    args = parser_for(wanted).parse_args(arguments)
    module: ModuleType = args.module
    return int(module.main(args))


def explain(error: Exception) -> int:
    """Print what went wrong, for the user if it is theirs to mend; the exit status."""
    from iovigil.agent.config import ConfigError

    if isinstance(error, ConfigError):
        print(error, file=sys.stderr)
        return EXIT_ERROR
    print(f"iovigil: internal error: {type(error).__name__}: {error}; please report", file=sys.stderr)
    if os.environ.get("IOVIGIL_DEBUG") == "1":
        traceback.print_exception(error)
    return EXIT_INTERNAL

"""`iovigil run`: one job on one target, from options in fio's spelling, now."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console

from iovigil.agent import order
from iovigil.agent.config import DiskSettings
from iovigil.agent.fio import command_line, json_output, summary, usage
from iovigil.agent.fio.command_line import Command, CommandLineError
from iovigil.agent.fio.progress import ProgressLine
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry, RunResult
from iovigil.agent.order import NO_TARGET_ENGINES
from iovigil.agent.supervisor import Supervisor

NAME: Final = "run"
HELP: Final = "run one job on one device or file, from options in fio's spelling"

INTERRUPTED: Final = 128  # fio's status after SIGINT and SIGTERM, whatever the job achieved
PROGRESS_INTERVAL_S: Final = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # In fio's spelling the order of options means something (--name begins a job), which argparse does not keep.
    # Without prefix characters it takes every word as it stands, --help included.
    parser.prefix_chars = "\0"
    parser.add_argument("words", nargs=argparse.REMAINDER)


def main(args: argparse.Namespace) -> int:
    try:
        if command_line.asks_for_help(args.words):
            print(usage.answer(args.words), end="")
            return 0
        command = command_line.parse(args.words)
        for warning in command.warnings:
            complain(warning)
        refuse_unfinished(command)
        if command.showcmd:
            print(command_line.shown(command))
        if command.showcmd or command.parse_only:
            return 0
        with output_of(command) as output:
            result, is_interrupted = asyncio.run(OneRun(command).conduct())
            report(command, result, output)
    except CommandLineError as error:
        complain(str(error))
        return 1
    if is_interrupted:
        return INTERRUPTED
    return 0 if result.is_success else 1


def refuse_unfinished(command: Command) -> None:
    """Refuse what can be asked for and is not done yet. Raises CommandLineError."""
    if command.showcmd or command.parse_only:
        return
    options = command.jobs[0].options
    if len(command.jobs) > 1 or options.numjobs > 1:
        raise CommandLineError("--name: more than one job at a time is not supported yet")
    if len(command.output_formats) > 1 or "terse" in command.output_formats:
        raise CommandLineError("--output-format: terse, and more than one, are not supported yet")
    if options.ioengine not in NO_TARGET_ENGINES and len(options.filename) != 1:
        raise CommandLineError("--filename is missing: it names the one device or file to work on")


def filename_of(command: Command) -> str:
    return (*command.jobs[0].options.filename, "")[0]


class OneRun:
    """A run on the agent's own road, with a supervisor that has nothing else to do."""

    def __init__(self, command: Command) -> None:
        options = command.jobs[0].options
        filename = filename_of(command)
        name = filename or options.ioengine
        size = options.offset + options.size if options.size else 0
        self.command = command
        self.disk = DiskSettings(name=name, file=filename, size=size)
        self.entry = ProbeEntry(
            disk=name,
            probe=options.name,
            options=options,
            interval_s=0.0,
            timeout_s=order.timeout_s(options),
            engine=options.ioengine,
        )
        ledger = Ledger(disks={name: DiskEntry(name=name)}, probes={(name, options.name): self.entry})
        self.supervisor = Supervisor(ledger, max_workers=1)
        self.signals = 0

    async def conduct(self) -> tuple[RunResult, bool]:
        """The result, and whether a signal cut the run short."""
        # The supervisor logs for the agent's journal; here the same is said in the results and by `report`.
        logging.getLogger("iovigil").setLevel(logging.CRITICAL)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.interrupt)
        messages: list[str] = []
        run = asyncio.ensure_future(
            # No fallback: whoever names an engine wants its figures, not another's.
            self.supervisor.run(self.disk, self.entry, fallback=False, is_probe_file=False, on_messages=messages.extend)
        )
        await self.watch(run)
        result = await run
        # The message of the result repeats what the child said last.
        for message in messages:
            if not result.message or result.message not in message:
                print(message, file=sys.stderr)
        return result, self.signals > 0

    def interrupt(self) -> None:
        """End the job gracefully at the first signal, at once at the next."""
        self.signals += 1
        run = {(self.entry.disk, self.entry.probe)}
        if self.signals == 1:
            self.supervisor.request_stop(run)
        else:
            self.supervisor.kill(run)

    async def watch(self, run: asyncio.Future[RunResult]) -> None:
        """Show progress on a terminal until the run has ended."""
        console = Console(stderr=True)
        if self.command.eta == "never" or not (self.command.eta == "always" or console.is_terminal):
            await asyncio.wait([run])
            return
        with ProgressLine(self.entry.options, console) as line:
            while not (await asyncio.wait([run], timeout=PROGRESS_INTERVAL_S))[0]:
                if self.entry.live is not None:
                    line.update(self.entry.live)


@contextlib.contextmanager
def output_of(command: Command) -> Iterator[TextIO]:
    """Where results go; opened before the job starts, lest its work be lost. Raises CommandLineError."""
    if not command.output:
        yield sys.stdout
        return
    try:
        file = Path(command.output).open("w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandLineError(f"--output: {command.output}: {error.strerror}") from None
    with file:
        yield file


def report(command: Command, result: RunResult, output: TextIO) -> None:
    (output_format,) = command.output_formats
    job = command.jobs[0]
    if output_format == "normal":
        output.write(summary.render(result, filename_of(command)))
    else:
        with_bins = output_format == "json+"
        output.write(json_output.render(result, command.global_options, job.written, with_bins))
    output.flush()
    if output_format == "normal" and not command.output:
        return
    # Results that go elsewhere leave a person at the terminal, or in a log, without a word.
    if result.failure is not None:
        complain(f"{job.options.name} failed: {summary.cause(result)}")


def complain(text: str) -> None:
    for line in text.splitlines():
        print(f"iovigil run: {line}", file=sys.stderr)

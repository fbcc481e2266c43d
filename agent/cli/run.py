"""`iovigil run`: jobs from options in fio's spelling, or a job file, now."""

import argparse
import asyncio
import contextlib
import logging
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TextIO, cast

from rich.console import Console

from iovigil.agent.disks.utilisation import Utilisation, lines
from iovigil.agent.fio import bandwidth_log, command_line, json_output, summary, terse, usage
from iovigil.agent.fio.command_line import Command, CommandLineError
from iovigil.agent.fio.groups import Entry, entry_of
from iovigil.agent.fio.progress import ProgressLine
from iovigil.agent.idle_cpu import Idleness, IdleProfile, Mode, ProfileError, calibrate
from iovigil.agent.run import Tools
from iovigil.agent.session.plan import PlanError, plan
from iovigil.agent.session.session import PATIENCE, Session
from iovigil.engines.clock import Clock
from iovigil.engines.stats import Counter

NAME: Final = "run"
HELP: Final = "run jobs on devices or files, from options in fio's spelling"

INTERRUPTED: Final = 128  # fio's status after SIGINT and SIGTERM, whatever the jobs achieved
MOST_FAILURES: Final = 127  # what a shell can tell from a signal
PROGRESS_INTERVAL_S: Final = 0.25
FORMAT_ORDER: Final = ("terse", "json", "json+", "normal")  # in which fio writes several
JSON_FORMATS: Final = ("json", "json+")


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
        if command.showcmd:
            print(command_line.shown(command))
        if command.showcmd or command.parse_only:
            return 0
        if command.idle_prof == "calibrate":
            print("\n".join(asyncio.run(calibrate()).lines("calibrate")))
            return 0
        # What a job leaves behind is known by this word as the work of this session.
        plans = plan(command.jobs, secrets.token_hex(16), is_readonly=command.is_readonly)
        with output_of(command) as output:
            tools = Tools(clock=Clock(), patience=PATIENCE)
            session = Session(plans, tools, aux_path=command.aux_path)
            conduct = Conduct(command, session, output)
            asyncio.run(conduct.conduct())
            conduct.report()
    except (CommandLineError, PlanError, ProfileError) as error:
        complain(str(error))
        return 1
    if conduct.session.is_interrupted:
        return INTERRUPTED
    return min(conduct.session.failures, MOST_FAILURES)


class Conduct:
    """A session with a person or a script before it: signals, progress, results in between and at the end."""

    def __init__(self, command: Command, session: Session, output: TextIO) -> None:
        self.command = command
        self.session = session
        self.output = output
        self.intervals: list[dict[str, Any]] = []
        self._bandwidth: list[bandwidth_log.Sample] = []
        self._idleness: Idleness | None = None
        self._began_s = 0.0
        wanted = [job.plan for job in session.jobs if job.plan.options.disk_util]
        self._utilisation = Utilisation(path for plan in wanted for path in plan.paths)

    async def conduct(self) -> None:
        # Runs log for the agent's journal; here the same is said in the results and by `report`.
        logging.getLogger("iovigil").setLevel(logging.CRITICAL)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.session.interrupt)
        loop.add_signal_handler(signal.SIGUSR1, self.interim)
        self._began_s = time.monotonic()
        self.sample_bandwidth()
        profile = await self.start_profile()
        session = loop.create_task(self.session.conduct())
        tickers = [loop.create_task(ticker) for ticker in self.tickers()]
        try:
            await session
            if profile is not None:
                self._idleness = await profile.end()
        except ProfileError as error:
            raise CommandLineError(str(error)) from None
        finally:
            if profile is not None:
                await profile.close()
            for ticker in tickers:
                ticker.cancel()
            await asyncio.gather(*tickers, return_exceptions=True)

    async def start_profile(self) -> IdleProfile | None:
        """What finds out how idle the CPUs are meanwhile. Raises CommandLineError."""
        if not self.command.idle_prof:
            return None
        try:
            profile = await IdleProfile.start()
        except ProfileError as error:
            raise CommandLineError(str(error)) from None
        profile.begin()
        return profile

    def tickers(self) -> Iterator[Any]:
        """What is done every so often while the session lasts."""
        if self.command.status_interval_s:
            yield every(self.command.status_interval_s, self.interim)
        if self.command.bandwidth_log:
            yield every(bandwidth_log.INTERVAL_S, self.sample_bandwidth)
        console = Console(stderr=True)
        is_wanted = self.command.eta == "always" or (self.command.eta == "auto" and console.is_terminal)
        if is_wanted and console.is_terminal:
            yield self.show_progress(console)

    def sample_bandwidth(self) -> None:
        pages = [job.page for job in self.session.jobs]
        reads, writes, trims = (sum(page.counter(Counter.BYTES, ddir) for page in pages) for ddir in range(3))
        elapsed_ms = round((time.monotonic() - self._began_s) * 1000)
        self._bandwidth.append(bandwidth_log.Sample(elapsed_ms, (reads, writes, trims)))

    def write_bandwidth_logs(self) -> None:
        """Raises CommandLineError."""
        self.sample_bandwidth()
        for name, text in zip(bandwidth_log.FILES, bandwidth_log.texts(self._bandwidth), strict=True):
            path = Path(self.command.aux_path, name)
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise CommandLineError(f"--bandwidth-log: {path}: {error.strerror}") from None

    async def show_progress(self, console: Console) -> None:
        with ProgressLine(self.session.jobs, console) as line:
            await every(PROGRESS_INTERVAL_S, line.update)

    def entries(self) -> list[Entry]:
        return [entry_of(job.plan, job.snapshot(), job.steady) for job in self.session.jobs]

    def interim(self) -> None:
        """Results so far: text at once, JSON into the one document that is written at the end."""
        entries = self.entries()
        for name in self.formats():
            if name in JSON_FORMATS:
                self.intervals.append(json_output.interval(entries, with_bins=name == "json+"))
            else:
                self.write(name, entries)
        self.output.flush()

    def report(self) -> None:
        """The results, and on stderr what a reader of the output alone may miss."""
        entries = self.entries()
        for name in self.formats():
            self.write(name, entries)
        self.output.flush()
        if self.command.bandwidth_log:
            self.write_bandwidth_logs()
        for job in self.session.jobs:
            result = job.snapshot()
            if job.warning:
                complain(f"{job.plan.name}: {job.warning}")
            for message in job.run.messages:
                # The message of the result repeats what the child said last, or says it better.
                is_said = result.message in message or message.startswith("error: data corruption:")
                if not (result.message and is_said):
                    print(message, file=sys.stderr)
            # Results that go elsewhere leave a person at the terminal, or in a log, without a word.
            if result.failure is not None and not ("normal" in self.formats() and not self.command.output):
                complain(f"{job.plan.name} failed: {summary.cause(result)}")

    def formats(self) -> list[str]:
        wanted = set(self.command.output_formats)
        if "json+" in wanted:
            wanted.discard("json")  # json+ is json and more
        return [name for name in FORMAT_ORDER if name in wanted]

    def write(self, name: str, entries: list[Entry]) -> None:
        mode = cast("Mode", self.command.idle_prof)
        match name:
            case "normal":
                text = summary.render(entries)
                if self._idleness is not None:
                    text += "".join(f"{line}\n" for line in ("", *self._idleness.lines(mode)))
                if rows := self._utilisation.rows():
                    text += "\nDisk stats (read/write):\n" + "".join(f"{line}\n" for line in lines(rows))
            case "terse":
                text = terse.render(entries, self.command.terse_version, self._utilisation.rows())
            case _:
                text = json_output.render(
                    json_output.document(
                        entries,
                        self.command.global_options,
                        with_bins=name == "json+",
                        disk_util=self._utilisation.rows(),
                        intervals=self.intervals,
                        cpu_idleness=self._idleness.document(mode) if self._idleness is not None else None,
                    )
                )
        self.output.write(text)


async def every(interval_s: float, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        act()


@contextlib.contextmanager
def output_of(command: Command) -> Iterator[TextIO]:
    """Where results go; opened before the jobs start, lest their work be lost. Raises CommandLineError."""
    if not command.output:
        yield sys.stdout
        return
    try:
        file = Path(command.output).open("w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandLineError(f"--output: {command.output}: {error.strerror}") from None
    with file:
        yield file


def complain(text: str) -> None:
    for line in text.splitlines():
        print(f"iovigil run: {line}", file=sys.stderr)

"""fio's command line: jobs from `--name=…` and from job files, options of the command, what results are wanted."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from iovigil.agent.fio import job_file
from iovigil.agent.fio.job_file import expand_keywords
from iovigil.agent.fio.settings import Settings, WrittenError, options_of
from iovigil.agent.order import NO_TARGET_ENGINES
from iovigil.engines.options import SECOND_US, SPECS, JobOptions, OptionError
from iovigil.engines.quantities import parse_time_us, quoted
from iovigil.engines.spelling import FLAGS, NAMED_AFTER_JOB, canonical, effect_missing

OUTPUT_FORMATS: Final = ("normal", "json", "json+", "terse")
TERSE_VERSIONS: Final = ("2", "3", "4", "5")
ETA_CHOICES: Final = ("auto", "always", "never")
IDLE_CHOICES: Final = ("system", "percpu", "calibrate")
NEEDS_NO_SIZE: Final = frozenset({"cpuio"})
GLOBAL: Final = job_file.GLOBAL
MOST_JOBS: Final = 4096
"""What max-jobs is when it is not given; as in fio."""

# Options of the command, not of a job: {name: (shape of the value, help)}; no shape is a flag.
COMMAND_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "output": ("FILE", "Write results there instead of to standard output."),
    "output-format": ("FORMAT[,FORMAT]", f"How results are written: {', '.join(OUTPUT_FORMATS)}."),
    "terse-version": ("2|3|4|5", "Which fields terse has."),
    "minimal": ("", "The same as --output-format=terse."),
    "append-terse": ("", "terse after the other formats."),
    "bandwidth-log": ("", "Log the throughput of all jobs together to agg-read_bw.log, …"),
    "status-interval": ("TIME", "Write results so far this often; a bare number is seconds."),
    "eta": ("|".join(ETA_CHOICES), "Progress on standard error; auto shows it on a terminal."),
    "eta-interval": ("TIME", "Taken for the sake of scripts made for fio; without effect."),
    "eta-newline": ("TIME", "Taken for the sake of scripts made for fio; without effect."),
    "idle-prof": ("|".join(IDLE_CHOICES), "Show how idle the CPUs were."),
    "section": ("NAME", "Of job files, run only this section; may be given more than once."),
    "readonly": ("", "Refuse jobs that write or trim."),
    "parse-only": ("", "Check the options, start nothing."),
    "showcmd": ("", "Show the jobs as a command line, start nothing."),
    "warnings-fatal": ("", "Refuse options without effect."),
    "aux-path": ("DIRECTORY", "Where files that the jobs write beside their results go."),
    "max-jobs": ("N", "Refuse more jobs than this, clones counted."),
    "alloc-size": ("KB", "Taken for the sake of scripts made for fio; without effect."),
    "cmdhelp": ("[OPTION|all]", "Describe an option of a job, or all."),
    "enghelp": ("[ENGINE]", "List the I/O engines, or the options of one."),
    "version": ("", "Show the version."),
    "help": ("", "Show this text."),
}
# Those of fio that are refused: {name: reason}.
REFUSED: Final[Mapping[str, str]] = {
    "client": "is not supported: run iovigil on each host, and let its metrics be collected",
    "cpuclock-test": "is not supported: the clock is the kernel's own",
    "crctest": "is not supported",
    "daemonize": "is for a server, which is not supported: the agent is `iovigil agent`",
    "debug": "is not supported: warnings and errors say what they know",
    "inflate-log": "is not supported: logs are never compressed",
    "latency-log": "is gone from fio too: use write_lat_log",
    "lat-bw-log": "is gone from fio too: use write_lat_log",
    "merge-blktrace-only": "is not supported: merge traces with fio",
    "profile": "is not supported: write the job out",
    "remote-config": "is for a server, which is not supported",
    "server": "is not supported: the agent is `iovigil agent`",
    "trigger": "is not supported",
    "trigger-file": "is not supported",
    "trigger-remote": "is not supported",
    "trigger-timeout": "is not supported",
}
OPTIONAL_VALUE: Final = frozenset({"cmdhelp", "enghelp"})
HELP: Final = ("help", "version", "cmdhelp", "enghelp")


class CommandLineError(Exception):
    """A command line that cannot be; the text says which word, why, and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class JobSection:
    """One job: its options, and how the user spelled them."""

    options: JobOptions
    written: dict[str, str]
    """The job's own, without those of [global] or before --name; as in fio, not the name of a [section]."""
    inherited: dict[str, str] = field(default_factory=dict)
    """Those that it has from there."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What the user asked for."""

    jobs: tuple[JobSection, ...]
    global_options: dict[str, str] = field(default_factory=dict)
    """Those before the first --name, and of every [global], as the user spelled their values."""
    output_formats: tuple[str, ...] = ("normal",)
    terse_version: int = 3
    output: str = ""
    status_interval_s: float = 0.0
    eta: str = "auto"
    is_readonly: bool = False
    parse_only: bool = False
    showcmd: bool = False
    idle_prof: str = ""
    bandwidth_log: bool = False
    aux_path: str = ""
    warnings: tuple[str, ...] = ()
    """Of options without effect."""


def asks_for_help(words: Sequence[str]) -> bool:
    return any(word == "-h" or word.removeprefix("--").partition("=")[0] in HELP for word in words if word[:1] == "-")


def parse(words: Sequence[str], environ: Mapping[str, str] | None = None) -> Command:
    """Read the words after `iovigil run`. Raises CommandLineError."""
    reading = Reading(os.environ if environ is None else environ)
    try:
        reading.words(words)
        return reading.command()
    except WrittenError as error:
        raise CommandLineError(str(error)) from None


class Reading:
    """A command line as it is read: all options first, as in fio, and then the job files."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.of_command: dict[str, str] = {}
        self.sections: list[str] = []
        self.files: list[str] = []
        self.defaults = Settings()
        self.jobs: list[tuple[str, Settings, Settings]] = []
        self.current = self.defaults

    def words(self, words: Sequence[str]) -> None:
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not word.startswith("--"):
                if word.startswith("-") and word != job_file.STANDARD_INPUT:
                    raise WrittenError(f"{word}: is not an option: they begin with two dashes")
                self.files.append(word)
                continue
            name, has_value, value = word[2:].partition("=")
            self.option(name, value if has_value else value_after(name, rest))

    def option(self, name: str, value: str | None) -> None:
        if name in COMMAND_OPTIONS:
            self.command_option(name, value)
        elif name == "name":
            self.begin(value or "")
        elif name in REFUSED:
            raise WrittenError(f"--{name}: {REFUSED[name]}")
        else:
            suggest(name)
            # Quotes around a keyword are the shell's; the environment is its business too.
            self.current.add(name, value if value is None else expand_keywords(value), f"--{name}")

    def command_option(self, name: str, value: str | None) -> None:
        if not COMMAND_OPTIONS[name][0]:
            if value is not None and value.lower() not in FLAGS:
                raise WrittenError(f"--{name}: {quoted(value)} is neither yes nor no: give the bare --{name}")
            value = str(int(value is None or FLAGS[value.lower()]))
        elif value is None:
            raise WrittenError(f"--{name} needs a value: --{name}={COMMAND_OPTIONS[name][0]}")
        if name == "section":
            self.sections.append(value)
        else:
            self.of_command[name] = value

    def begin(self, name: str) -> None:
        if not name:
            raise WrittenError("--name needs a value: --name=NAME")
        if name == GLOBAL:
            self.current = self.defaults
            return
        self.current = Settings()
        self.current.add("name", name, "--name")
        self.jobs.append((name, self.defaults.copy(), self.current))

    def command(self) -> Command:
        """Return what was asked for; raise WrittenError with everything that is wrong."""
        written = [self.defaults, *(own for _, _, own in self.jobs)]
        errors = [error for settings in written for error in settings.errors]
        warnings = [warning for settings in written for warning in settings.warnings]
        first_of_files: list[int] = []
        names: list[str] = []
        shown = self.defaults.shown()
        for path in self.files:
            try:
                file = job_file.read(path, self.defaults, self.environ)
            except WrittenError as error:
                errors.append(str(error))
                continue
            # As in fio, each file waits for what came before it.
            first_of_files.append(len(self.jobs))
            names += [job.name for job in file.jobs]
            wanted = [job for job in file.jobs if not self.sections or job.name in self.sections]
            self.jobs += [(job.name, job.defaults, job.own) for job in wanted]
            warnings += file.warnings
            shown.update(file.defaults.shown())
        errors += [
            f"--section: there is no section {name}: there are {', '.join(names) or 'none'}"
            for name in self.sections
            if name not in names
        ]
        if errors:
            raise WrittenError("\n".join(errors))
        if not self.jobs:
            raise WrittenError(
                "--name is missing: a job begins with --name=NAME, options before it are its defaults; "
                "or give a job file"
            )
        is_readonly = self.flag("readonly")
        jobs = self.read_jobs({index for index in first_of_files if index > 0}, is_readonly)
        if warnings and self.flag("warnings-fatal"):
            raise WrittenError("\n".join(warnings))
        return Command(
            jobs=jobs,
            global_options=shown,
            output_formats=self.formats(),
            terse_version=int(self.one_of("terse-version", TERSE_VERSIONS, "3")),
            output=self.of_command.get("output", ""),
            status_interval_s=self.seconds("status-interval"),
            eta=self.one_of("eta", ETA_CHOICES, "auto"),
            is_readonly=is_readonly,
            parse_only=self.flag("parse-only"),
            showcmd=self.flag("showcmd"),
            idle_prof=self.one_of("idle-prof", IDLE_CHOICES, ""),
            bandwidth_log=self.flag("bandwidth-log"),
            aux_path=self.of_command.get("aux-path", ""),
            warnings=tuple(warnings),
        )

    def read_jobs(self, behind_a_wall: set[int], is_readonly: bool) -> tuple[JobSection, ...]:
        jobs, errors = [], []
        for index, (name, defaults, own) in enumerate(self.jobs):
            try:
                options = options_of(defaults, own, name)
                refuse_impossible(options, own.by_option.get("rw", defaults.by_option.get("rw")), is_readonly)
            except WrittenError as error:
                errors.append(str(error))
                continue
            if (reason := reason_not_to_wait(options.wait_for, [name for name, _, _ in self.jobs[:index]])) is not None:
                place = {**defaults.by_option, **own.by_option}["wait_for"].place
                errors.append(f"{place}: {reason}")
            if index in behind_a_wall:
                options = msgspec.structs.replace(options, stonewall=True)
            jobs.append(JobSection(options=options, written=own.shown(), inherited=defaults.shown()))
        if errors:
            raise WrittenError("\n".join(dict.fromkeys(errors)))
        count = sum(job.options.numjobs for job in jobs)
        most = self.of_command.get("max-jobs", str(MOST_JOBS))
        if not re.fullmatch("0*[1-9][0-9]{0,5}", most, re.ASCII):
            raise WrittenError(f"--max-jobs: {quoted(most)} is not a number of jobs")
        if count > int(most):
            raise WrittenError(f"--max-jobs: {count} jobs, clones counted, are more than {int(most)}")
        return tuple(jobs)

    def flag(self, name: str) -> bool:
        return self.of_command.get(name) == "1"

    def one_of(self, name: str, choices: Sequence[str], default: str) -> str:
        value = self.of_command.get(name, default)
        if name in self.of_command and value not in choices:
            raise WrittenError(f"--{name}: {quoted(value)} is none of {', '.join(choices)}")
        return value

    def formats(self) -> tuple[str, ...]:
        formats = [part.strip() for part in self.of_command.get("output-format", "normal").split(",")]
        for text in formats:
            if text not in OUTPUT_FORMATS:
                raise WrittenError(f"--output-format: {quoted(text)} is none of {', '.join(OUTPUT_FORMATS)}")
        if self.flag("minimal"):
            formats = ["terse"]
        if self.flag("append-terse"):
            formats.append("terse")
        # In fio's own order, which does not follow the list's.
        return tuple(text for text in ("terse", "json", "json+", "normal") if text in formats)

    def seconds(self, name: str) -> float:
        if name not in self.of_command:
            return 0.0
        try:
            time_us = parse_time_us(self.of_command[name], SECOND_US)
        except ValueError as error:
            raise WrittenError(f"--{name}: {error}") from None
        if time_us <= 0:
            raise WrittenError(f"--{name}: {quoted(self.of_command[name])} is not above 0")
        return time_us / SECOND_US


def value_after(name: str, rest: list[str]) -> str | None:
    """Take the value of an option that stands in a word of its own; None where there is none."""
    if name in OPTIONAL_VALUE:
        return ""
    if is_flag(name):
        # fio itself takes the next word as the value of some flags and not of others.
        return rest.pop(0) if rest and rest[0] in FLAGS else None
    if rest and (not rest[0].startswith("--") or rest[0] == "-"):
        return rest.pop(0)
    return None


def is_flag(name: str) -> bool:
    if name in COMMAND_OPTIONS:
        return not COMMAND_OPTIONS[name][0]
    try:
        option = canonical(name)
    except OptionError:
        return effect_missing(name, "1") is not None
    return SPECS[option].kind is bool or option in NAMED_AFTER_JOB


def suggest(name: str) -> None:
    """Raise WrittenError for a word that is nearly an option of the command."""
    try:
        canonical(name)
    except OptionError:
        near = difflib.get_close_matches(name, COMMAND_OPTIONS, 1, cutoff=0.8)
        if near and effect_missing(name, "1") is None:
            raise WrittenError(f"--{name}: is not an option; did you mean --{near[0]}?") from None


def refuse_impossible(options: JobOptions, rw: object, is_readonly: bool) -> None:
    """Refuse what no target could make good. Raises WrittenError."""
    place = getattr(rw, "place", f"job {options.name}: rw")
    if is_readonly and options.does_change:
        what = "writes" if options.does_write else "trims"
        raise WrittenError(f"{place}: {options.rw} {what}, and --readonly forbids it")
    if options.size or options.filesize or options.read_iolog or options.ioengine in NEEDS_NO_SIZE:
        return
    if options.ioengine in NO_TARGET_ENGINES:
        raise WrittenError(
            f"job {options.name}: size is missing: ioengine={options.ioengine} has no file to take it from"
        )
    if not options.filename and not options.fill_device:
        raise WrittenError(
            f"job {options.name}: size is missing: without a filename the job makes files, and has to know how long; "
            "or give a filename, the device or file to work on"
        )


def reason_not_to_wait(name: str, before: Sequence[str]) -> str | None:
    """Return why a job cannot wait for the one of this name, None when it can."""
    if not name or before.count(name) == 1:
        return None
    return f"{name} is the name of {'several jobs' if name in before else 'no job'} above this one"


def shown(command: Command) -> str:
    """The jobs as a command line that means the same without job files."""
    words = ["iovigil", "run"]
    for job in command.jobs:
        options = {**job.inherited, **job.written}
        options.pop("name", None)
        if job.options.stonewall:
            options["stonewall"] = "1"
        words += [f"--name={job.options.name}", *(f"--{name}={value}" for name, value in options.items())]
    return shlex.join(words)

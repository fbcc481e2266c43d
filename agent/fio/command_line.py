"""One job on fio's command line: `--name=probe --filename=… --rw=randread --bs=4k`."""

import difflib
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from iovigil.agent.order import NO_TARGET_ENGINES
from iovigil.engines.options import SPECS, JobOptions, JobOptionsError, OptionError, OptionSpec, PerDirection
from iovigil.engines.spelling import FLAGS, canonical, engine_names, parse_options, spell_option

OUTPUT_FORMATS: Final = ("normal", "json", "json+")
ETA_CHOICES: Final = ("auto", "never")

# Options of the command, not of a job: {name: (shape of the value, help)}; no shape is a flag.
COMMAND_OPTIONS: Final = {
    "filename": ("PATH", "The block device or file to work on; not needed with ioengine=null."),
    "output-format": ("|".join(OUTPUT_FORMATS), "How results are written; json and json+ are in fio's schema."),
    "output": ("FILE", "Write results there instead of to standard output."),
    "eta": ("|".join(ETA_CHOICES), "Progress on standard error; auto shows it on a terminal."),
    "readonly": ("", "Refuse a job that writes."),
    "max-jobs": ("N", "Taken for the sake of scripts made for fio; without effect."),
    "help": ("", "Show this text."),
}
UNIT_SHAPES: Final = {"bytes": "SIZE", "bytes/s": "SIZE", "us": "TIME"}
NOTATION: Final = (
    "SIZE is in bytes, or has a suffix: 4k, 4kb, 4KiB are all 4096 (1024 each step).",
    "TIME has a suffix d, h, m, s, ms or us; a bare number is seconds for runtime and",
    "ramp_time, milliseconds for ratecycle, microseconds for thinktime.",
    "Where two values may stand the first is for reads and the second for writes.",
)


class CommandLineError(Exception):
    """A command line that cannot be; the text says which word, why, and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What the user asked for."""

    options: JobOptions
    filename: str = ""
    """Empty for an engine that has no target."""
    output_format: str = "normal"
    output: str = ""
    is_eta_wanted: bool = True
    global_options: dict[str, str] = field(default_factory=dict)
    """Options before --name, as the user spelled their values."""
    job_options: dict[str, str] = field(default_factory=dict)


def asks_for_help(words: Sequence[str]) -> bool:
    return "--help" in words or "-h" in words


def parse(words: Sequence[str]) -> Command:
    """Read the words after `iovigil run`. Raises CommandLineError."""
    of_command: dict[str, str] = {}
    global_options: dict[str, str] = {}
    job_options: dict[str, str] = {}
    for name, value in pairs(words):
        if name == "name" and job_options:
            raise CommandLineError("--name: more than one job at a time is not supported yet")
        if name in COMMAND_OPTIONS and name != "filename":
            of_command[name] = value
        elif name == "name" or job_options:
            job_options[name] = value
        else:
            global_options[name] = value
    if not job_options:
        raise CommandLineError("--name is missing: a job begins with --name=NAME; options before it are its defaults")
    written = {**global_options, **job_options}
    filename = written.pop("filename", "")
    options = read_options(written)
    refuse_impossible(options, filename, is_readonly=FLAGS.get(of_command.get("readonly", "0"), True))
    return Command(
        options=options,
        filename=filename.replace("\\:", ":"),
        output_format=one_of("output-format", of_command.get("output-format", "normal"), OUTPUT_FORMATS),
        output=of_command.get("output", ""),
        is_eta_wanted=one_of("eta", of_command.get("eta", "auto"), ETA_CHOICES) == "auto",
        global_options=global_options,
        job_options=job_options,
    )


def read_options(written: dict[str, str]) -> JobOptions:
    try:
        return parse_options(written)
    except JobOptionsError as error:
        raise CommandLineError("\n".join(f"--{wrong.option}: {wrong.reason}" for wrong in error.errors)) from None


def pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(option under its first name, value as given) of each option; a bare flag has the value 1."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise CommandLineError(f"{word}: job files are not supported yet; give options: --name=NAME --rw=read …")
        written, has_value, value = word[2:].partition("=")
        name = known(written)
        if has_value:
            yield name, value
        elif is_flag(name):
            # fio itself takes the next word as the value of some flags and not of others.
            yield name, rest.pop(0) if rest and rest[0] in FLAGS else "1"
        elif rest and not rest[0].startswith("--"):
            yield name, rest.pop(0)
        else:
            raise CommandLineError(f"--{written} needs a value: --{written}={shape_of(name)}")


def known(written: str) -> str:
    """The first name of an option. Raises CommandLineError for one that is none of ours."""
    if written in COMMAND_OPTIONS:
        return written
    try:
        return canonical(written)
    except OptionError as error:
        if near := difflib.get_close_matches(written, COMMAND_OPTIONS, 1, cutoff=0.8):
            raise CommandLineError(f"--{written}: is not an option; did you mean --{near[0]}?") from None
        raise CommandLineError(f"--{error}") from None


def is_flag(name: str) -> bool:
    return not COMMAND_OPTIONS[name][0] if name in COMMAND_OPTIONS else SPECS[name].kind is bool


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise CommandLineError(f"--{name}: {value!r} is none of {', '.join(choices)}")
    return value


def refuse_impossible(options: JobOptions, filename: str, is_readonly: bool) -> None:
    """Refuse what no target could make good. Raises CommandLineError."""
    if is_readonly and options.does_write:
        raise CommandLineError(f"--rw: {options.rw} writes, and --readonly forbids it")
    if options.ioengine in NO_TARGET_ENGINES:
        if not options.size:
            raise CommandLineError(f"--size is missing: ioengine={options.ioengine} has no file to take it from")
    elif not filename:
        raise CommandLineError("--filename is missing: it names the device or file to work on")
    elif ":/" in filename:
        # fio separates files by colons; by-path names of devices hold colons too, but never before a slash.
        raise CommandLineError(f"--filename: {filename!r} names several files; one at a time is supported so far")


def usage() -> str:
    """The text of --help."""
    text = ["Usage: iovigil run [options] --name=NAME --filename=PATH [options of the job]", ""]
    text += ["Run one job on one device or file; options are spelled as fio spells them.", ""]
    for name, (_, about) in COMMAND_OPTIONS.items():
        text += entry(name, about)
    text += ["", "Options of the job:"]
    for spec in SPECS.values():
        text += entry(spec.name, f"{spec.text} [{default_of(spec)}]")
    return "\n".join([*text, "", *NOTATION]) + "\n"


def entry(name: str, about: str) -> list[str]:
    shape = shape_of(name)
    head = f"  --{name}={shape}" if shape else f"  --{name}"
    lines = textwrap.wrap(about, 80, initial_indent=" " * 26, subsequent_indent=" " * 26)
    if len(head) > 24:
        return [head, *lines]
    return [f"{head:<26}{lines[0].lstrip()}", *lines[1:]]


def shape_of(name: str) -> str:
    """What the value of an option looks like."""
    if name in COMMAND_OPTIONS:
        return COMMAND_OPTIONS[name][0]
    spec = SPECS[name]
    if spec.kind is bool:
        return "0|1"
    if choices := engine_names() if name == "ioengine" else spec.choices:
        return "|".join(choices)
    shape = UNIT_SHAPES.get(spec.unit, "NAME" if spec.kind is str else "N")
    return f"{shape}[,{shape}]" if spec.kind == PerDirection else shape


def default_of(spec: OptionSpec) -> str:
    return spell_option(spec.name, spec.default) or "none"

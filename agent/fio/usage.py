"""What `iovigil run` says of itself: --help, --version, --cmdhelp, --enghelp."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import iovigil
from iovigil.agent.fio.command_line import COMMAND_OPTIONS, OPTIONAL_VALUE, CommandLineError
from iovigil.engines import foreign
from iovigil.engines.compounds import notation_of
from iovigil.engines.options import MAX_INT64, SPECS, OptionError, OptionSpec, PerDirection
from iovigil.engines.quantities import quoted, spell_time
from iovigil.engines.scalars import spell_number
from iovigil.engines.spelling import ALIASES, canonical, engine_names, spell_option

UNIT_SHAPES: Final[Mapping[str, str]] = {"bytes": "SIZE", "bytes/s": "SIZE", "us": "TIME"}
NOTATION: Final = (
    "SIZE is in bytes, or has a suffix: 4k, 4kb, 4KiB are all 4096 (1024 each step).",
    "TIME has a suffix d, h, m, s, ms or us; a bare number is seconds for runtime and",
    "ramp_time, milliseconds for ratecycle, microseconds for thinktime.",
    "Where three values may stand they are for reads, writes and trims; what is left",
    "out is as the one before it.",
)


def answer(words: Sequence[str]) -> str:
    """Return what a command line that asks for help is to see. Raises CommandLineError."""
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if name == "version":
            return f"iovigil-{iovigil.__version__}\n"
        if name in OPTIONAL_VALUE:
            return engine_help(value) if name == "enghelp" else option_help(value)
        if name in ("help", "-h"):
            break
    return usage()


def usage() -> str:
    """The text of --help."""
    text = ["Usage: iovigil run [options] [--name=NAME [options of the job]]... [JOB FILE]...", ""]
    text += ["Run jobs on devices and files; options are spelled as fio spells them.", ""]
    for name, (shape, about) in COMMAND_OPTIONS.items():
        text += entry(name, shape, about)
    text += ["", "Options of a job:"]
    for spec in SPECS.values():
        text += entry(spec.name, shape_of(spec), f"{spec.text} [{spell_option(spec.name, spec.default) or 'none'}]")
    return "\n".join([*text, "", *NOTATION]) + "\n"


def entry(name: str, shape: str, about: str) -> list[str]:
    head = f"  --{name}={shape}" if shape else f"  --{name}"
    lines = textwrap.wrap(about, 80, initial_indent=" " * 26, subsequent_indent=" " * 26)
    if len(head) > 24:
        return [head, *lines]
    return [f"{head:<26}{lines[0].lstrip()}", *lines[1:]]


def shape_of(spec: OptionSpec) -> str:
    """What the value of an option looks like."""
    if spec.kind is bool:
        return "0|1"
    if choices := engine_names() if spec.name == "ioengine" else spec.choices:
        return "|".join(choices)
    shape = UNIT_SHAPES.get(spec.unit, "NAME" if spec.kind is str else "N")
    if spec.kind == PerDirection:
        return f"{shape}[,{shape}[,{shape}]]"
    notation = notation_of(spec)
    return notation.word.upper() if notation else shape


def option_help(name: str) -> str:
    """The text of --cmdhelp."""
    if name in ("", "all"):
        return "".join(f"{spec.name:<26}: {spec.text}\n" for spec in SPECS.values())
    try:
        spec = SPECS[canonical(name)]
    except OptionError as error:
        raise CommandLineError(f"--cmdhelp: {error}") from None
    return "".join(f"{label:>12}: {text}\n" for label, text in described(spec) if text)


def described(spec: OptionSpec) -> Iterator[tuple[str, str]]:
    yield spec.name, spec.text
    yield "aliases", ", ".join(alias for alias, option in ALIASES.items() if option == spec.name)
    yield "value", shape_of(spec)
    yield "default", spell_option(spec.name, spec.default)
    if spec.kind in (int, PerDirection):
        bare = f", a bare number counts {spell_time(spec.plain)}" if spec.unit == "us" else ""
        yield "range", f"{spell_number(spec, spec.ge)} to {limit(spec)}{bare}"
    yield "for ioengine", ", ".join(spec.engines)


def limit(spec: OptionSpec) -> str:
    return "any" if spec.le == MAX_INT64 else spell_number(spec, spec.le)


def engine_help(value: str) -> str:
    """The text of --enghelp."""
    if not value:
        return "I/O engines:\n" + "".join(f"  {name}\n" for name in engine_names())
    engine, _, option = value.partition(",")
    if engine not in engine_names():
        reason = foreign.ENGINES.get(engine)
        known = f"is not one of {', '.join(engine_names())}"
        raise CommandLineError(f"--enghelp: {quoted(engine)} {reason or known}")
    if option:
        return option_help(option)
    own = [spec for spec in SPECS.values() if engine in spec.engines]
    if not own:
        return f"ioengine={engine} has no options of its own.\n"
    return "".join(f"{spec.name:<26}: {spec.text}\n" for spec in own)

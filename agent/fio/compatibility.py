"""What of fio is taken, what has no effect and what is refused: `python -m iovigil.agent.fio.compatibility`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple

from iovigil.agent.fio.command_line import COMMAND_OPTIONS, REFUSED
from iovigil.engines import foreign
from iovigil.engines.options import SPECS
from iovigil.engines.spelling import ALIASES, ENGINE_ALIASES, NAMES_IN_FIO, TRANSLATIONS, engine_names

COMMAND: Final = "python -m iovigil.agent.fio.compatibility > docs/fio-compatibility.md"
# What iovigil has of its own.
OURS_ALONE: Final = frozenset({"verify_header"})
# Commands that are taken without effect.
IDLE_COMMANDS: Final = ("alloc-size", "eta-interval", "eta-newline")
DIFFERENCES: Final[Sequence[tuple[str, str]]] = (
    ("Sizes", "`KiB` and `KB` are both 1024 bytes; fio's `KiB` is 1000 by default. `1.5k` is 1536."),
    ("Variables", "`${NAME}` that the environment has not is an error; fio puts nothing in its place."),
    ("Sums", "`8*$ncpus`, `$pagesize/2` are worked out; formulas in parentheses are not."),
    ("Spaces", "`rw = read` is taken; fio 3.33 refuses the blank."),
    ("Options that do not fit", "In `[global]` they are passed over where a job cannot use them; in the job refused."),
    ("Mounted devices", "Never written to; there is no option to allow it."),
    ("Files that exist", "Written to only with `overwrite=1` when iovigil did not make them."),
    ("Exit status", "Never 0 when data was wrong or a worker was killed; fio 3.33 is silent about both."),
    ("Distributions", "`random_distribution` takes one distribution for reads, writes and trims."),
    ("Random offsets", "`random_generator=auto` visits each block once without a map; its offsets are not fio's."),
)  # fmt: skip

OPENING: Final = f"""\
# fio, and what iovigil takes of it

<!-- Generated: {COMMAND} -->

`iovigil run` reads fio's job files and command lines. Every option of fio 3.33, and of those that
later versions added, is one of three things:

- **taken**: it means what it means to fio;
- **without effect**: it is read, a warning says why nothing follows from it, and the job runs (`--warnings-fatal`
  refuses it);
- **refused** by name, with the reason. Where a value asks for nothing that iovigil does not do, it is taken.
"""


class Class(Enum):
    """What becomes of something that fio knows."""

    SUPPORTED = "taken"
    WITHOUT_EFFECT = "without effect"
    REFUSED = "refused"


class Verdict(NamedTuple):
    """What becomes of it, and why."""

    kind: Class
    reason: str = ""


class AcceptanceRow(NamedTuple):
    """A behaviour of fio, and the test that holds us to it."""

    behaviour: str
    test: str


ACCEPTANCE: Final[Sequence[AcceptanceRow]] = ()
"""Rows of the page's last table, which is left out while there are none."""


def verdict_on(name: str) -> Verdict | None:
    """Return what becomes of an option of a job, None for a name that is not known at all."""
    plain = name.replace("-", "_")
    if plain in SPECS or plain in ALIASES:
        return Verdict(Class.SUPPORTED)
    if plain in foreign.WITHOUT_EFFECT:
        return Verdict(Class.WITHOUT_EFFECT, foreign.WITHOUT_EFFECT[plain])
    reason = foreign.reason_against(plain)
    return Verdict(Class.REFUSED, reason) if reason else None


def verdict_on_engine(name: str) -> Verdict | None:
    if name in engine_names() or name in ENGINE_ALIASES:
        return Verdict(Class.SUPPORTED)
    return Verdict(Class.REFUSED, foreign.ENGINES[name]) if name in foreign.ENGINES else None


def verdict_on_command(name: str) -> Verdict | None:
    """Return what becomes of an option of the command line that is not one of a job."""
    if name in IDLE_COMMANDS:
        return Verdict(Class.WITHOUT_EFFECT, "it is taken for the sake of scripts")
    if name in COMMAND_OPTIONS:
        return Verdict(Class.SUPPORTED)
    return Verdict(Class.REFUSED, REFUSED[name]) if name in REFUSED else None


def render() -> str:
    parts = [OPENING, *taken(), *without_effect(), *refused(), *engines(), *commands(), *differences(), *acceptance()]
    return "\n".join(parts)


def taken() -> Iterator[str]:
    yield "## Taken\n\nDescribed in [options.md](options.md).\n"
    yield "| option | other names |\n| --- | --- |"
    for name in SPECS:
        if name in OURS_ALONE:
            continue
        first = NAMES_IN_FIO.get(name, name)
        also = {name, *(alias for alias, option in ALIASES.items() if option == name and alias not in TRANSLATIONS)}
        yield row(code(first), ", ".join(code(alias) for alias in sorted(also - {first})))
    for name, translate in TRANSLATIONS.items():
        yield row(code(name), f"{translate.__doc__}")
    yield ""


def without_effect() -> Iterator[str]:
    yield "## Without effect\n"
    yield "| option | because |\n| --- | --- |"
    for name, reason in sorted(foreign.WITHOUT_EFFECT.items()):
        yield row(code(name), f"{reason}.")
    yield ""


def refused() -> Iterator[str]:
    yield "## Refused\n"
    yield "| option | because it | taken all the same |\n| --- | --- | --- |"
    for name, (reason, harmless) in sorted(foreign.UNSUPPORTED.items()):
        yield row(code(name), f"{reason}.", ", ".join(code(f"{name}={value}") for value in harmless))
    yield "\nValues:\n\n| value | because it |\n| --- | --- |"
    for option, values in foreign.VALUES.items():
        spec = SPECS[option]
        for value, reason in values.items():
            if value not in spec.choices:
                yield row(code(f"{option}={value}"), f"{reason}.")
    yield "\nOptions that only engines have which are refused:\n\n| engine | options |\n| --- | --- |"
    for engine, names in sorted(foreign.OPTIONS_OF_ENGINES.items()):
        yield row(code(engine), ", ".join(map(code, names)))
    yield ""


def engines() -> Iterator[str]:
    yield "## I/O engines\n"
    yield f"Taken: {', '.join(map(code, engine_names()))}."
    yield f"Other names: {', '.join(f'{code(alias)} is {code(of)}' for alias, of in ENGINE_ALIASES.items())}.\n"
    yield "| refused | because it |\n| --- | --- |"
    for name, reason in sorted(foreign.ENGINES.items()):
        if name not in engine_names():
            yield row(code(name), f"{reason}.")
    yield ""


def commands() -> Iterator[str]:
    yield "## The command\n"
    supported = [name for name in COMMAND_OPTIONS if name not in IDLE_COMMANDS]
    yield f"Taken: {', '.join(code(f'--{name}') for name in supported)}."
    yield f"Without effect: {', '.join(code(f'--{name}') for name in IDLE_COMMANDS)}.\n"
    yield "| refused | because it |\n| --- | --- |"
    for name, reason in sorted(REFUSED.items()):
        yield row(code(f"--{name}"), f"{reason}.")
    yield ""


def differences() -> Iterator[str]:
    yield "## What is not the same\n"
    yield "| | |\n| --- | --- |"
    for subject, text in DIFFERENCES:
        yield row(subject, text)
    yield ""


def acceptance() -> Iterator[str]:
    if not ACCEPTANCE:
        return
    yield "## Acceptance\n"
    yield "| behaviour of fio | test |\n| --- | --- |"
    for behaviour, test in ACCEPTANCE:
        yield row(behaviour, code(test))
    yield ""


def row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    print(render(), end="")

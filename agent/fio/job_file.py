"""fio's job files: sections of options, one to a line; [global] holds the defaults of the sections below it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from iovigil.agent.fio.settings import Settings, WrittenError
from iovigil.engines.quantities import quoted

STANDARD_INPUT: Final = "-"
GLOBAL: Final = "global"
MAX_BYTES: Final = 1 << 20
MAX_INCLUDES: Final = 16
"""How deep files may include each other."""
MAX_LINES: Final = 100_000
"""Of one file, with what it includes: doubling includes would otherwise have no end."""

COMMENT: Final = re.compile("[;#]")
NAME: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
KEYWORD: Final = re.compile(
    r"(?:([0-9]{1,9})\s*([*/+-])\s*)?\$(pagesize|ncpus|mb_memory)(?:\s*([*/+-])\s*([0-9]{1,9}))?", re.ASCII
)


class Line(NamedTuple):
    """A line of a file without its comment, and the place to name it by."""

    place: str
    text: str


@dataclass
class FileSection:
    """A job of a file: the defaults in force above it, and its own options."""

    name: str
    defaults: Settings
    own: Settings


class JobFile:
    """One file as it is read."""

    def __init__(self, path: str, defaults: Settings, environ: Mapping[str, str]) -> None:
        self.path = path
        self.environ = environ
        self.errors: list[str] = []
        self.warnings: list[str] = []
        # Every section reports to the file, so that mistakes are told in the order of the lines.
        self.defaults = Settings(dict(defaults.by_option), self.warnings, self.errors)
        self.jobs: list[FileSection] = []
        self.count = 0

    def read(self) -> None:
        """Read the jobs; raise WrittenError with all that is wrong."""
        current: Settings | None = None
        for line in self.lines(self.path, ()):
            if line.text.startswith("["):
                current = self.begin(line)
            elif current is None:
                self.errors.append(f"{line.place}: {quoted(line.text)} stands above the first [section]")
            else:
                self.option(current, line)
        if self.errors:
            raise WrittenError("\n".join(self.errors))

    def begin(self, line: Line) -> Settings:
        name, bracket, rest = line.text[1:].partition("]")
        if not bracket or not name.strip() or rest.strip():
            self.errors.append(f"{line.place}: {quoted(line.text)} is not a section: write [name] on a line of its own")
            # What follows is read for its mistakes, and goes nowhere.
            name = name.strip() or "?"
        if name.strip() == GLOBAL:
            return self.defaults
        own = Settings({}, self.warnings, self.errors)
        self.jobs.append(FileSection(name, self.defaults.copy(), own))
        return own

    def option(self, settings: Settings, line: Line) -> None:
        written, equals, value = line.text.partition("=")
        name = written.strip()
        if not NAME.fullmatch(name):
            self.errors.append(f"{line.place}: {quoted(line.text)} is not an option: write name=value")
            return
        try:
            expanded = expand(value.strip(), self.environ) if equals else None
        except ValueError as error:
            self.errors.append(f"{line.place}: {name}: {error}")
            return
        settings.add(name, expanded, f"{line.place}: {name}")

    def lines(self, path: str, above: tuple[str, ...]) -> Iterator[Line]:
        """The lines of a file that say something, with those of the files that it includes in their places."""
        shown = "stdin" if path == STANDARD_INPUT else path
        for number, written in enumerate(text_of(path).split("\n"), 1):
            place = f"{shown}:{number}"
            self.count += 1
            if self.count > MAX_LINES:
                raise WrittenError(f"{place}: more than {MAX_LINES} lines, with what is included")
            text = COMMENT.split(written, maxsplit=1)[0].strip()
            if not text:
                continue
            word, *rest = text.split(maxsplit=1)
            if word == "include" and rest:
                yield from self.included(rest[0], path, place, above)
            elif above and text.startswith("["):
                raise WrittenError(f"{place}: a file that is included may hold options, but no [section]")
            else:
                yield Line(place, text)

    def included(self, name: str, path: str, place: str, above: tuple[str, ...]) -> Iterator[Line]:
        # As in fio: from where we are, else from where the file is.
        beside = str(Path(path).parent / name) if path != STANDARD_INPUT else name
        found = name if Path(name).exists() else beside
        chain = (*above, os.path.realpath(path))
        if os.path.realpath(found) in chain:
            raise WrittenError(f"{place}: include: {name} includes itself")
        if len(chain) > MAX_INCLUDES:
            raise WrittenError(f"{place}: include: files include each other more than {MAX_INCLUDES} deep")
        if not Path(found).exists():
            raise WrittenError(f"{place}: include: there is no file {name}")
        yield from self.lines(found, chain)


def read(path: str, defaults: Settings, environ: Mapping[str, str]) -> JobFile:
    """Return the jobs of a file below `defaults`; raise WrittenError."""
    file = JobFile(path, defaults, environ)
    file.read()
    if not file.jobs:
        raise WrittenError(f"{path}: has no job: write [name] above its options")
    return file


def text_of(path: str) -> str:
    try:
        if path == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise WrittenError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise WrittenError(f"{path}: is longer than {MAX_BYTES} bytes: this is no job file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WrittenError(f"{path}:{line}: is not text: byte {content[error.start]:#04x} is not UTF-8") from None


def expand(value: str, environ: Mapping[str, str]) -> str:
    """Return a value with ${NAME} of the environment and fio's keywords ($pagesize, $ncpus, $mb_memory) replaced.

    A variable that is not set is refused, where fio takes an empty text: size= of nothing would be all of the disk.
    """

    def variable(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise ValueError(f"the environment has no {quoted(match[1])}")
        return environ[match[1]]

    return expand_keywords(VARIABLE.sub(variable, value))


def expand_keywords(value: str) -> str:
    return KEYWORD.sub(keyword, value) if "$" in value else value


def keyword(match: re.Match[str]) -> str:
    """A keyword with the sum that may be written around it, as in 8*$pagesize."""
    left, left_sign, name, right_sign, right = match.groups()
    number = KEYWORDS[name]()
    if left_sign:
        number = computed(int(left), left_sign, number)
    if right_sign:
        number = computed(number, right_sign, int(right))
    return str(number)


def computed(left: int, sign: str, right: int) -> int:
    if sign == "/":
        if right == 0:
            raise ValueError("divides by zero")
        return left // right
    return {"*": left * right, "+": left + right, "-": left - right}[sign]


KEYWORDS: Final = {
    "pagesize": lambda: os.sysconf("SC_PAGE_SIZE"),
    "ncpus": lambda: os.cpu_count() or 1,
    "mb_memory": lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
}

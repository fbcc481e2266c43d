"""The fio command that does what a probe does: for whoever wants to see its numbers confirmed by another."""

from __future__ import annotations

import shlex
from typing import Final

from iovigil.agent.config import Assignment
from iovigil.agent.config.model import works_in_region
from iovigil.agent.config.rules import portion
from iovigil.agent.disks import region
from iovigil.agent.order import NO_TARGET_ENGINES
from iovigil.engines.spelling import EXTERNAL, engine_names, spell_option, spell_options

NOT_COPIED: Final = frozenset({"size", "offset", "verify_header"})
"""Options that are said otherwise, or that fio does not have: it writes the one header that it knows."""
OLDEST: Final = "3.33"
NEWER: Final = frozenset({"verify_pattern_interval"})
OLD_SPELLINGS: Final = {"--fadvise_hint=none": "--fadvise_hint=0"}
COLUMNS: Final = 76
INDENT: Final = "    "


class NoEquivalent(Exception):
    """fio has no such job; the text says why."""


def command(each: Assignment) -> list[str]:
    """The words of the command for one probe on one disk, its file last. Raises NoEquivalent.

    Of the file or region it is to touch no more than the probe does: the footer and the header stay as they are.
    """
    options, disk = each.probe.options, each.disk
    if each.probe.scrub is not None:
        raise NoEquivalent("a scrub goes on from run to run, and knows what each block must hold")
    if options.ioengine.startswith(EXTERNAL) or options.ioengine not in engine_names():
        raise NoEquivalent(f"ioengine {options.ioengine} is not one of fio's")
    written = [word for word in spell_options(options) if name_of(word) not in NOT_COPIED]
    if newer := [name for word in written if (name := name_of(word)) in NEWER]:
        raise NoEquivalent(f"fio {OLDEST} does not know {', '.join(newer)}")
    words = ["fio", *(OLD_SPELLINGS.get(word, word) for word in written)]
    if not options.does_change:
        words.insert(1, "--readonly")
    if options.ioengine in NO_TARGET_ENGINES:
        return words + size_words(options.size, options.offset)
    if disk.file or (disk.region and works_in_region(options)):
        whole = disk.writable_bytes
        offset = portion(options.offset, whole)
        size = portion(options.size, whole) or whole - offset
        words += size_words(size, offset + (disk.region.offset + region.HEADER if disk.region else 0))
    else:
        words += size_words(options.size, options.offset)
    return [*words, f"--filename={spell_option('filename', (disk.path,))}"]


def size_words(size: int, offset: int) -> list[str]:
    both = {"size": size, "offset": offset}
    return [f"--{name}={spell_option(name, value)}" for name, value in both.items() if value]


def name_of(word: str) -> str:
    return word.partition("=")[0].removeprefix("--")


def in_lines(words: list[str]) -> list[str]:
    """The command as lines that a shell takes as one."""
    lines, line = [], ""
    for word in map(shlex.quote, words):
        if line and len(line) + 1 + len(word) > COLUMNS - 2:
            lines.append(f"{line} \\")
            line = INDENT + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]

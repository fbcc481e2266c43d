"""The YAML document: its mappings, lists and values, each with the line it stands on."""

import difflib
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from iovigil.agent.config.problems import ConfigError, Problem
from iovigil.engines.quantities import quoted

MERGE: Final = "tag:yaml.org,2002:merge"
NULL: Final = "tag:yaml.org,2002:null"
STANDARD_TAGS: Final = "tag:yaml.org,2002:"
MOST_PROBLEMS: Final = 100
MOST_NODES: Final = 200_000
"""What is read, a node that is used again by an alias each time: a short file can ask for more than ends in a day."""

# The values are read as text, by the kind of their key: YAML's own reading would make 90 of 1:30 and False of no.
Loader = yaml.SafeLoader


class Report:
    """The problems of one file, as they are found."""

    def __init__(self, file: str) -> None:
        self.file = file
        # An anchored mapping is read wherever it is used: the same words on the same line are one mistake.
        self.problems: dict[Problem, None] = {}
        self._nodes = 0

    def add(self, line: int, key: str, reason: str) -> None:
        """Raises ConfigError when there are so many that nobody reads on."""
        self.problems[Problem(self.file, line, key, reason)] = None
        if len(self.problems) >= MOST_PROBLEMS:
            last = max(problem.line for problem in self.problems)
            more = Problem(self.file, last, "", f"nothing more was looked at: these are {MOST_PROBLEMS} mistakes")
            raise ConfigError([*self.problems, more])

    def count(self, nodes: int, line: int) -> None:
        """Book that so many nodes are read. Raises ConfigError when that would never end."""
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            self.add(line, "", f"asks, with its aliases (*name), for more than {MOST_NODES} values to be read")
            raise ConfigError(self.problems)


class Entry(NamedTuple):
    """A key of a mapping: where it stands, and its value."""

    line: int
    node: Node


class Section:
    """A mapping of the document, each key at most once."""

    def __init__(self, report: Report, path: str, line: int, entries: dict[str, Entry]) -> None:
        self.report = report
        self.path = path
        self.line = line
        self.entries = entries

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, reason: str) -> None:
        """Report what is wrong with the key `name`, at its line or, where it is missing, at the section's."""
        line = self.entries[name].line if name in self.entries else self.line
        self.report.add(line, self.key(name) if name else self.path, reason)

    def refuse_unknown(self, known: Collection[str]) -> None:
        for name in [name for name in self.entries if name not in known]:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(known)}"
            self.refuse(name, f"is not a key here; {meant}")

    def section(self, name: str) -> "Section | None":
        entry = self.entries[name]
        return as_section(self.report, self.key(name), entry.line, entry.node)

    def sections(self, name: str) -> Iterator["Section"]:
        """The mappings of a list of them."""
        for index, item in enumerate(self.items(name)):
            section = as_section(self.report, f"{self.key(name)}[{index}]", line_of(item), item)
            if section is not None:
                yield section

    def items(self, name: str) -> list[Node]:
        line, node = self.entries[name]
        if isinstance(node, SequenceNode):
            self.report.count(len(node.value), line)
            return list(node.value)
        self.report.add(line, self.key(name), f"{found(node)}, where a list is expected")
        return []

    def texts(self, name: str) -> list[tuple[int, str]]:
        """The values of a list of them, each with its line."""
        texts = []
        for index, item in enumerate(self.items(name)):
            text = as_text(self.report, f"{self.key(name)}[{index}]", line_of(item), item)
            if text is not None:
                texts.append((line_of(item), text))
        return texts

    def text(self, name: str) -> str | None:
        entry = self.entries[name]
        return as_text(self.report, self.key(name), entry.line, entry.node)


def compose(text: str, report: Report, *, may_be_empty: bool = False) -> Section:
    """Return the document in `text` as a section; raise ConfigError when it is not YAML or not a mapping."""
    try:
        loader = Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        report.add(mark.line + 1 if mark else 1, "", f"is not YAML: {reason}")
        raise ConfigError(report.problems) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        report.add(line, "", f"is not text: character {error.character:#x} is not allowed in YAML")
        raise ConfigError(report.problems) from None
    except ValueError as error:
        # PyYAML lets through what int() and chr() say of a directive or an escape.
        report.add(loader.line + 1, "", f"is not YAML: {error}")
        raise ConfigError(report.problems) from None
    if root is None and may_be_empty:
        return Section(report, "", 1, {})
    section = as_section(report, "", 1, root) if root is not None else None
    if section is None:
        if root is None:
            report.add(1, "", "is empty: disks and probes are expected")
        raise ConfigError(report.problems)
    return section


def as_section(report: Report, path: str, line: int, node: Node) -> Section | None:
    """Return a mapping's keys; None, with a report, for any other node. Nothing after a key is an empty mapping."""
    section = Section(report, path, line, {})
    if isinstance(node, MappingNode):
        fill(section, node, {id(node)})
        return section
    if path and is_null(node):
        return section
    report.add(line, path, f"{found(node)}, where a mapping is expected")
    return None


def fill(section: Section, node: MappingNode, seen: set[int]) -> None:
    """Enter the keys of a mapping, then those that it merges (`<<: *base`) and does not have itself."""
    section.report.count(len(node.value), line_of(node))
    merged: list[Node] = []
    own: dict[str, Entry] = {}
    for key, value in node.value:
        line = line_of(key)
        if key.tag == MERGE:
            merged += value.value if isinstance(value, SequenceNode) else [value]
        elif not isinstance(key, ScalarNode):
            section.report.add(line, section.path, "has a list or a mapping where a key is expected")
        elif key.value in own:
            first = own[key.value].line
            section.report.add(line, section.key(key.value), f"is given twice: first on line {first}")
        else:
            own[key.value] = Entry(line, value)
    section.entries = own | section.entries
    for base in merged:
        if not isinstance(base, MappingNode):
            section.report.add(line_of(base), section.key("<<"), f"{found(base)}, where a mapping is expected")
        elif id(base) not in seen:  # a mapping may, by an anchor, hold itself
            seen.add(id(base))
            fill(section, base, seen)


def as_text(report: Report, path: str, line: int, node: Node) -> str | None:
    """Return a value as it is written; None, with a report, for nothing, a list or a mapping."""
    if is_null(node):
        report.add(line, path, "has no value")
    elif not isinstance(node, ScalarNode):
        report.add(line, path, f"{found(node)}, where one value is expected")
    elif not node.tag.startswith(STANDARD_TAGS):
        report.add(line, path, f"the tag {node.tag} has no meaning here")
    else:
        return str(node.value)
    return None


def is_null(node: Node) -> bool:
    # Written out, null is a word like any other: an I/O engine has that name.
    return bool(node.tag == NULL and node.value != "null")


def line_of(node: Node) -> int:
    return int(node.start_mark.line) + 1


def found(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "is a mapping"
    if isinstance(node, SequenceNode):
        return "is a list"
    return "has no value" if is_null(node) else f"is {quoted(node.value)}"

"""Which of the disks of the machine the configuration selects, under which names, and why not the rest."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final

import msgspec

from iovigil.agent.config import Config, DiskSettings, SelectorSettings
from iovigil.agent.config.kinds import FIELD
from iovigil.agent.disks import candidates, identity, inventory, mounts
from iovigil.agent.disks.candidates import Candidate

LONGEST_NAME: Final = 64
NOT_ASKED_FOR: Final = "its"
OF_PATHS: Final = ("path", "mount")


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry of the configuration says of a candidate."""

    candidate: Candidate
    entry: int
    """Its place among the entries that select, from 0."""
    disk: DiskSettings | None = None
    """What becomes of it; None where it is left out."""
    reason: str = ""
    """Why it is left out."""

    @property
    def is_other(self) -> bool:
        """Whether it is left out because it is not what the entry asks for."""
        return self.reason.startswith(NOT_ASKED_FOR)


def expand(config: Config, root: str = "/") -> Config:
    """The configuration with the disks that its entries select on this machine now."""
    return with_disks(config, (choice.disk for choice in choose(config, root=root) if choice.disk is not None))


def with_disks(config: Config, selected: Iterable[DiskSettings]) -> Config:
    """The configuration with these disks behind its own."""
    names = {disk.name for disk in config.disks}
    return msgspec.structs.replace(
        config, disks=(*config.disks, *(disk for disk in selected if disk.name not in names))
    )


def choose(
    config: Config,
    found: Sequence[Candidate] | None = None,
    holders: Mapping[str, str] | None = None,
    root: str = "/",
) -> list[Choice]:
    """What each entry says of each disk or filesystem, in the order of the machine.

    `holders` says whose names are, so that a newcomer does not take them from disks that are there.
    """
    if not config.selectors:
        return []
    found = candidates.all_candidates(root) if found is None else found
    chooser = Chooser(config, root)
    chooser.holders = holders or {}
    return [choice for candidate in found for choice in chooser.choose(candidate)]


class Chooser:
    """Goes from candidate to candidate, and knows what is taken."""

    def __init__(self, config: Config, root: str) -> None:
        self.selectors = config.selectors
        self.written = {disk.name for disk in config.disks}
        self.devices = {inventory.resolve(disk, root).device: disk.name for disk in config.disks if disk.device}
        table = mounts.table(root)
        points = {disk.name: mounts.behind(disk.file, table) for disk in config.disks if disk.file}
        self.points = {mounts.origin(mount, table).point: name for name, mount in points.items() if mount is not None}
        self.holders: Mapping[str, str] = {}
        self.names: dict[str, str] = {}
        """Whose each name is now."""
        self.filesystems: dict[str, str] = {}
        """Where those that are selected are mounted."""

    def choose(self, candidate: Candidate) -> Iterator[Choice]:
        taken = self.own_entry(candidate)
        for entry, selector in enumerate(self.selectors):
            if selector.selects_filesystems != bool(candidate.mount):
                continue
            name = name_of(selector, candidate)
            reason = mismatch(selector, candidate) or taken or self.conflict(selector, name, candidate)
            if reason:
                yield Choice(candidate=candidate, entry=entry, reason=reason)
                continue
            self.names[name] = candidate.title
            if candidate.source:
                self.filesystems[candidate.source] = candidate.mount
            taken = f"it is {name} by an earlier entry"
            yield Choice(candidate=candidate, entry=entry, disk=settings(selector, candidate, name))

    def own_entry(self, candidate: Candidate) -> str:
        own = self.points.get(candidate.mount) if candidate.mount else self.devices.get(candidate.kernel)
        return f"it is {own} by an entry of its own" if own else ""

    def conflict(self, selector: SelectorSettings, name: str, candidate: Candidate) -> str:
        if not name:
            return f"it has not all of {selector.template}, which would be its name"
        if where := self.filesystems.get(candidate.source):
            return f"it is the filesystem at {where} once more"
        if name in self.written:
            return f"{name} is the name of a disk with an entry of its own"
        if other := self.names.get(name):
            return f"{name} is the name of {other}: name it by more, such as {{wwn}} or {{by_path}}"
        if self.holders.get(name, candidate.name_holder) != candidate.name_holder:
            return f"{name} is the name of a disk that was there first: name it by more, such as {{wwn}} or {{by_path}}"
        return ""


def mismatch(selector: SelectorSettings, candidate: Candidate) -> str:
    """Why an entry does not mean a candidate; empty where it does."""
    for fact, patterns in selector.match.given():
        values = candidate.facts(fact)
        if not any(is_match(fact, value, pattern) for value in values for pattern in patterns):
            return f"{NOT_ASKED_FOR} {fact} is {shown(values)}, not {' or '.join(patterns)}"
    for fact, patterns in selector.exclude.given() if selector.exclude else ():
        for value in candidate.facts(fact):
            if pattern := next((pattern for pattern in patterns if is_match(fact, value, pattern)), ""):
                return f"it is excluded: its {fact} is {value}" + ("" if pattern == value else f", as {pattern}")
    if candidate.unusable:
        return candidate.unusable
    if candidate.is_virtual and not asks_for_virtual(selector):
        what = "filesystem" if candidate.mount else "path or transport"
        return f"it is {'no filesystem on a disk' if candidate.mount else 'no hardware'}: it is chosen only by {what}"
    return ""


def asks_for_virtual(selector: SelectorSettings) -> bool:
    facts = selector.match
    return bool(facts.filesystem if selector.selects_filesystems else facts.path or facts.transport)


def shown(values: Sequence[str]) -> str:
    if not values:
        return "not known"
    return values[0] if len(values) == 1 else f"{values[0]} (and {len(values) - 1} more)"


def is_match(fact: str, value: str, pattern: str) -> bool:
    if fact in OF_PATHS:
        return is_path_match(value.split("/"), pattern.split("/"))
    return fnmatchcase(value, pattern)


def is_path_match(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path matches part by part; `**` is any number of parts."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(is_path_match(parts[skipped:], patterns[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and is_path_match(parts[1:], patterns[1:])


def settings(selector: SelectorSettings, candidate: Candidate, name: str) -> DiskSettings:
    if candidate.mount:
        file = candidate.mount.rstrip("/") + "/" + selector.file
        return DiskSettings(name=name, file=file, size=selector.size, wake=selector.wake, mount=candidate.mount)
    return DiskSettings(name=name, device=candidate.path, region=selector.region, wake=selector.wake, key=candidate.key)


def name_of(selector: SelectorSettings, candidate: Candidate) -> str:
    """The name of a disk, in the characters of a label; empty where a part of it is not known."""
    parts = FIELD.split(selector.template)
    for place in range(1, len(parts), 2):
        parts[place] = clean(value_of(parts[place], candidate))
        if not parts[place]:
            return ""
    name = "".join(parts)
    if len(name) <= LONGEST_NAME:
        return name
    # What is cut off may be what tells it from others.
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def value_of(field: str, candidate: Candidate) -> str:
    if field == "mount":
        return candidate.mount.strip("/").replace("/", "-") or ("root" if candidate.mount else "")
    if field == "by_id":
        return os.path.basename(identity.best_link(candidate.links))
    return next(iter(candidate.facts(field)), "")


def clean(value: str) -> str:
    """A value in the characters that a name may have."""
    return re.sub(r"[^A-Za-z0-9_.:-]+", "_", value.strip()).strip("_")

"""From the sections of the document to the settings: every key by its kind, every mistake reported."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from yaml.nodes import Node, SequenceNode

from iovigil.agent.config import kinds, rules, scrub_rules
from iovigil.agent.config.document import Section, as_text, found, is_null
from iovigil.agent.config.model import (
    PROBE_DEFAULTS,
    AgentSettings,
    ConfigKey,
    DiskSettings,
    FactSettings,
    HistorySettings,
    LimitSettings,
    OtlpSettings,
    PressureSettings,
    ProbeSettings,
    RegionSettings,
    SelectorSettings,
    TextfileSettings,
    WebSettings,
    WindowSettings,
    keys_of,
)
from iovigil.agent.config.rules import Located
from iovigil.engines.options import JobOptions, OptionError
from iovigil.engines.spelling import canonical, parse_option

S = TypeVar("S", bound=msgspec.Struct)

TOP_KEYS: Final[Mapping[str, str]] = {
    "agent": "The agent itself; may be left out.",
    "disks": "What is watched: a list.",
    "probes": "What runs on the disks, and when: each probe under its name.",
}
AGENT_PARTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "web": WebSettings,
    "pressure": PressureSettings,
    "history": HistorySettings,
    "textfile": TextfileSettings,
    "otlp": OtlpSettings,
    "limits": LimitSettings,
}
"""The mappings in `agent`."""


def read_agent(root: Section) -> AgentSettings:
    section = root.section("agent") if "agent" in root.entries else None
    if section is None:
        return AgentSettings()
    values = read_keys(section, AgentSettings)
    for name, part in AGENT_PARTS.items():
        if (settings := read_part(section, name, part)) is not None:
            values[name] = settings
    if isinstance(pressure := values.get("pressure"), PressureSettings):
        rules.check_pressure(pressure, section.section("pressure") or section)
    if isinstance(otlp := values.get("otlp"), OtlpSettings):
        rules.check_otlp(otlp, section, section.section("otlp") or section)
    return AgentSettings(**values)


def read_part(section: Section, name: str, settings: type[S]) -> S | None:
    """Return a mapping in a section; None where it is not there, or does not say what it has to."""
    part = section.section(name) if name in section.entries else None
    if part is None:
        return None
    values = read_keys(part, settings)
    is_whole = all(key.field in values for key in keys_of(settings) if key.is_required)
    return settings(**values) if is_whole else None


def read_disks(root: Section) -> list[Located[DiskSettings]]:
    """Return the disks that are named each by themselves."""
    if "disks" not in root.entries:
        root.refuse("disks", "is missing: a list of the disks to watch")
        return []
    disks = []
    for section in root.sections("disks"):
        if is_selector(section):
            continue
        values = read_keys(section, DiskSettings)
        if "region" in section.entries:
            values["region"] = read_region(section)
        disks.append(Located(DiskSettings(**{"name": "", **values}), section))
    if isinstance(root.entries["disks"].node, SequenceNode) and not root.items("disks"):
        root.refuse("disks", "names no disk")
    return disks


def is_selector(disk: Section) -> bool:
    return "match" in disk.entries


def read_selectors(root: Section) -> list[Located[SelectorSettings]]:
    """Return the entries among the disks that select them by what they are."""
    sections = root.sections("disks") if "disks" in root.entries else ()
    return [Located(read_selector(section), section) for section in sections if is_selector(section)]


def read_selector(section: Section) -> SelectorSettings:
    values = read_keys(section, SelectorSettings)
    for name in ("match", "exclude"):
        if name in section.entries:
            values[name] = read_facts(section, name)
    if "region" in section.entries:
        values["region"] = read_region(section)
    return SelectorSettings(**{"match": FactSettings(), **values})


def read_facts(entry: Section, name: str) -> FactSettings:
    """Return patterns of facts, each of which may stand alone or in a list."""
    section = entry.section(name)
    if section is None:
        return FactSettings()
    if not section.entries:
        names = ", ".join(key.name for key in keys_of(FactSettings))
        entry.refuse(name, f"says nothing: give a pattern for one of {names}")
    return FactSettings(**read_keys(section, FactSettings))


def read_region(disk: Section) -> RegionSettings | None:
    section = disk.section("region")
    values = read_keys(section, RegionSettings) if section is not None else {}
    return RegionSettings(**values) if len(values) == len(keys_of(RegionSettings)) else None


def read_probes(root: Section) -> list[Located[ProbeSettings]]:
    if "probes" not in root.entries:
        root.refuse("probes", "is missing: the jobs to run, each under its name")
        return []
    probes = root.section("probes")
    if probes is None:
        return []
    if not probes.entries:
        root.refuse("probes", "names no probe")
    return [probe for name in probes.entries if (probe := read_probe(probes, name)) is not None]


def read_probe(probes: Section, name: str) -> Located[ProbeSettings] | None:
    """Return a probe in which every key that could not be read has a value against which no rule speaks."""
    try:
        kinds.read_label(name)
    except ValueError as error:
        probes.refuse(name, str(error))
    section = probes.section(name)
    if section is None:
        return None
    neutral = {"every_s": math.inf, **({"disks": ()} if "disks" in section.entries else {})}
    values = {**neutral, **read_keys(section, ProbeSettings)}
    is_scrub = values.get("kind") == "scrub"
    options = read_job(section, name, is_scrub=is_scrub) if "job" in section.entries else None
    if "windows" in section.entries:
        values["windows"] = read_windows(section)
    if (limits := read_part(section, "limits", LimitSettings)) is not None:
        values["limits"] = limits
    return Located(ProbeSettings(name=name, options=options or PROBE_DEFAULTS, **values), section)


def read_windows(probe: Section) -> tuple[WindowSettings, ...]:
    windows = []
    for section in probe.sections("windows"):
        values = read_keys(section, WindowSettings)
        if {"from_", "to"} <= values.keys():
            windows.append(WindowSettings(**values))
            rules.check_window(windows[-1], section)
    if isinstance(probe.entries["windows"].node, SequenceNode) and not probe.items("windows"):
        probe.refuse("windows", "is an empty list: leave it out where the probe may start at any time")
    if len(windows) > rules.MOST_WINDOWS:
        probe.refuse("windows", f"has {len(windows)} of them: at most {rules.MOST_WINDOWS}")
    return tuple(windows)


def read_keys(section: Section, settings: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the values of a section's keys by the names of their fields, without those that are wrong."""
    keys = keys_of(settings)
    section.refuse_unknown([key.name for key in keys])
    values = {}
    for key in keys:
        if key.name not in section.entries:
            if key.is_required:
                section.refuse(key.name, f"is missing: {key.text[0].lower()}{key.text[1:].rstrip('.')}")
        elif key.kind is not None:
            value = read_list(section, key) if key.is_list else read_value(section, key)
            if value is not None:
                values[key.field] = value
    return values


def read_value(section: Section, key: ConfigKey) -> Any:
    text = section.text(key.name)
    if text is None or key.kind is None:
        return None
    try:
        return key.kind.read(text)
    except ValueError as error:
        section.refuse(key.name, str(error))
        return None


def read_list(section: Section, key: ConfigKey) -> tuple[Any, ...] | None:
    """Return the values of a list, None unless all are right and there is one."""
    if key.takes_one and not isinstance(section.entries[key.name].node, SequenceNode):
        value = read_value(section, key)
        return None if value is None else (value,)
    values = []
    items = section.items(key.name)
    for index, (line, text) in enumerate(section.texts(key.name)):
        try:
            values.append(key.kind.read(text) if key.kind else text)
        except ValueError as error:
            section.report.add(line, f"{section.key(key.name)}[{index}]", str(error))
    if isinstance(section.entries[key.name].node, SequenceNode) and not items:
        section.refuse(key.name, "is an empty list")
    if len(items) > rules.MOST_DISKS:
        section.refuse(key.name, f"has {len(items)} values: at most {rules.MOST_DISKS}")
    return tuple(values) if values and len(values) == len(items) else None


def read_job(probe: Section, name: str, *, is_scrub: bool) -> JobOptions | None:
    """Return a probe's options, None when one of them is wrong."""
    section = probe.section("job")
    if section is None:
        return None
    values: dict[str, Any] = {}
    written_as: dict[str, str] = {}
    are_right = True
    for written, entry in section.entries.items():
        try:
            option = written if written in rules.NOT_IN_A_PROBE else canonical(written)
            if option in rules.NOT_IN_A_PROBE:
                raise OptionError(written, rules.NOT_IN_A_PROBE[option])
            if option in written_as:
                raise OptionError(written, f"is the same option as {written_as[option]}: give one of them")
            written_as[option] = written
            if is_scrub:
                scrub_rules.check_option(written, option)
            value = value_of(written, section, entry.node)
            rules.refuse_files(written, option, value)
            values[option] = parse_option(written, value)
        except OptionError as error:
            section.refuse(written, error.reason)
            are_right = False
    if not are_right:
        return None
    implied = {"rw": "rw"} if is_scrub else {}
    options = msgspec.structs.replace(PROBE_DEFAULTS, **{**values, **implied, "name": name})
    for problem in (*rules.check_job(options), *(scrub_rules.check_job(options) if is_scrub else ())):
        section.refuse(written_as.get(problem.option, problem.option), problem.reason)
    return options


def value_of(name: str, section: Section, node: Node) -> str | Sequence[str | None]:
    """Return an option's value as `parse_option` takes it: the text that was written, or a list of such."""
    if is_null(node):
        # On a command line a bare option is a flag that is set; an empty key here is more likely an oversight.
        raise OptionError(name, "has no value")
    if isinstance(node, SequenceNode):
        return [as_text(section.report, section.key(name), section.entries[name].line, item) for item in node.value]
    text = as_text(section.report, section.key(name), section.entries[name].line, node)
    if text is None:
        raise OptionError(name, f"{found(node)}, where one value is expected")
    return text

"""The configuration: YAML to a frozen Config, or to a ConfigError that names every mistake and its line."""

import hashlib
from typing import Final

from iovigil.agent.config import rules, scrub_rules
from iovigil.agent.config.document import Report, compose
from iovigil.agent.config.model import (
    PROBE_DEFAULTS,
    AgentSettings,
    Assignment,
    Config,
    DiskSettings,
    FactSettings,
    LimitSettings,
    OtlpSettings,
    PressureSettings,
    ProbeSettings,
    RegionSettings,
    ScrubSettings,
    SelectorSettings,
    TextfileSettings,
    WebSettings,
    WindowSettings,
)
from iovigil.agent.config.problems import ConfigError, Problem
from iovigil.agent.config.sections import TOP_KEYS, read_agent, read_disks, read_probes, read_selectors
from iovigil.agent.config.source import Unreadable, content_of

__all__ = [
    "DEFAULT_CONFIG",
    "PROBE_DEFAULTS",
    "AgentSettings",
    "Assignment",
    "Config",
    "ConfigError",
    "DiskSettings",
    "FactSettings",
    "LimitSettings",
    "OtlpSettings",
    "PressureSettings",
    "ProbeSettings",
    "Problem",
    "RegionSettings",
    "ScrubSettings",
    "SelectorSettings",
    "TextfileSettings",
    "WebSettings",
    "WindowSettings",
    "load",
    "parse",
    "text_of",
]

DEFAULT_CONFIG: Final = "/etc/iovigil/agent.yml"
"""Where a packaged agent has its own."""
MAX_FILE_BYTES: Final = 256 << 10
"""Of the densest YAML that is 5 s of work. 1,000 disks, each with all that can be said of it, are half of it."""


def load(path: str) -> Config:
    """Return the configuration in a file; raise ConfigError for all that can be wrong with it, or with the file."""
    return parse(text_of(path), path)


def text_of(path: str) -> str:
    """Return the text of a configuration file; raise ConfigError where it cannot be read or is no text."""
    try:
        content = content_of(path, MAX_FILE_BYTES, "configuration")
    except Unreadable as error:
        raise ConfigError([Problem(path, 0, "", str(error))]) from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"is not text: byte {content[error.start]:#04x} is not UTF-8"
        raise ConfigError([Problem(path, line, "", reason)]) from None


def parse(text: str, source: str) -> Config:
    """Return the configuration in `text`, which came from `source`; raise ConfigError."""
    report = Report(source)
    try:
        return read(text, report)
    except RecursionError:
        report.add(1, "", "is nested too deeply")
        raise ConfigError(report.problems) from None


def read(text: str, report: Report) -> Config:
    root = compose(text, report)
    root.refuse_unknown(list(TOP_KEYS))
    agent = read_agent(root)
    disks = read_disks(root)
    selectors = read_selectors(root)
    probes = read_probes(root)
    rules.check_extent(probes, disks, selectors, root)
    rules.check_disks(disks)
    rules.check_selectors(selectors)
    rules.check_probes(probes, disks, selectors)
    scrub_rules.check_scrubs(probes, disks, selectors)
    if report.problems:
        raise ConfigError(report.problems)
    return Config(
        source=report.file,
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        agent=agent,
        disks=tuple(located.settings for located in disks),
        probes=tuple(located.settings for located in probes),
        selectors=tuple(located.settings for located in selectors),
        selector_lines=tuple((located.section.line, located.section.path) for located in selectors),
        lines={located.settings.name: (located.section.line, located.section.path) for located in disks},
    )

"""`iovigil check-config`: what is wrong with a configuration, or what it would do."""

import argparse
import math
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iovigil.agent import config, load, pressure, roster, schedule
from iovigil.agent.cli import load_report, outputs_report, selections
from iovigil.agent.cli.disks import verdicts_on
from iovigil.agent.cli.probe_report import describe
from iovigil.agent.cli.report import count, new_table, open_console, say
from iovigil.agent.config import Assignment, Config, ConfigError
from iovigil.agent.disks import candidates, inventory, selection
from iovigil.agent.disks.inventory import Resolved
from iovigil.agent.disks.selection import Choice
from iovigil.agent.host import host_id
from iovigil.agent.load import Planned
from iovigil.agent.pressure import PressureUnknown
from iovigil.agent.web import web_config
from iovigil.agent.web.web_config import WebConfig
from iovigil.agent.windows import Windows, reference_halves
from iovigil.engines.options import SECOND_US
from iovigil.engines.quantities import spell_size, spell_time

NAME: Final = "check-config"
HELP: Final = "say what is wrong with a configuration, or what it would do"

SHOWN_STARTS: Final = 3
DAY_S: Final = 86_400
UNBROKEN: Final[Mapping[str, Any]] = {"break_long_words": False, "break_on_hyphens": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration file")


def main(args: argparse.Namespace) -> int:
    try:
        written = config.load(args.file)
        if problems := selections.conflicts(written):
            raise ConfigError(problems)
        web = web_config.load(written.agent.web.config_file) if written.agent.web.config_file else web_config.OPEN
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    found = candidates.all_candidates() if written.selectors else []
    choices, loaded = selection.choose(written, found), roster.expected(written, found)
    # Before there is a console: asking forks.
    verdicts = {name: text for name, text in verdicts_on(loaded.disks).items() if not text.startswith("absent:")}
    show(loaded, open_console(), now_unix=time.time(), host=host_id(), verdicts=verdicts, web=web, choices=choices)
    return 0


def show(
    loaded: Config,
    console: Console,
    *,
    now_unix: float,
    host: str,
    root: str = "/",
    verdicts: Mapping[str, str] | None = None,
    web: WebConfig = web_config.OPEN,
    choices: Sequence[Choice] = (),
) -> None:
    """Print what the agent on `host` would do.

    `root` is where /proc and /sys are, `verdicts` what the guard says, `choices` what became of selected disks.
    """
    say(console, f"{loaded.source} is right: {count(loaded.disks, 'disk')}, {count(loaded.probes, 'probe')}")
    addresses = ", ".join(loaded.agent.listen)
    say(console, f"Metrics on {addresses}, at most {loaded.agent.max_workers} runs at the same time")
    for way in outputs_report.ways(loaded):
        say(console, way)
    if loaded.agent.web.config_file:
        say(console, access(loaded.agent.web.config_file, web))
    say(console, "")
    console.print(disks_table(loaded, console, root))
    for name, verdict in (verdicts or {}).items():
        say(console, textwrap.fill(f"{name}: {verdict}", console.width, subsequent_indent="    ", **UNBROKEN))
    if verdicts:
        say(console, "")
    for probe in loaded.probes:
        say(console, "\n".join(describe(probe, loaded.windows_of(probe), loaded.assignments())))
    console.print(schedule_table(loaded, console, now_unix, host))
    hardware = {disk.name: load_report.Hardware.of(disk, root) for disk in loaded.disks}
    demands = list(load.planned(loaded, {name: each.target_bytes for name, each in hardware.items()}))
    say(console, "")
    console.print(load_report.table(demands, hardware, console))
    for remark in load_report.remarks(loaded, demands, hardware, root):
        say(console, textwrap.fill(remark, console.width, subsequent_indent="  ", **UNBROKEN))
    for warning in (
        *absences(loaded, root),
        *overlaps(loaded, root),
        *overloads(loaded, demands),
        *unused_windows(loaded, host),
        *holds(loaded, root),
        *outputs_report.obstacles(loaded, root),
        *selections.warnings(loaded, choices),
        *web.remarks,
        *exposure(loaded),
    ):
        say(console, textwrap.fill(f"warning: {warning}", console.width, **UNBROKEN))


def access(file: str, web: WebConfig) -> str:
    """Who may ask the agent."""
    demands = [*(["a client certificate"] if web.needs_client else []), *(["a password"] if web.users else [])]
    protocol = "TLS" if web.context else "plain HTTP"
    return f"{file} is right: {protocol}, asks for {' and '.join(demands) or 'nothing'}"


def exposure(loaded: Config) -> Iterator[str]:
    if not loaded.agent.web.config_file and not all(map(is_local, loaded.agent.listen)):
        yield "anybody who reaches agent.listen is served: see agent.web.config_file"
        if loaded.agent.web.enable_control:
            yield "anybody who reaches agent.listen may pause probes and start them: agent.web.enable_control is set"


def is_local(address: str) -> bool:
    return address.startswith(("127.", "localhost:", "[::1]:"))


def disks_table(loaded: Config, console: Console, root: str) -> Table:
    table = new_table(console, "Disks", ("disk", "target", "size", "now"))
    for disk in loaded.disks:
        resolved = inventory.resolve(disk, root)
        size = spell_size(resolved.size_bytes or disk.size)
        cells = (disk.name, disk.path, size if resolved.is_present else "", presence(resolved))
        table.add_row(*map(Text, cells))
    return table


def presence(resolved: Resolved) -> str:
    if not resolved.is_present:
        return "absent"
    labels = resolved.identity
    hardware = " ".join(filter(None, (labels.get("model", ""), labels.get("serial", ""))))
    return f"{resolved.device or 'present'}{f' ({hardware})' if hardware else ''}"


def schedule_table(loaded: Config, console: Console, now_unix: float, host: str) -> Table:
    clock = ZoneInfo(loaded.agent.timezone) if loaded.agent.timezone else None
    zone = loaded.agent.timezone or datetime.fromtimestamp(now_unix).astimezone().strftime("UTC%z")
    columns = ("disk", "probe", "every", "phase", "at most", f"next starts ({zone})")
    table = new_table(console, "Schedule", columns)
    for each in loaded.assignments():
        table.add_row(*map(Text, planned(each, loaded.windows_of(each.probe), now_unix, host, clock)))
    return table


def planned(each: Assignment, windows: Windows, now_unix: float, host: str, clock: ZoneInfo | None) -> tuple[str, ...]:
    interval_s = each.probe.every_s
    phase_s = schedule.phase_s(host, each.disk.name, each.probe.name, interval_s, windows)
    starts: list[float] = []
    for _ in range(SHOWN_STARTS):
        starts.append(schedule.next_start_unix(starts[-1] if starts else now_unix, interval_s, phase_s, windows))
    ahead_s = starts[-1] - now_unix
    pattern = "%H:%M:%S" if ahead_s < DAY_S else "%a %H:%M" if ahead_s < 6 * DAY_S else "%m-%d %H:%M"
    return (
        each.disk.name,
        each.probe.name,
        spell_time(round(interval_s * SECOND_US)),
        f"{phase_s:.1f}s",
        spell_time(each.probe.options.longest_us),
        " ".join(datetime.fromtimestamp(start, clock).strftime(pattern) for start in starts if math.isfinite(start)),
    )


def unused_windows(loaded: Config, host: str) -> Iterator[str]:
    """Say which windows no start falls into: the interval is longer, and the start has its place in another one."""
    for each in loaded.assignments():
        windows = loaded.windows_of(each.probe)
        interval_s = each.probe.every_s
        phase_s = schedule.phase_s(host, each.disk.name, each.probe.name, interval_s, windows)
        for window in windows.windows:
            halves = reference_halves(Windows((window,), windows.zone), schedule.REFERENCE_INTERVALS * interval_s)
            if not any(schedule.starts_within(half, interval_s, phase_s) for half in halves):
                yield (
                    f"probe {each.probe.name} never starts on {each.disk.name} in its window {window}: with every "
                    f"{spell_time(round(interval_s * SECOND_US))} its starts are at another time; a shorter interval, "
                    "or a probe of its own, would use it"
                )


def holds(loaded: Config, root: str) -> Iterator[str]:
    """Say what would hold starts back now, and what of it cannot be told."""
    file = loaded.agent.blackout_file
    if file and os.path.lexists(Path(root, file.lstrip("/"))):
        yield f"blackout: {file} exists, nothing starts"
    if loaded.agent.pressure:
        try:
            pressure.read(pressure.sources(loaded.agent.pressure, root))
        except PressureUnknown as error:
            yield f"agent.pressure: {error}; starts would not wait"


def absences(loaded: Config, root: str) -> Iterator[str]:
    for disk in loaded.disks:
        resolved = inventory.resolve(disk, root)
        if not resolved.is_present:
            yield f"disk {disk.name} is absent: {resolved.reason}"


def overlaps(loaded: Config, root: str) -> Iterator[str]:
    """Say where two disks, by different links, declare the same bytes of one device."""
    declared = [(disk, disk.region, inventory.resolve(disk, root).device) for disk in loaded.disks if disk.region]
    for place, (disk, mine, device) in enumerate(declared):
        for other, theirs, other_device in declared[:place]:
            is_apart = mine.offset + mine.size <= theirs.offset or theirs.offset + theirs.size <= mine.offset
            if device and device == other_device and not is_apart:
                yield f"the regions of {other.name} and {disk.name} overlap on {device}: one would destroy the other"


def overloads(loaded: Config, demands: Sequence[Planned]) -> Iterator[str]:
    """Say where the plan asks for more than there is, and for nothing at all."""
    for disk in loaded.disks:
        share = sum(each.demand.busy for each in demands if each.disk == disk.name)
        if not share:
            yield f"disk {disk.name} has no probe"
        if share > 1:
            yield f"disk {disk.name} would be busy for {share:.0%} of the time at worst: runs will be skipped"
    workers = sum(each.demand.busy for each in demands)
    if workers > loaded.agent.max_workers:
        yield (
            f"{workers:.1f} runs would be in progress at a time on average, at worst, and agent.max_workers is "
            f"{loaded.agent.max_workers}: runs will be skipped"
        )

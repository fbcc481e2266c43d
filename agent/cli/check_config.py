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

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iovigil.agent import config, pressure, roster, schedule
from iovigil.agent.cli import selections
from iovigil.agent.cli.disks import verdicts_on
from iovigil.agent.config import Assignment, Config, ConfigError, DiskSettings, ProbeSettings, ScrubSettings
from iovigil.agent.config.rules import portion
from iovigil.agent.config.scrub_rules import spell_rate
from iovigil.agent.config.scrubbing import demand
from iovigil.agent.disks import candidates, inventory, selection
from iovigil.agent.disks.inventory import Resolved
from iovigil.agent.host import host_id
from iovigil.agent.pressure import PressureUnknown
from iovigil.agent.web import web_config
from iovigil.agent.web.web_config import WebConfig
from iovigil.agent.windows import Windows, reference_halves
from iovigil.engines.options import SECOND_US, JobOptions
from iovigil.engines.quantities import spell_size, spell_time
from iovigil.engines.spelling import spell_options

NAME: Final = "check-config"
HELP: Final = "say what is wrong with a configuration, or what it would do"

SHOWN_STARTS: Final = 3
DAY_S: Final = 86_400
PIPE_COLUMNS: Final = 80
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
    console = open_console()
    show(loaded, console, now_unix=time.time(), host=host_id(), verdicts=verdicts)
    for warning in selections.warnings(loaded, choices):
        say(console, textwrap.fill(f"warning: {warning}", console.width, **UNBROKEN))
    for remark in access(loaded, web):
        say(console, textwrap.fill(remark, console.width, **UNBROKEN))
    return 0


def open_console() -> Console:
    # Into a pipe the text is the same wherever it is run, so that it can be compared.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_COLUMNS)


def show(
    loaded: Config,
    console: Console,
    *,
    now_unix: float,
    host: str,
    root: str = "/",
    verdicts: Mapping[str, str] | None = None,
) -> None:
    """Print what the agent on `host` would do; `root` is where /proc and /sys are, `verdicts` what the guard says."""
    say(console, f"{loaded.source} is right: {count(loaded.disks, 'disk')}, {count(loaded.probes, 'probe')}")
    addresses = ", ".join(loaded.agent.listen)
    say(console, f"Metrics on {addresses}, at most {loaded.agent.max_workers} runs at the same time\n")
    console.print(disks_table(loaded, console, root))
    for name, verdict in (verdicts or {}).items():
        say(console, textwrap.fill(f"{name}: {verdict}", console.width, subsequent_indent="    ", **UNBROKEN))
    if verdicts:
        say(console, "")
    for probe in loaded.probes:
        say(console, "\n".join(describe(probe, loaded.windows_of(probe), loaded.assignments())))
    console.print(schedule_table(loaded, console, now_unix, host))
    for warning in (
        *absences(loaded, root),
        *overlaps(loaded, root),
        *overloads(loaded),
        *unused_windows(loaded, host),
        *holds(loaded, root),
    ):
        say(console, textwrap.fill(f"warning: {warning}", console.width, **UNBROKEN))


def access(loaded: Config, web: WebConfig) -> Iterator[str]:
    """Say who may ask the agent, and what is not as it seems."""
    file = loaded.agent.web.config_file
    if file:
        demands = [
            *(["a client certificate"] if web.needs_client else []),
            *(["a password"] if web.users else []),
        ]
        protocol = "TLS" if web.context else "plain HTTP"
        yield f"{file} is right: {protocol}, asks for {' and '.join(demands) or 'nothing'}"
    for remark in web.remarks:
        yield f"warning: {remark}"
    if not file and not all(map(is_local, loaded.agent.listen)):
        yield "warning: anybody who reaches agent.listen is served: see agent.web.config_file"


def is_local(address: str) -> bool:
    return address.startswith(("127.", "localhost:", "[::1]:"))


def say(console: Console, text: str) -> None:
    # Names from the file may look like rich's markup.
    console.print(Text(text), soft_wrap=True)


def count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def new_table(console: Console, title: str, columns: Sequence[str]) -> Table:
    """Return a table with rules on a terminal, and of aligned text anywhere else."""
    look = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(title=title, title_justify="left", title_style="bold", box=look, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def disks_table(loaded: Config, console: Console, root: str) -> Table:
    table = new_table(console, "Disks", ("disk", "target", "size", "now", "busy"))
    for disk in loaded.disks:
        resolved = inventory.resolve(disk, root)
        size = spell_size(resolved.size_bytes or disk.size)
        cells = (disk.name, disk.path, size if resolved.is_present else "", presence(resolved), busy(loaded, disk))
        table.add_row(*map(Text, cells))
    return table


def presence(resolved: Resolved) -> str:
    if not resolved.is_present:
        return "absent"
    labels = resolved.identity
    hardware = " ".join(filter(None, (labels.get("model", ""), labels.get("serial", ""))))
    return f"{resolved.device or 'present'}{f' ({hardware})' if hardware else ''}"


def busy(loaded: Config, disk: DiskSettings) -> str:
    return f"{load(loaded, disk):.0%}"


def load(loaded: Config, disk: DiskSettings) -> float:
    """Return the share of time that a disk spends under probes, at worst."""
    probes = [each.probe for each in loaded.assignments() if each.disk.name == disk.name]
    return sum(probe.options.longest_us / SECOND_US / probe.every_s for probe in probes)


def describe(probe: ProbeSettings, windows: Windows, assignments: Sequence[Assignment]) -> Iterator[str]:
    names = ", ".join(each.disk.name for each in assignments if each.probe.name == probe.name)
    yield from textwrap.wrap(f"Probe {probe.name} on {names or 'no disk'}", PIPE_COLUMNS)
    if windows.windows:
        spelled = "; ".join(map(str, windows.windows))
        yield from textwrap.wrap(f"starts {spelled}", PIPE_COLUMNS, initial_indent="    ", subsequent_indent="    ")
    line = " ".join(spell_options(probe.options))
    indent = "    "
    yield from textwrap.wrap(
        line, PIPE_COLUMNS, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    for each in assignments:
        if each.probe is probe and probe.scrub is not None:
            for text in scrub_plan(probe.scrub, probe.options, each.disk):
                yield from textwrap.wrap(text, PIPE_COLUMNS, initial_indent=indent, subsequent_indent=indent)
    yield ""


def scrub_plan(settings: ScrubSettings, options: JobOptions, disk: DiskSettings) -> Iterator[str]:
    """What a scrub comes to on one disk."""
    whole = disk.writable_bytes
    region = portion(options.size, whole) or whole - portion(options.offset, whole)
    asked = demand(settings, options, region)
    at_a_time = f"{asked.run_bytes / 2**20:.3g} MiB a run"
    bound = f" of {spell_rate(asked.rate_bytes_per_s)} allowed, busy {asked.busy_share:.1%}" if asked.busy_share else ""
    yield (
        f"{disk.name}: {spell_size(region)} in {spell_days(asked.cycle_s)}: {at_a_time}, "
        f"{spell_rate(asked.needed_bytes_per_s)}{bound}"
    )
    first = f"; the first cycle takes {spell_days(asked.first_cycle_s)}" if asked.first_cycle_s else ""
    yield (
        f"{disk.name}: writes {asked.written_bytes_a_day / 2**20:.3g} MiB a day: one block in {settings.n} each cycle, "
        f"all within {spell_days(asked.rewrite_s)}{first}"
    )


def spell_days(time_s: float) -> str:
    """A long time for people."""
    if time_s >= DAY_S:
        return f"{time_s / DAY_S:.3g} days"
    return f"{time_s / 3600:.3g} h" if time_s >= 3600 else f"{time_s / 60:.3g} min"


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


def overloads(loaded: Config) -> Iterator[str]:
    """Say where the plan asks for more than there is, and for nothing at all."""
    for disk in loaded.disks:
        share = load(loaded, disk)
        if not share:
            yield f"disk {disk.name} has no probe"
        if share > 1:
            yield f"disk {disk.name} would be busy for {share:.0%} of the time at worst: runs will be skipped"
    workers = sum(load(loaded, disk) for disk in loaded.disks)
    if workers > loaded.agent.max_workers:
        yield (
            f"{workers:.1f} runs would be in progress at a time on average, at worst, and agent.max_workers is "
            f"{loaded.agent.max_workers}: runs will be skipped"
        )

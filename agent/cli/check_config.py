"""`iovigil check-config`: what is wrong with a configuration, or what it would do."""

import argparse
import math
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iovigil.agent import config, load, schedule
from iovigil.agent.cli.disks import verdicts_on
from iovigil.agent.config import Assignment, Config, ConfigError, DiskSettings, ProbeSettings
from iovigil.agent.disks import inventory, io_priority, sysfs
from iovigil.agent.disks.inventory import Resolved
from iovigil.agent.fio import equivalent
from iovigil.agent.host import host_id
from iovigil.agent.load import Demand, Planned
from iovigil.engines.options import SECOND_US
from iovigil.engines.quantities import spell_size, spell_time

NAME: Final = "check-config"
HELP: Final = "say what is wrong with a configuration, or what it would do"

SHOWN_STARTS: Final = 3
DAY_S: Final = 86_400
PIPE_COLUMNS: Final = 80
INDENT: Final = "    "
NO_BOUND: Final = "no bound"
TOO_MUCH_WEAR: Final = 0.1  # a third of what the least of drives are made for
UNBROKEN: Final[Mapping[str, Any]] = {"break_long_words": False, "break_on_hyphens": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration file")


def main(args: argparse.Namespace) -> int:
    try:
        loaded = config.load(args.file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    # Before there is a console: asking forks.
    verdicts = {name: text for name, text in verdicts_on(loaded.disks).items() if not text.startswith("absent:")}
    show(loaded, open_console(), now_unix=time.time(), host=host_id(), verdicts=verdicts)
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
    say(console, f"Metrics on {loaded.agent.listen}, at most {loaded.agent.max_workers} runs at the same time\n")
    console.print(disks_table(loaded, console, root))
    for name, verdict in (verdicts or {}).items():
        say(console, textwrap.fill(f"{name}: {verdict}", console.width, subsequent_indent="    ", **UNBROKEN))
    if verdicts:
        say(console, "")
    for probe in loaded.probes:
        say(console, "\n".join(describe(probe, loaded.assignments())))
    console.print(schedule_table(loaded, console, now_unix, host))
    hardware = {disk.name: Hardware.of(disk, root) for disk in loaded.disks}
    planned = list(load.planned(loaded, {name: each.target_bytes for name, each in hardware.items()}))
    say(console, "")
    console.print(load_table(planned, hardware, console))
    for remark in remarks(loaded, planned, hardware, root):
        say(console, textwrap.fill(remark, console.width, subsequent_indent="  ", **UNBROKEN))
    for warning in (*absences(loaded, root), *overlaps(loaded, root), *overloads(loaded)):
        say(console, textwrap.fill(f"warning: {warning}", console.width, **UNBROKEN))


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
    return f"{busy_share(loaded, disk):.0%}"


def busy_share(loaded: Config, disk: DiskSettings) -> float:
    """Return the share of time that a disk spends under probes, at worst."""
    probes = [each.probe for each in loaded.assignments() if each.disk.name == disk.name]
    return sum(probe.options.longest_us / SECOND_US / probe.every_s for probe in probes)


def describe(probe: ProbeSettings, assignments: Sequence[Assignment]) -> Iterator[str]:
    """A probe, its disks, and the fio command that does the same on the first of those that it does alike."""
    mine = [each for each in assignments if each.probe.name == probe.name]
    names = ", ".join(each.disk.name for each in mine)
    yield from textwrap.wrap(f"Probe {probe.name} on {names or 'no disk'}", PIPE_COLUMNS)
    alike: dict[tuple[str, ...], list[Assignment]] = {}
    try:
        for each in mine:
            words = (word for word in equivalent.command(each) if not word.startswith("--filename="))
            alike.setdefault(tuple(words), []).append(each)
    except equivalent.NoEquivalent as reason:
        yield f"{INDENT}fio has no such job: {reason}"
        yield ""
        return
    for first, *others in alike.values():
        yield from (f"{INDENT}{line}" for line in equivalent.in_lines(equivalent.command(first)))
        if others:
            text = f"# the same on {', '.join(each.disk.name for each in others)}, each with its own --filename"
            yield from textwrap.wrap(text, PIPE_COLUMNS, initial_indent=INDENT, subsequent_indent=f"{INDENT}#   ")
    yield ""


class Hardware(NamedTuple):
    """What the load on a disk is measured against."""

    device: str
    """The kernel's name; empty where no single one is behind it."""
    target_bytes: int
    """Of the device that is named, be it a partition; 0 where it is not there."""
    disk_bytes: int
    """Of the whole disk; 0 where it is not known."""
    is_flash: bool

    @classmethod
    def of(cls, disk: DiskSettings, root: str) -> "Hardware":
        resolved = inventory.resolve(disk, root)
        whole = sysfs.whole_disk(resolved.device, root) if resolved.device else ""
        return cls(
            device=resolved.device,
            target_bytes=resolved.size_bytes if disk.device else 0,
            disk_bytes=sysfs.size_bytes(whole, root) if whole else 0,
            is_flash=resolved.identity.get("rotational") == "0",
        )


def load_table(planned: Sequence[Planned], hardware: Mapping[str, Hardware], console: Console) -> Table:
    columns = ("disk", "probe", "IOPS", "depth", "read/day", "written/day", "busy", "wear/day")
    table = new_table(console, "Load at worst", columns)
    for disk, mine in by_disk(planned):
        for each in mine:
            table.add_row(*map(Text, (disk, each.probe, *figures(each.demand, hardware[disk]))))
        if len(mine) > 1:
            table.add_row(*map(Text, (disk, "(all)", *figures(load.together(x.demand for x in mine), hardware[disk]))))
    return table


def by_disk(planned: Sequence[Planned]) -> Iterator[tuple[str, list[Planned]]]:
    for disk in dict.fromkeys(each.disk for each in planned):
        yield disk, [each for each in planned if each.disk == disk]


def figures(demand: Demand, hardware: Hardware) -> tuple[str, ...]:
    return (
        bounded(demand.iops, lambda rate: f"{rate:.0f}"),
        str(demand.depth),
        bounded(demand.read_bytes_a_day, spell_amount),
        bounded(demand.written_bytes_a_day, spell_amount),
        f"{demand.busy:.1%}",
        wear(demand, hardware),
    )


def bounded(value: float, spell: Callable[[float], str]) -> str:
    return NO_BOUND if math.isinf(value) else spell(value)


def spell_amount(size: float) -> str:
    """A size as people say it: three figures."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} PiB"


def wear(demand: Demand, hardware: Hardware) -> str:
    if not demand.written_bytes_a_day:
        return "none"
    if not hardware.disk_bytes:
        return "unknown"
    return bounded(demand.wear_a_day(hardware.disk_bytes), lambda share: f"{share:.2g} DWPD")


def remarks(loaded: Config, planned: Sequence[Planned], hardware: Mapping[str, Hardware], root: str) -> Iterator[str]:
    """What the figures alone do not say."""
    yield (
        "One run at a time works on a disk: its IOPS are those of the most demanding probe, while that runs. After a "
        "stall a rate is made up for, by what ratecycle holds."
    )
    without: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in planned:
        if each.demand.unbounded:
            without.setdefault((each.probe, each.demand.unbounded), []).append(f"{each.disk} ({each.demand.busy:.1%})")
    for (probe, missing), where in without.items():
        yield (
            f"{probe} has {NO_BOUND}: without {' and '.join(missing)}, or limits, it takes all that the disk gives for "
            f"so much of the time: {', '.join(where)}. What that came to is measured: iovigil_last_run_bytes_per_second"
        )
    if probes := dict.fromkeys(each.probe for each in planned if each.demand.needs_limits):
        yield f"{', '.join(probes)}: bounded by limits alone, which hold where the agent may make control groups"
    for disk in loaded.disks:
        yield from remarks_on(disk, [each for each in planned if each.disk == disk.name], hardware[disk.name])
    yield from priorities(loaded, hardware, root)


def remarks_on(disk: DiskSettings, planned: Sequence[Planned], hardware: Hardware) -> Iterator[str]:
    demand = load.together(each.demand for each in planned)
    written, whole = demand.written_bytes_a_day, disk.writable_bytes
    if written and whole and not math.isinf(written):
        what = "file" if disk.file else "region"
        yield f"{disk.name}: its {what} of {spell_size(whole)} is written over {written / whole:.3g} times a day"
    if hardware.is_flash and (share := demand.wear_a_day(hardware.disk_bytes)) > TOO_MUCH_WEAR:
        text = "as fast as it can" if math.isinf(share) else f"{share:.2g} times a day"
        yield (
            f"warning: {disk.name} is flash and would be written over {text}; drives are made for 0.3 to 3 in all, "
            "others' writes included"
        )


def priorities(loaded: Config, hardware: Mapping[str, Hardware], root: str) -> Iterator[str]:
    """Which disks honour the priority that the probes ask for, in as few lines as there are answers."""
    said: dict[str, list[str]] = {}
    for disk in loaded.disks:
        jobs = [each.probe.options for each in loaded.assignments() if each.disk.name == disk.name]
        if hardware[disk.name].device:
            for text in io_priority.verdicts(hardware[disk.name].device, jobs, root):
                said.setdefault(text, []).append(disk.name)
    for text, names in said.items():
        yield f"I/O priority on {', '.join(names)}: {text}"


def schedule_table(loaded: Config, console: Console, now_unix: float, host: str) -> Table:
    zone = datetime.fromtimestamp(now_unix).astimezone().strftime("UTC%z")
    columns = ("disk", "probe", "every", "phase", "at most", f"next starts ({zone})")
    table = new_table(console, "Schedule", columns)
    for each in loaded.assignments():
        table.add_row(*map(Text, planned(each, now_unix, host)))
    return table


def planned(each: Assignment, now_unix: float, host: str) -> tuple[str, ...]:
    interval_s = each.probe.every_s
    phase_s = schedule.phase_s(host, each.disk.name, each.probe.name, interval_s)
    starts: list[float] = []
    for _ in range(SHOWN_STARTS):
        starts.append(schedule.next_start_unix(starts[-1] if starts else now_unix, interval_s, phase_s))
    ahead_s = starts[-1] - now_unix
    pattern = "%H:%M:%S" if ahead_s < DAY_S else "%a %H:%M" if ahead_s < 6 * DAY_S else "%m-%d %H:%M"
    return (
        each.disk.name,
        each.probe.name,
        spell_time(round(interval_s * SECOND_US)),
        f"{phase_s:.1f}s",
        spell_time(each.probe.options.longest_us),
        " ".join(datetime.fromtimestamp(start).strftime(pattern) for start in starts),
    )


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
        share = busy_share(loaded, disk)
        if not share:
            yield f"disk {disk.name} has no probe"
        if share > 1:
            yield f"disk {disk.name} would be busy for {share:.0%} of the time at worst: runs will be skipped"
    workers = sum(busy_share(loaded, disk) for disk in loaded.disks)
    if workers > loaded.agent.max_workers:
        yield (
            f"{workers:.1f} runs would be in progress at a time on average, at worst, and agent.max_workers is "
            f"{loaded.agent.max_workers}: runs will be skipped"
        )

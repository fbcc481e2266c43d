"""What check-config says of the load on each disk at worst."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iovigil.agent import load
from iovigil.agent.cli.report import new_table
from iovigil.agent.config import Config, DiskSettings
from iovigil.agent.disks import inventory, io_priority, sysfs
from iovigil.agent.load import Demand, Planned
from iovigil.engines.quantities import spell_amount, spell_size

NO_BOUND: Final = "no bound"
TOO_MUCH_WEAR: Final = 0.1  # a third of what the least of drives are made for


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


def table(planned: Sequence[Planned], hardware: Mapping[str, Hardware], console: Console) -> Table:
    columns = ("disk", "probe", "IOPS", "depth", "read/day", "written/day", "busy", "wear/day")
    rows = new_table(console, "Load at worst", columns)
    for disk, mine in by_disk(planned):
        for each in mine:
            rows.add_row(*map(Text, (disk, each.probe, *figures(each.demand, hardware[disk]))))
        if len(mine) > 1:
            rows.add_row(*map(Text, (disk, "(all)", *figures(load.together(x.demand for x in mine), hardware[disk]))))
    return rows


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

"""What must hold for scrubs: their options, their period, and that nobody else writes where they do."""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from iovigil.agent.config.document import Section
from iovigil.agent.config.model import DiskSettings, ProbeSettings, SelectorSettings
from iovigil.agent.config.rules import Located, sample
from iovigil.agent.config.scrubbing import demand, region_of, spell_rate
from iovigil.engines.options import SECOND_US, SPECS, JobOptions, OptionError
from iovigil.engines.quantities import spell_time

IN_A_SCRUB: Final = frozenset(
    {
        "bs", "direct", "invalidate", "iodepth", "ioengine", "offset", "rate", "rate_iops", "ratecycle", "runtime",
        "size", "cpus_allowed", "cpus_allowed_policy", "hugepage_size", "iomem_align", "lockmem", "mem", "nice",
        "numa_cpu_nodes", "numa_mem_policy", "prio", "prioclass",
    }
)  # fmt: skip
"""The options of a job that a scrub takes, beside those of an I/O engine; all others it settles itself."""


class Watched(NamedTuple):
    """A disk, or what an entry that selects would make of one."""

    name: str
    """What patterns of names are compared with."""
    disk: DiskSettings
    """Under the name that people are told."""


def check_option(written: str, option: str) -> None:
    """Raise OptionError for what a scrub has no use for, or decides itself."""
    if option in IN_A_SCRUB or SPECS[option].used_by == "engine":
        return
    if option == "rw" or "verify" in option:
        raise OptionError(
            written, "is implied by kind: scrub, which reads and checks all blocks and writes a share of them"
        )
    raise OptionError(
        written, f"is not for a scrub, which takes {', '.join(sorted(IN_A_SCRUB))} and options of engines"
    )


def check_job(options: JobOptions) -> Iterator[OptionError]:
    """Say what is wrong with the options of a scrub as a whole."""
    if options.min_bs != options.max_bs or len({*options.bs}) > 1:
        yield OptionError("bs", "is one size in a scrub: its blocks are those of its arithmetic")
    for name in ("rate", "rate_iops"):
        if len({*getattr(options, name)[:2]}) > 1:
            yield OptionError(name, "is one number in a scrub: it is for reads and writes together")


def check_scrubs(
    probes: Sequence[Located[ProbeSettings]],
    disks: Sequence[Located[DiskSettings]],
    selectors: Sequence[Located[SelectorSettings]] = (),
) -> None:
    """Report scrubs that cannot be what they are to be on the disks that they name, or that are selected for them."""
    watched = [Watched(disk.name, disk) for disk, _ in disks]
    for selector, _ in selectors:
        disk = sample(selector)
        watched.append(Watched(disk.name, msgspec.structs.replace(disk, name=selector.template)))
    for probe, section in probes:
        check_keys(probe, section)
        check_windows(probe, section)
        for name, disk in watched:
            if probe.covers(name):
                check_scrub(probe, section, disk)
    check_owners(probes, watched)


def check_keys(probe: ProbeSettings, section: Section) -> None:
    if probe.kind != "scrub":
        for key in ("period", "rewrite"):
            if key in section.entries:
                section.refuse(key, "is of a scrub: set kind: scrub, or leave it out")
    elif "period" not in section.entries:
        section.refuse("period", "is missing: the time within which every block is to be read again, such as 14d")
    elif probe.period_s and probe.every_s != math.inf and probe.period_s < 2 * probe.every_s:
        found = spell_time(int(probe.period_s * SECOND_US))
        section.refuse("period", f"{found} is less than two intervals (every): runs would have to read all of it each")


def check_windows(probe: ProbeSettings, section: Section) -> None:
    if probe.kind == "scrub" and "windows" in section.entries:
        # How far each run has to come follows from `every`: with starts left out no cycle would end in its period.
        section.refuse(
            "windows",
            "are not for a scrub, whose period is planned for a run in every interval: leave them out, and bound what "
            "it takes of the disk with rate or rate_iops",
        )


def check_scrub(probe: ProbeSettings, section: Section, disk: DiskSettings) -> None:
    """Report a scrub that cannot keep its period on a disk, or has nothing there that it could own."""
    scrub, options = probe.scrub, probe.options
    if scrub is None:
        return
    whole = disk.writable_bytes
    if disk.device and not disk.region:
        section.refuse(
            "disks" if "disks" in section.entries else "",
            f"a scrub would write to device {disk.name}: devices are read-only; scrub a probe file on it, declare a "
            "region that the agent may write (region: {offset: 1GiB, size: 8GiB}, then "
            f"`iovigil claim {disk.name}`), or leave {disk.name} out",
        )
        return
    region = region_of(options, whole)
    if region < options.max_bs or scrub.period_s < 2 * scrub.every_s or not options.runtime:
        return  # said already
    asked = demand(scrub, options, region)
    if not asked.is_met:
        section.refuse(
            "period",
            f"{spell_time(int(scrub.period_s * SECOND_US))} cannot be met on disk {disk.name}: a run would have to "
            f"move {spell_rate(asked.needed_bytes_per_s)} for its runtime of {spell_time(options.runtime)}, and its "
            f"rate is {spell_rate(asked.rate_bytes_per_s)}; a longer period or runtime, a shorter every or a higher "
            "rate helps",
        )


def check_owners(probes: Sequence[Located[ProbeSettings]], watched: Sequence[Watched]) -> None:
    """Report what writes to a probe file or region that a scrub owns: each would find the other's blocks."""
    for name, disk in watched:
        if not disk.writable_bytes or not name:
            continue
        owner: ProbeSettings | None = None
        for probe, _ in probes:
            if probe.kind == "scrub" and probe.covers(name):
                owner = owner or probe
        for probe, section in probes:
            if owner is None or probe is owner or not probe.covers(name) or not probe.options.does_change:
                continue
            place = section.section("job") if "job" in section.entries and probe.kind != "scrub" else None
            (place or section).refuse(
                "rw" if place else "kind",
                f"would write to disk {disk.name}, whose bytes the scrub {owner.name} owns: leave {disk.name} "
                "out, or give this probe a file of its own on that disk",
            )

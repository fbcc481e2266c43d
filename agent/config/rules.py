"""What must hold between the keys of a configuration, once each can be read."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from iovigil.agent.config import kinds
from iovigil.agent.config.document import Section
from iovigil.agent.config.model import (
    DiskSettings,
    OtlpSettings,
    PressureSettings,
    ProbeSettings,
    SelectorSettings,
    WindowSettings,
    works_in_region,
)
from iovigil.agent.config.problems import ConfigError
from iovigil.agent.disks.guard import REGION_ENGINES
from iovigil.engines.coherence import check
from iovigil.engines.options import SECOND_US, SPECS, JobOptions, OptionError
from iovigil.engines.quantities import spell_size, spell_time

T = TypeVar("T")

MOST_DISKS: Final = 1000
MOST_PROBES: Final = 200
MOST_COMPARISONS: Final = 1_000_000
MOST_TURNS: Final = 10_000
"""Probes on disks: each has accounts in memory, and a place in the plan."""
MOST_WINDOWS: Final = 64
UNKNOWN: Final = "\ue000"
"""Stands for what a name will hold: a letter that no name has."""


class Located(NamedTuple, Generic[T]):
    """Settings and the section of the file that they were read from."""

    settings: T
    section: Section


# What an option that the agent keeps to itself is used by, and why a probe has no say in it.
KEPT: Final[Mapping[str, str]] = {
    "target": "is for `iovigil run`: what a probe works on is the disk's",
    "session": "is for `iovigil run`: a probe is one job, and the agent starts it",
    "output": "is for `iovigil run`: the results of a probe are metrics",
}
LEAVES_FILES: Final = "is for `iovigil run`: a probe leaves no files behind"
PRIVILEGE: Final = "is for `iovigil run`: a probe has the rights of the agent's own user"
NO_REPLAY: Final = "is for `iovigil run`: a probe does not replay"
REASONS: Final[Mapping[str, str]] = {
    "name": "is the probe's own name, which is its key",
    "filename": "is the disk's: give it there, as file or device",
    "overwrite": "is for `iovigil run`: the agent writes to no file but its own probe files",
    "fill_device": "is for `iovigil run`: a probe would fill the filesystem again and again",
    "sync": "is for `iovigil run`: in a probe use fsync or fdatasync",
    "numjobs": "is for `iovigil run`: a disk has one run at a time; use iodepth",
    "exec_prerun": "is for `iovigil run`: the agent runs no commands",
    "exec_postrun": "is for `iovigil run`: the agent runs no commands",
    "ioscheduler": "is for `iovigil run`: the agent changes no settings of a device",
    "cgroup": "is for `iovigil run`: the service has its own cgroup",
    "cgroup_weight": "is for `iovigil run`: the service has its own cgroup",
    "cgroup_nodelete": "is for `iovigil run`: the service has its own cgroup",
    "uid": PRIVILEGE,
    "gid": PRIVILEGE,
    "verify_dump": LEAVES_FILES,
    "verify_policy": LEAVES_FILES,
    "verify_state_load": LEAVES_FILES,
    "verify_state_save": LEAVES_FILES,
    "write_iolog": LEAVES_FILES,
    "write_bw_log": LEAVES_FILES,
    "write_hist_log": LEAVES_FILES,
    "write_iops_log": LEAVES_FILES,
    "write_lat_log": LEAVES_FILES,
    "read_iolog": NO_REPLAY,
    "replay_align": NO_REPLAY,
    "replay_no_stall": NO_REPLAY,
    "replay_scale": NO_REPLAY,
    "replay_skip": NO_REPLAY,
    "replay_time_scale": NO_REPLAY,
}
NOT_IN_A_PROBE: Final[Mapping[str, str]] = {
    name: REASONS.get(name) or KEPT[spec.used_by]
    for name, spec in SPECS.items()
    if name in REASONS or spec.used_by in KEPT
}
"""The options that a probe may not have, each with the reason."""


def check_job(options: JobOptions) -> Iterator[OptionError]:
    """Say what is wrong with the options of a probe as a whole."""
    if not options.runtime and not options.time_based:
        yield OptionError("runtime", "is missing: every run of a probe needs an end, such as 30s")
    yield from check(options)


def refuse_files(written: str, option: str, value: object) -> None:
    """Raise OptionError for a pattern that is the contents of a file, which may be on a disk that hangs."""
    if option == "buffer_pattern" and "'" in str(value):
        raise OptionError(written, 'takes no file in a probe: give the bytes, as "text" or 0xhex')


def check_otlp(otlp: OtlpSettings, agent: Section, section: Section) -> None:
    """Report what cannot be pushed: what it needs may not be installed."""
    if not has_module("opentelemetry.exporter.otlp.proto.http.metric_exporter"):
        agent.refuse("otlp", "needs a package that is not installed: pip install 'iovigil[otlp]'")
    if otlp.timeout_s > otlp.every_s:
        section.refuse("timeout", f"is longer than every: {spell_time(round(otlp.every_s * SECOND_US))}")
    if otlp.key_file and not otlp.cert_file:
        section.refuse("key_file", "is nothing without cert_file")
    if otlp.endpoint.startswith("http:") and (otlp.ca_file or otlp.cert_file):
        section.refuse("endpoint", "is http, where no certificate is of use: https")


def has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def check_extent(
    probes: Sequence[Located[ProbeSettings]],
    disks: Sequence[Located[DiskSettings]],
    selectors: Sequence[Located[SelectorSettings]],
    root: Section,
) -> None:
    """Report what is more than an agent can have to do, before anything is tried on all of it. Raises ConfigError."""
    before, number = len(root.report.problems), len(disks) + len(selectors)
    if number > MOST_DISKS:
        root.refuse("disks", f"has {number} entries: at most {MOST_DISKS}")
    if len(probes) > MOST_PROBES:
        root.refuse("probes", f"has {len(probes)} of them: at most {MOST_PROBES}")
    if sum(len(probe.disks) for probe, _ in probes) * number > MOST_COMPARISONS:
        root.refuse("probes", f"has patterns that would be compared with disks more than {MOST_COMPARISONS} times")
    if len(root.report.problems) > before:
        raise ConfigError(root.report.problems)
    turns = sum(probe.covers(disk.name) for probe, _ in probes for disk, _ in disks)
    if turns > MOST_TURNS:
        root.refuse("probes", f"has {turns} starts to plan, counting each probe on each disk: at most {MOST_TURNS}")
        raise ConfigError(root.report.problems)


def check_disks(disks: Sequence[Located[DiskSettings]]) -> None:
    """Report disks that are not one thing, or not apart from each other."""
    for _, section in disks:
        check_target(section)
    for key in ("name", "file", "device"):
        first: dict[str, Located[DiskSettings]] = {}
        for located in disks:
            value = getattr(located.settings, key)
            other = first.setdefault(value, located)
            if value and other is not located:
                line = other.section.entries[key].line
                located.section.refuse(key, f"{value} is already that of the disk on line {line}")


def check_target(section: Section) -> None:
    has_file, has_device, has_size = (key in section.entries for key in ("file", "device", "size"))
    if has_file and has_device:
        section.refuse("device", "stands beside file: a disk is a probe file or a device, not both")
    elif not has_file and not has_device:
        section.refuse("", "has neither file (a probe file, with its size) nor device (a block device)")
    elif has_file and not has_size:
        section.refuse("size", "is missing: a probe file needs one, such as 1GiB")
    elif has_device and has_size:
        section.refuse("size", "is for a probe file; a device has its own")
    if has_file and "region" in section.entries:
        section.refuse("region", "is for a device; a probe file is the agent's own as a whole")


def check_selectors(selectors: Sequence[Located[SelectorSettings]]) -> None:
    """Report entries that ask for a filesystem and a device at once, or for neither."""
    for selector, section in selectors:
        has_file, has_size, has_region = (key in section.entries for key in ("file", "size", "region"))
        if "device" in section.entries:
            continue  # reported as unknown
        if selector.selects_filesystems:
            if not has_file:
                section.refuse("file", "is missing: the probe file in each filesystem, such as .iovigil")
            elif not has_size:
                section.refuse("size", "is missing: a probe file needs one, such as 1GiB")
            if has_region:
                section.refuse("region", "is for devices; a probe file is the agent's own as a whole")
            continue
        for key in ("file", "size"):
            if key in section.entries:
                section.refuse(key, "is for filesystems: match them by mount, such as match: {mount: /srv/*}")
        for key, facts in (("match", selector.match), ("exclude", selector.exclude)):
            if facts is not None and (facts.filesystem or facts.mount):
                section.refuse(key, "asks for a filesystem, and without match.mount devices are chosen")
        if "{mount}" in selector.template:
            section.refuse("name", "has {mount}, and without match.mount devices are chosen")


def sample(selector: SelectorSettings) -> DiskSettings:
    """A disk as the entry would make it, with a name that only patterns of `*` and of its fixed letters cover."""
    name = kinds.FIELD.sub(UNKNOWN, selector.template)
    if selector.selects_filesystems:
        return DiskSettings(name=name, file=f"/{UNKNOWN}/{selector.file}", size=selector.size)
    return DiskSettings(name=name, device=f"/dev/{UNKNOWN}", region=selector.region)


def check_probes(
    probes: Sequence[Located[ProbeSettings]],
    disks: Sequence[Located[DiskSettings]],
    selectors: Sequence[Located[SelectorSettings]] = (),
) -> None:
    """Report probes that cannot do their work on the disks that they name."""
    for probe, section in probes:
        check_interval(probe, section)
        # Which names the selected disks have is not known yet.
        if all(disk.name for disk, _ in disks) and not selectors:
            check_patterns(probe, section, disks)
        for selector, place in selectors:
            disk = sample(selector)
            if probe.covers(disk.name):
                named = msgspec.structs.replace(disk, name=selector.template)
                check_assignment(probe, section, named, has_region="region" in place.entries)
        for disk, place in disks:
            if probe.covers(disk.name):
                check_assignment(probe, section, disk, has_region="region" in place.entries)


def check_interval(probe: ProbeSettings, section: Section) -> None:
    longest_us = probe.options.longest_us
    if probe.every_s * SECOND_US < longest_us:
        found = spell_time(int(probe.every_s * SECOND_US))
        parts = f"runtime {spell_time(probe.options.runtime)}"
        if probe.options.ramp_time:
            parts = f"ramp_time {spell_time(probe.options.ramp_time)}, {parts}"
        if probe.options.reads_back:
            parts += ", and half of that again to verify"
        section.refuse("every", f"{found} is shorter than a run may take, {spell_time(longest_us)} ({parts})")


def check_window(window: WindowSettings, section: Section) -> None:
    if window.from_ == window.to:
        section.refuse("to", f"{window.to} is when it opens: no start falls into it; a whole day is 00:00 to 24:00")
    elif window.from_ == "24:00":
        section.refuse("from", "24:00 is the end of a day: 00:00 of the next is when a window opens")


def check_pressure(pressure: PressureSettings, section: Section) -> None:
    for kind in ("some", "full"):
        hold, resume = getattr(pressure, f"hold_{kind}"), getattr(pressure, f"resume_{kind}")
        if hold and resume > hold:
            section.refuse(
                f"resume_{kind}", f"{resume} is more than hold_{kind}, {hold}: starts would wait and not wait at once"
            )
    if not pressure.hold_some and not pressure.hold_full:
        section.refuse("hold_some", "is 0, and hold_full too: nothing would ever wait; leave out pressure instead")


def check_patterns(probe: ProbeSettings, section: Section, disks: Sequence[Located[DiskSettings]]) -> None:
    if not disks or "disks" not in section.entries:
        return
    names = [disk.name for disk, _ in disks]
    for index, ((line, _), pattern) in enumerate(zip(section.texts("disks"), probe.disks, strict=False)):
        if not any(fnmatchcase(name, pattern) for name in names):
            reason = f"{pattern} matches no disk: there are {', '.join(names)}"
            section.report.add(line, f"{section.key('disks')}[{index}]", reason)


def check_assignment(probe: ProbeSettings, section: Section, disk: DiskSettings, *, has_region: bool = False) -> None:
    job = section.section("job") if "job" in section.entries else None
    if job is None:
        return
    options = probe.options
    if disk.device and options.does_change and not has_region and probe.kind != "scrub":
        act = "write to" if options.does_write else "discard what is on"
        job.refuse(
            "rw",
            f"{options.rw} would {act} device {disk.name}: devices are read-only; use a probe file, declare a region "
            f"that the agent may write (region: {{offset: 1GiB, size: 8GiB}}, then `iovigil claim {disk.name}`), "
            f"or leave {disk.name} out of the probe's disks",
        )
    if disk.region and options.does_change and options.ioengine not in REGION_ENGINES:
        job.refuse(
            "ioengine",
            f"{options.ioengine} is not trusted with the region of {disk.name}: use {', '.join(REGION_ENGINES)}",
        )
    if disk.file and options.verify != "none" and not options.does_write:
        job.refuse("verify", f"finds nothing to check in {disk.name}, a probe file: use rw write or randwrite")
    whole = disk.writable_bytes
    if not whole or not (disk.file or works_in_region(options)):
        return
    offset = portion(options.offset, whole)
    region = portion(options.size, whole) or whole - offset
    end, size = spell_size(offset + region), spell_size(whole)
    if offset and offset >= whole:
        job.refuse("offset", f"{spell_size(offset)} is beyond the {size} of disk {disk.name}")
    elif offset + region > whole:
        job.refuse("size", f"ends at {end} (offset + size), beyond the {size} of disk {disk.name}")
    elif options.max_bs > region:
        job.refuse(
            "bs", f"{spell_size(options.max_bs)} is more than the {spell_size(region)} to work on in {disk.name}"
        )


def portion(length: int, whole: int) -> int:
    """Return a length in bytes, which an option holds as it is or as a share in per cent below 0."""
    return whole * -length // 100 if length < 0 else length

"""The books of a configuration: opens accounts for what is new, keeps those that stay, drops the rest."""

from collections.abc import Iterator

import msgspec

from iovigil.agent.config import Config, DiskSettings
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry
from iovigil.agent.order import timeout_s

Key = tuple[str, str]
"""(disk, probe)"""


def open_books(config: Config, old: Ledger | None = None) -> Ledger:
    """A ledger for the configuration; accounts that are in both go on with their totals and counts."""
    old = old or Ledger()
    ledger = Ledger(
        workers_running=old.workers_running,
        workers_abandoned=old.workers_abandoned,
        start_delays=old.start_delays,
        quarantines=old.quarantines,
        slow_disks_ratio=old.slow_disks_ratio,
        is_blackout=old.is_blackout,
        is_backing_off=old.is_backing_off,
        web=old.web,
        textfile=old.textfile,
        otlp=old.otlp,
        counting_since_unix=old.counting_since_unix,
    )
    # A name given to another device must not hand it the serial number and the mismatches of the one before,
    # nor an account on which that one's last run is still to be booked.
    kept = {disk.name for disk in config.disks if disk.name in old.disks and is_same(old.disks[disk.name], disk)}
    for disk in config.disks:
        target = "device" if disk.device else "file"
        known = old.disks[disk.name] if disk.name in kept else DiskEntry(name=disk.name, target=target)
        known.path, known.key = disk.path, disk.key
        ledger.disks[disk.name] = known
    for assignment in config.assignments():
        disk, probe = assignment.disk, assignment.probe
        account = old.probes.get((disk.name, probe.name)) if disk.name in kept else None
        entry = account or ProbeEntry(
            disk=disk.name,
            probe=probe.name,
            options=probe.options,
            interval_s=probe.every_s,
            timeout_s=timeout_s(probe.options),
            engine=probe.options.ioengine,
        )
        entry.options = probe.options
        entry.scrub = probe.scrub
        entry.interval_s = probe.every_s
        entry.timeout_s = timeout_s(probe.options)
        entry.engine = probe.options.ioengine  # a reload tries the configured one again
        ledger.probes[disk.name, probe.name] = entry
    return ledger


def is_same(entry: DiskEntry, disk: DiskSettings) -> bool:
    """Whether an account is that of this disk: by what it tells of itself where it was selected, else by its path."""
    return entry.key == disk.key if disk.key else not entry.key and entry.path == disk.path


def outdated(old: Config, new: Config) -> frozenset[Key]:
    """The (disk, probe) pairs whose run in progress the new configuration does not want any more."""
    before = {
        (each.disk.name, each.probe.name): (each.disk, each.probe.options, each.probe.scrub)
        for each in old.assignments()
    }
    after = {
        (each.disk.name, each.probe.name): (each.disk, each.probe.options, each.probe.scrub)
        for each in new.assignments()
    }
    return frozenset(key for key, work in before.items() if after.get(key) != work)


def differences(old: Config, new: Config) -> list[str]:
    """What a reload changed, a line each, for the log."""
    lines = []
    for what, before, after in (
        ("disk", {disk.name: disk for disk in old.disks}, {disk.name: disk for disk in new.disks}),
        ("probe", {probe.name: probe for probe in old.probes}, {probe.name: probe for probe in new.probes}),
    ):
        lines += [f"{what} {name} removed" for name in before if name not in after]
        lines += [f"{what} {name} added" for name in after if name not in before]
        for name in after:
            if name in before and before[name] != after[name]:
                lines.append(f"{what} {name} changed: {', '.join(changed_keys(before[name], after[name]))}")
    return lines + [f"agent.{key} changed" for key in changed_keys(old.agent, new.agent)]


def changed_keys(old: msgspec.Struct, new: msgspec.Struct) -> Iterator[str]:
    """The keys of the file that have another value."""
    for field in msgspec.structs.fields(new):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
            yield from (f"{field.encode_name}.{key}" for key in changed_keys(before, after))
        else:
            yield field.encode_name

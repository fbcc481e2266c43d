"""Ledgers for tests of what is shown of them."""

from typing import Any

from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry
from iovigil.engines.options import JobOptions

WRITE_AND_VERIFY = JobOptions(rw="randwrite", bs=(65536,) * 3, iodepth=8, verify="crc32c")
READ = JobOptions(rw="randread", bs=(4096,) * 3, rate_iops=(100, 0, 0))


def probe(disk: str = "data0", name: str = "latency", options: JobOptions = READ, **fields: Any) -> ProbeEntry:
    """An account; `totals` is the page of all runs that are over."""
    defaults = {"interval_s": 30.0, "timeout_s": 15.0, "engine": "io_uring"}
    if "totals" in fields:
        fields["packed_totals"] = fields.pop("totals").packed()
    return ProbeEntry(disk=disk, probe=name, options=options, **{**defaults, **fields})


def ledger_of(*entries: ProbeEntry, **fields: Any) -> Ledger:
    """A ledger with these probes, and the disks they name present."""
    ledger = Ledger(**fields)
    for entry in entries:
        ledger.disks.setdefault(entry.disk, DiskEntry(name=entry.disk, target="file", is_present=True))
        ledger.probes[entry.disk, entry.probe] = entry
    return ledger

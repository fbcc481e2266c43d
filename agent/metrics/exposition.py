"""Exposition: the ledger as the text that Prometheus reads."""

from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics import agent_health, disk, formats, io, last_run, probe, run, scrub, slowdown, verify, web
from iovigil.agent.metrics.family import families_in
from iovigil.agent.metrics.scrape import Scrape

GROUPS = (agent_health, web, disk, probe, run, io, last_run, slowdown, verify, scrub)
FAMILIES = {group: families_in(vars(group)) for group in GROUPS}


def collect(ledger: Ledger) -> Scrape:
    """Every sample of the present moment, from memory alone."""
    scrape = Scrape(family for families in FAMILIES.values() for family in families)
    agent_health.fill(scrape, ledger)
    web.fill(scrape, ledger)
    for disk_entry in ledger.disks.values():
        disk.fill(scrape, disk_entry)
    for entry in ledger.probes.values():
        view = entry.view()  # once: every counter of a probe is of the same moment
        probe.fill(scrape, entry, ledger.disks.get(entry.disk))
        run.fill(scrape, entry)
        io.fill(scrape, entry, view)
        last_run.fill(scrape, entry)
        slowdown.fill(scrape, entry)
        verify.fill(scrape, entry, view)
        scrub.fill(scrape, entry, view)
    return scrape


def render(ledger: Ledger, accept: str) -> tuple[bytes, str]:
    """The body of a scrape in the format that the Accept header prefers, and its content type."""
    encode, content_type = formats.choose(accept)
    return encode(collect(ledger)), content_type

"""Exposition: the ledger as the text that Prometheus reads."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry
from iovigil.agent.metrics import (
    agent_health,
    disk,
    formats,
    io,
    last_run,
    outputs,
    probe,
    run,
    scrub,
    slowdown,
    verify,
    web,
)
from iovigil.agent.metrics.family import Family, families_in
from iovigil.agent.metrics.formats import Format
from iovigil.agent.metrics.rendering import Rendering, Subject
from iovigil.agent.metrics.scrape import Scrape

OF_AGENT = (agent_health, web, outputs)
OF_DISK = (disk,)
OF_PROBE = (probe, run, io, last_run, slowdown, verify, scrub)
GROUPS = (*OF_AGENT, *OF_DISK, *OF_PROBE)
FAMILIES = {group: families_in(vars(group)) for group in GROUPS}
LEVELS: Final[tuple[tuple[Family, ...], ...]] = tuple(
    tuple(family for group in groups for family in FAMILIES[group]) for groups in (OF_AGENT, OF_DISK, OF_PROBE)
)
AGENT, DISK, PROBE = LEVELS

FORGET_S: Final = 600.0
"""After that long a format that nobody has asked for costs no memory any more."""


def fill_agent(ledger: Ledger, scrape: Scrape) -> None:
    agent_health.fill(scrape, ledger)
    web.fill(scrape, ledger)
    outputs.fill(scrape, ledger)


def fill_disk(entry: DiskEntry, scrape: Scrape) -> None:
    disk.fill(scrape, entry)


def fill_probe(entry: ProbeEntry, disk_entry: DiskEntry | None, scrape: Scrape) -> None:
    """From the two accounts alone, and no clock: while nothing of them changes this is not called again."""
    view = entry.view()  # once: every counter of a probe is of the same moment
    probe.fill(scrape, entry, disk_entry)
    run.fill(scrape, entry)
    io.fill(scrape, entry, view)
    last_run.fill(scrape, entry)
    slowdown.fill(scrape, entry)
    verify.fill(scrape, entry, view)
    scrub.fill(scrape, entry, view)


def about_disk(entry: DiskEntry) -> Subject:
    return Subject(key=(entry.name,), families=DISK, state=entry.state(), fill=partial(fill_disk, entry))


def about_probe(entry: ProbeEntry, disk_entry: DiskEntry | None, disk_state: object) -> Subject:
    own = entry.state()
    state = None if own is None else (own, disk_state)
    fill = partial(fill_probe, entry, disk_entry)
    return Subject(key=(entry.disk, entry.probe), families=PROBE, state=state, fill=fill)


def subjects(ledger: Ledger) -> Iterator[Subject]:
    yield Subject(key=(), families=AGENT, state=None, fill=partial(fill_agent, ledger))
    disks = {name: about_disk(entry) for name, entry in ledger.disks.items()}
    yield from disks.values()
    for entry in ledger.probes.values():
        disk_state = disks[entry.disk].state if entry.disk in disks else None
        yield about_probe(entry, ledger.disks.get(entry.disk), disk_state)


def collect(ledger: Ledger) -> Scrape:
    """Every sample of the present moment, from memory alone."""
    scrape = Scrape(family for families in LEVELS for family in families)
    for subject in subjects(ledger):
        subject.fill(scrape)
    return scrape


class Exposition:
    """What was rendered is kept for the next scrape, by format."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._renderings: dict[Format, Rendering] = {}
        self._asked_s: dict[Format, float] = {}

    def render(self, ledger: Ledger, accept: str) -> tuple[bytes, str]:
        """The body of a scrape in the format that the Accept header prefers, and its content type."""
        form, now_s = formats.choose(accept), self._clock()
        self._asked_s[form] = now_s
        for other in [each for each, asked_s in self._asked_s.items() if now_s - asked_s > FORGET_S]:
            del self._renderings[other], self._asked_s[other]
        if form not in self._renderings:
            self._renderings[form] = Rendering(form, LEVELS)
        return self._renderings[form].render(subjects(ledger)), form.content_type

    def begin(self, ledger: Ledger) -> None:
        """Have all of it ready in the format that Prometheus prefers: the first time is the dear one."""
        self.render(ledger, formats.OPENMETRICS.content_type)

    def prepare(self, ledger: Ledger, entry: ProbeEntry) -> None:
        """Have what has changed of a probe ready for the next scrape, which would see to it itself."""
        disk_entry = ledger.disks.get(entry.disk)
        for rendering in self._renderings.values():
            rendering.prepare(about_probe(entry, disk_entry, disk_entry and disk_entry.state()))


def render(ledger: Ledger, accept: str) -> tuple[bytes, str]:
    """One scrape, of which nothing is kept."""
    return Exposition().render(ledger, accept)

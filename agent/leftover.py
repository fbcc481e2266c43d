"""Children of a former agent that are still there: what they wait for, no signal ends, and they hold their disks."""

import asyncio
import contextlib
import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from iovigil.agent import bequest
from iovigil.agent.ledger import Ledger, ProbeEntry
from iovigil.agent.quarantine import Medium
from iovigil.engines.stats import StatsPage

DELETED: Final = " (deleted)"


@dataclass(eq=False)
class LeftOver:
    """One such process, known by the stats page that it has open: no other agent's children have that."""

    pid: int
    pidfd: int
    entry: ProbeEntry
    page: StatsPage
    medium: Medium = field(default_factory=lambda: Medium(path=""))

    def holds(self, medium: Medium) -> bool:
        return self.medium.is_same(medium)

    @property
    def age_s(self) -> float:
        """For how long its oldest I/O has been in flight."""
        return self.page.oldest_inflight_ns() / 1e9

    def watch(self, loop: asyncio.AbstractEventLoop, on_return: Callable[["LeftOver"], None]) -> None:
        """Call that when the process has gone."""

        def notice() -> None:
            loop.remove_reader(self.pidfd)
            self.close()
            on_return(self)

        loop.add_reader(self.pidfd, notice)

    def close(self) -> None:
        os.close(self.pidfd)


def find(directory: Path | None, ledger: Ledger, root: Path = Path("/proc")) -> list[LeftOver]:
    """Those whose stats pages are in that directory, or were. Only what the kernel keeps in memory is read.

    Not the command line: to read that is to wait for who maps memory, and such a process may hang in it.
    """
    if directory is None:
        return []
    entries = {name: ledger.probes[disk, probe] for (disk, probe, _), name in bequest.names_of(ledger).items()}
    prefix = f"{directory}/"
    found = []
    for place in root.iterdir():
        if not place.name.isdecimal() or int(place.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError):  # it has gone meanwhile, or is somebody else's
            for link in (place / "fd").iterdir():
                target = str(link.readlink())
                name = target.removeprefix(prefix).split(".")[0]
                if (
                    target.startswith(prefix)
                    and target.removesuffix(DELETED).endswith(bequest.PAGE)
                    and name in entries
                ):
                    child = LeftOver(int(place.name), os.pidfd_open(int(place.name)), entries[name], page_of(link))
                    found.append(child)
                    break
    return found


def page_of(link: Path) -> StatsPage:
    """Raises OSError."""
    try:
        return StatsPage.attach(os.open(link, os.O_RDWR | os.O_CLOEXEC))
    except ValueError:  # of another version
        return StatsPage.private()


async def gone(children: list[LeftOver], deadline_s: float) -> list[LeftOver]:
    """Give them time to go, as children of an agent that has just died do; those that stay."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + deadline_s
    while children and loop.time() < end_s:
        await asyncio.sleep(0.05)
        for child in [child for child in children if not is_alive(child)]:
            child.close()
            children.remove(child)
    return children


def is_alive(child: LeftOver) -> bool:
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    return not poll.poll(0)

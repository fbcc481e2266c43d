"""How busy the disks behind a run were: the kernel's own counters, before and after, followed through stacked devices.

Only /proc and /sys are read: no target is opened, and a disk that hangs does not keep anybody waiting.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Final

from iovigil.agent.disks import sysfs
from iovigil.agent.disks.behind import disk_behind

Row = dict[str, str | int | float]
"""One disk, under the names that fio's JSON has for it."""

# Places in <disk>/stat, see the kernel's Documentation/block/stat.rst; ticks are milliseconds.
FIELDS: Final = {
    "read_ios": 0,
    "write_ios": 4,
    "read_sectors": 2,
    "write_sectors": 6,
    "read_merges": 1,
    "write_merges": 5,
    "read_ticks": 3,
    "write_ticks": 7,
    "in_queue": 10,
}
BUSY_MS: Final = 9
LEAST_FIELDS: Final = 11


class Utilisation:
    """What the disks behind these paths did since it was made.

    A path is a device or a file, there already or not; links in it are followed below /dev alone. What has no disk
    (tmpfs, NFS, an engine without a target) has no row.
    """

    def __init__(self, paths: Iterable[str], root: str = "/") -> None:
        self._root = root
        self._slaves: dict[str, list[str]] = {}
        for path in paths:
            if name := disk_behind(path, root):
                self._follow(name)
        self._began_ns = time.monotonic_ns()
        self._before = {name: counters(name, root) for name in self._slaves}

    def _follow(self, name: str) -> None:
        """Take in a disk and those that it is built on, each once, the upper ones first."""
        if name in self._slaves:
            return
        below = [sysfs.whole_disk(slave, self._root) for slave in sysfs.slaves(name, self._root)]
        self._slaves[name] = list(dict.fromkeys(below))
        for slave in self._slaves[name]:
            self._follow(slave)

    def rows(self) -> list[Row]:
        """A row for each disk, for `disk_util` of fio's JSON; a disk that is gone has none."""
        elapsed_ms = max((time.monotonic_ns() - self._began_ns) / 1e6, 1e-3)
        found = {}
        for name, before in self._before.items():
            after = counters(name, self._root)
            if len(before) >= LEAST_FIELDS and len(after) >= LEAST_FIELDS:
                found[name] = row(name, before, after, elapsed_ms)
        return [
            each | aggregate([found[slave] for slave in self._slaves[name] if slave in found])
            for name, each in found.items()
        ]


def row(name: str, before: list[int], after: list[int], elapsed_ms: float) -> Row:
    # A counter that is less than it was belongs to another disk of that name, or came round.
    done = {field: max(after[place] - before[place], 0) for field, place in FIELDS.items()}
    busy_ms = max(after[BUSY_MS] - before[BUSY_MS], 0)
    return {"name": name, **done, "util": min(100.0 * busy_ms / elapsed_ms, 100.0)}


def aggregate(slaves: list[Row]) -> Row:
    """What is said of a stacked device's own disks: the mean of each figure, the greatest utilisation."""
    if not slaves:
        return {}
    means: Row = {
        # fio's own name for it lacks an s.
        "aggr_write_merge" if field == "write_merges" else f"aggr_{field}": sum(int(slave[field]) for slave in slaves)
        // len(slaves)
        for field in FIELDS
    }
    return means | {"aggr_util": max(float(slave["util"]) for slave in slaves)}


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as fio's normal output has them, without its heading."""
    for each in rows:
        is_stacked = "aggr_util" in each
        text = (
            f"ios={each['read_ios']}/{each['write_ios']}, merge={each['read_merges']}/{each['write_merges']}, "
            f"ticks={each['read_ticks']}/{each['write_ticks']}, in_queue={each['in_queue']}, util={each['util']:.2f}%"
        )
        if is_stacked:
            text += (
                f", aggrios={each['aggr_read_ios']}/{each['aggr_write_ios']}, "
                f"aggrmerge={each['aggr_read_merges']}/{each['aggr_write_merge']}, "
                f"aggrticks={each['aggr_read_ticks']}/{each['aggr_write_ticks']}, "
                f"aggrin_queue={each['aggr_in_queue']}, aggrutil={each['aggr_util']:.2f}%"
            )
        yield f"{'    ' if is_stacked else '  '}{each['name']}: {text}"


def counters(name: str, root: str) -> list[int]:
    """The numbers of <disk>/stat; none where the disk is gone."""
    words = sysfs.read(f"{sysfs.directory(name, root)}/stat").split()
    return [int(word) for word in words if word.isdecimal()]

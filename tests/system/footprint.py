"""What a process holds before and after it was pressed hard: descriptors, memory, threads, children, shared files."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import NotReady, wait_until

MIB = 1 << 20
SETTLE_S = 20.0


@dataclass(frozen=True)
class Footprint:
    """What is counted of a process."""

    descriptors: Counter[str]
    """What they are open on, numbers left out: how many sockets, how many pages."""
    memory_bytes: int
    """Its own, and its share of what it has in common with others."""
    threads: int
    children: int
    """Those that have ended and were not waited for included."""
    files_in_memory: int
    """In its runtime directory."""
    groups: int
    """Control groups under its own."""


@dataclass(frozen=True)
class Slack:
    """How much more than before is no leak: what a run in progress holds, and what an allocator keeps for later."""

    descriptors: int = 8
    memory_bytes: int = 16 * MIB
    threads: int = 2
    children: int = 4
    files_in_memory: int = 8
    groups: int = 4


def footprint(pid: int) -> Footprint:
    process = Path(f"/proc/{pid}")
    return Footprint(
        descriptors=Counter(open_on(process)),
        memory_bytes=field_of(process / "smaps_rollup", "Pss:") * 1024,
        threads=field_of(process / "status", "Threads:"),
        children=len((process / "task" / str(pid) / "children").read_text().split()),
        files_in_memory=sum(1 for place in runtime_directory(process) for _ in place.rglob("*")),
        groups=sum(1 for place in own_group(process) for _, directories, _ in os.walk(place) for _ in directories),
    )


def runtime_directory(process: Path) -> Iterator[Path]:
    for variable in (process / "environ").read_bytes().split(b"\0"):
        name, _, value = variable.decode().partition("=")
        if name == "RUNTIME_DIRECTORY":
            yield Path(value)


def open_on(process: Path) -> Iterator[str]:
    for link in (process / "fd").iterdir():
        try:
            yield str(link.readlink()).partition(":[")[0]
        except FileNotFoundError:  # closed meanwhile
            continue


def field_of(file: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name))


def own_group(process: Path) -> Iterator[Path]:
    for line in (process / "cgroup").read_text().splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0" and path != "/":
            for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                if Path(root, "cgroup.procs").exists():
                    yield Path(root, path.lstrip("/"))


def growth(before: Footprint, after: Footprint, slack: Slack) -> list[str]:
    """What is more than it may be, in words."""
    grown = []
    more = after.descriptors - before.descriptors
    if more.total() > slack.descriptors:
        grown.append(f"descriptors: {more.total()} more, of which {more.most_common(4)}")
    for name in ("memory_bytes", "threads", "children", "files_in_memory", "groups"):
        was, now = getattr(before, name), getattr(after, name)
        if now - was > getattr(slack, name):
            grown.append(f"{name}: {now} after {was}")
    return grown


def assert_nothing_leaked(
    before: Footprint,
    pid: int,
    slack: Slack = Slack(),
    deadline_s: float = SETTLE_S,
) -> Footprint:
    """Raise AssertionError unless the process comes back, within the deadline, to what it was; what it holds then."""
    try:
        wait_until(lambda: not growth(before, footprint(pid), slack), "it holds no more than before", deadline_s)
    except NotReady:
        raise AssertionError("; ".join(growth(before, footprint(pid), slack))) from None
    return footprint(pid)

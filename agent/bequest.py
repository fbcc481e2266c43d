"""What an agent that is killed leaves to the next: accounts and pages of runs, in memory that outlives the process."""

import contextlib
import functools
import hashlib
import logging
import math
import os
import secrets
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from iovigil.agent.account import Account, NotAnAccount
from iovigil.agent.agent_account import AgentAccount
from iovigil.agent.disks import mounts
from iovigil.agent.disks.identity import key_of
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry
from iovigil.engines.stats import StatsPage

log = logging.getLogger(__name__)

SHARED_MEMORY: Final = Path("/dev/shm")
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
ACCOUNT: Final = ".account"
PAGE: Final = ".page"
AGENT: Final = f"agent{ACCOUNT}"
RETRY_S: Final = 60.0

Key = tuple[str, str, str]
"""Disk, probe and place: where another path is given to a disk, a page must not be taken for one of that."""


class Bequest:
    """A directory in tmpfs with a file for each account, and a stats page for each run in progress.

    A counter that falls, however little, is to Prometheus one that began again at 0: all that it shows is counted
    once more. So what a scrape is about to show is here before, and an account that cannot be kept up is not here at
    all: the next agent begins it at 0, which every rate() knows how to take. Writes to tmpfs wait for no disk.
    """

    def __init__(self, directory: Path | None) -> None:
        """Without a directory nothing is left to anybody."""
        self.directory = directory
        self._keeper = secrets.token_hex(4)
        self.is_open = False
        """Whether what is shown is here before."""
        self._has_given_up = False
        self._again_s = math.inf
        """When it is tried again."""
        self._kept: dict[Key, tuple[object, ...]] = {}
        self._kept_agent: tuple[int, ...] | None = None
        self._pages: dict[Key, list[tuple[int, Path]]] = {}

    def take_over(self, ledger: Ledger) -> bool:
        """Have accounts that were just opened go on where those of a killed agent ended; whether there was one."""
        if self.directory is None:
            return False
        try:
            files = {file.name: file for file in self.directory.iterdir()}
            if AGENT in files:
                continue_agent(ledger, files[AGENT])
            for (disk, probe, _), name in names_of(ledger).items():
                if f"{name}{ACCOUNT}" in files:
                    self._continue(ledger.probes[disk, probe], ledger.disks[disk], name, files)
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("what a killed agent left in %s cannot be read: %s", self.directory, error.strerror or error)
            return False
        return any(name.endswith(ACCOUNT) for name in files)

    def open(self, ledger: Ledger) -> None:
        """From here on `keep` keeps, and nothing else is there."""
        if self.directory is None:
            return
        try:
            make(self.directory)
            old = set(self.directory.iterdir())
            self.is_open = True
            # What was found goes last: this agent may be killed in the middle of it, too.
            self.keep(ledger)
            remove(
                old
                - {self.directory / f"{name}{ACCOUNT}" for name in names_of(ledger).values()}
                - {self.directory / AGENT}
            )
        except OSError as error:
            self._give_up(f"{error.strerror or error}")

    def page(self, entry: ProbeEntry, place: str) -> StatsPage:
        """A page for a run that is about to start on that disk. Raises OSError where there is no memory for any."""
        if self.directory is None or not self.is_open:
            return StatsPage.create()
        key = (entry.disk, entry.probe, place)
        file = self.directory / f"{name_of(key)}.{self._keeper}.{entry.runs}{PAGE}"
        try:
            # Of an attempt on another I/O engine, which the host does not allow, or of a run that was none.
            file.unlink(missing_ok=True)
            page = StatsPage.create(file)
        except OSError as error:
            self._give_up(f"{error.strerror or error}")
            return StatsPage.create()
        pages = self._pages.setdefault(key, [])
        if (entry.runs, file) not in pages:
            pages.append((entry.runs, file))
        return page

    def keep(self, ledger: Ledger) -> None:
        """Write down what has changed. Call it before anybody is shown the ledger."""
        if time.monotonic() >= self._again_s:
            self._try_again()
        self.keep_agent(ledger)
        for entry in ledger.probes.values():
            self.keep_one(entry, ledger.disks[entry.disk])
        known = {(entry.disk, entry.probe, ledger.disks[entry.disk].place) for entry in ledger.probes.values()}
        for key in (self._kept.keys() | self._pages.keys()) - known:
            self._drop(key)
        if self._has_given_up and self.is_open:
            self._has_given_up, self._again_s = False, math.inf
            log.info("counters are kept in %s again", self.directory)

    def keep_agent(self, ledger: Ledger) -> None:
        outputs = (ledger.textfile.attempts, ledger.otlp.attempts)
        refusals = sum(ledger.web.refusals.values())
        state = (ledger.start_delays.count, refusals, ledger.quarantines.changes, *outputs)
        if not self.is_open or self._kept_agent == state:
            return
        assert self.directory is not None
        try:
            put(self.directory / AGENT, AgentAccount.of(ledger).encode())
        except OSError as error:
            self._give_up(f"{error.strerror or error}")
        else:
            self._kept_agent = state

    def keep_one(self, entry: ProbeEntry, disk: DiskEntry) -> None:
        if not self.is_open:
            return
        key = (entry.disk, entry.probe, disk.place)
        state = fingerprint(entry, disk)
        if self._kept.get(key) == state or not self._has_page(key, entry):
            return
        try:
            self._write(key, entry, disk)
        except OSError as error:
            self._give_up(f"{error.strerror or error}")
        else:
            self._kept[key] = state

    def _has_page(self, key: Key, entry: ProbeEntry) -> bool:
        """Whether the run in progress, where there is one, has its page here.

        One that began while nothing could be kept has not: its account has to wait for its end.
        """
        return entry.live is None or any(number >= entry.runs for number, _ in self._pages.get(key, []))

    def close(self) -> None:
        """Leave nothing: the history has it all."""
        self.is_open, self._again_s = False, math.inf
        if self.directory is not None:
            with contextlib.suppress(OSError):
                remove(self.directory.iterdir())
                self.directory.rmdir()

    def _continue(self, entry: ProbeEntry, disk: DiskEntry, name: str, files: Mapping[str, Path]) -> None:
        try:
            account = Account.decode(files[f"{name}{ACCOUNT}"].read_bytes())
            if not account.is_of(disk):
                return
            # Pages of another keeper, and of runs that had ended, are on the account already.
            stem = f"{name}.{account.keeper}."
            pages = [
                attach(file)
                for other, file in files.items()
                if other.startswith(stem) and other.endswith(PAGE) and number_of(other) >= account.runs
            ]
            account.restore(entry)
            for page in pages:
                # The child has gone with its agent. What it did counts; a run that has ended it is not.
                entry.add(page.copy())
        except (NotAnAccount, ValueError) as error:
            log.warning("the counters of %s on %s begin at 0: %s", entry.probe, entry.disk, error)

    def _write(self, key: Key, entry: ProbeEntry, disk: DiskEntry) -> None:
        assert self.directory is not None
        name = name_of(key)
        put(self.directory / f"{name}{ACCOUNT}", Account.of(entry, disk, keeper=self._keeper).encode())
        # Runs that are on the account now. The page itself goes on while somebody holds its descriptor.
        pages = self._pages.pop(key, [])
        remove(file for number, file in pages if number < entry.runs)
        if rest := [page for page in pages if page[0] >= entry.runs]:
            self._pages[key] = rest

    def _drop(self, key: Key) -> None:
        """The account is closed: one that is opened under its name begins at 0."""
        self._kept.pop(key, None)
        pages = self._pages.pop(key, [])
        if self.directory is not None:
            with contextlib.suppress(OSError):
                remove([self.directory / f"{name_of(key)}{ACCOUNT}", *(file for _, file in pages)])

    def _try_again(self) -> None:
        """Begin anew: nothing that is there from before may be taken for what was shown."""
        assert self.directory is not None
        self._again_s = time.monotonic() + RETRY_S
        try:
            make(self.directory)
            remove(self.directory.iterdir())
        except OSError:
            return
        self.is_open = True

    def _give_up(self, why: str) -> None:
        if not self._has_given_up:
            log.warning("counters cannot be kept in %s (%s): after a crash they begin at 0", self.directory, why)
        self._has_given_up, self.is_open = True, False
        self._again_s = time.monotonic() + RETRY_S
        self._kept.clear()
        self._kept_agent = None
        self._pages.clear()
        assert self.directory is not None
        with contextlib.suppress(OSError):
            remove(self.directory.iterdir())


def continue_agent(ledger: Ledger, file: Path) -> None:
    try:
        AgentAccount.decode(file.read_bytes()).restore(ledger)
    except NotAnAccount as error:
        log.warning("the counters of the agent begin at 0: %s", error)


def put(file: Path, content: bytes) -> None:
    """As a whole, for who is killed meanwhile; memory loses nothing that needs flushing. Raises OSError."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


def fingerprint(entry: ProbeEntry, disk: DiskEntry) -> tuple[object, ...]:
    """What changes whenever the account does; a fraction of what writing it down costs."""
    counts = (entry.runs, sum(entry.skips.values()), entry.unverified_bytes, entry.pending_bytes)
    return (id(entry), *counts, key_of(disk.identity))


def names_of(ledger: Ledger) -> dict[Key, str]:
    keys = [(entry.disk, entry.probe, ledger.disks[entry.disk].place) for entry in ledger.probes.values()]
    return {key: name_of(key) for key in keys}


@functools.lru_cache(maxsize=4096)
def name_of(key: Key) -> str:
    return hashlib.sha256("\0".join(key).encode()).hexdigest()[:24]


def number_of(page: str) -> int:
    return int(page.rsplit(".", 2)[1])


def attach(path: Path) -> StatsPage:
    """Raises ValueError where it is no page of this version."""
    return StatsPage.attach(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))


def remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def directory(state_directory: str | Path) -> Path | None:
    """Where agents of that state directory leave it: what systemd says, else shared memory; None if neither is."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    own = hashlib.sha256(str(Path(state_directory).absolute()).encode()).hexdigest()[:16]
    for place in (Path(given) / f"accounts-{own}" if given else None, SHARED_MEMORY / f"iovigil-{os.geteuid()}-{own}"):
        if place is not None and is_in_memory(place.parent):
            return place
    return None


def is_in_memory(place: Path, root: str = "/") -> bool:
    try:
        device = place.stat().st_dev
        table = mounts.table(root)
    except (OSError, ValueError):
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(mount.major_minor == number and mount.filesystem in IN_MEMORY for mount in table)


def make(place: Path) -> None:
    """The directory, ours alone: shared memory is everybody's to write. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(0, "it is not a directory of this user alone")

"""What outlives the agent: a SQLite database in the state directory. Every function here blocks."""

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from iovigil.agent import baseline_table, run_table
from iovigil.agent.baseline_table import KeptBaseline
from iovigil.agent.bounds import Bounds
from iovigil.agent.run_record import RunRecord
from iovigil.agent.run_table import Numbered

FILE: Final = "history.db"
BUSY_S: Final = 2.0
INCREMENTAL: Final = 2
"""Of PRAGMA auto_vacuum."""
MISMATCHES_PER_DISK: Final = 1000
MISMATCHES: Final = 50_000
"""Of all disks, those that are not configured any more included."""

SMALL: Final = 16 << 20

# What is appended here is applied once to every database; what stands here is never changed.
MIGRATIONS: Final[Sequence[str]] = (
    """
    CREATE TABLE mismatches (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL,
        number INTEGER NOT NULL,
        found_unix REAL NOT NULL,
        disk TEXT NOT NULL,
        probe TEXT NOT NULL,
        path TEXT NOT NULL,
        identity TEXT NOT NULL,
        kind TEXT NOT NULL,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        first_byte INTEGER,
        wrong_bits INTEGER,
        expected_generation INTEGER,
        found_generation INTEGER,
        found_offset INTEGER,
        dumps TEXT NOT NULL,
        text TEXT NOT NULL,
        UNIQUE (run, number)
    );
    CREATE INDEX mismatches_of_disk ON mismatches (disk, id);
    CREATE TABLE last_mismatches (
        disk TEXT NOT NULL,
        probe TEXT NOT NULL,
        path TEXT NOT NULL,
        identity TEXT NOT NULL,
        found_unix REAL NOT NULL,
        PRIMARY KEY (disk, probe)
    );
    """,
    run_table.TABLES,
    """
    CREATE TABLE accounts (disk TEXT NOT NULL, probe TEXT NOT NULL, account BLOB NOT NULL, PRIMARY KEY (disk, probe));
    """,
    baseline_table.TABLES,
    baseline_table.SIZES,
)

DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""SQLITE_ERROR: our statements are right, so that the tables are not ours."""


class HistoryUnusable(Exception):
    """The history cannot be read or written now; the text says why and what to do."""


class Mismatched(NamedTuple):
    """A row of `mismatches`: one block that failed verification."""

    run: str
    number: int
    """Its place among those of the run, from 0: a row that is written twice is there once."""
    found_unix: float
    disk: str
    probe: str
    path: str
    """What was worked on."""
    identity: str
    """wwn or serial number of the disk; empty where it has none to tell."""
    kind: str
    offset: int
    length: int
    first_byte: int | None
    wrong_bits: int | None
    expected_generation: int | None
    found_generation: int | None
    found_offset: int | None
    dumps: str
    """Files that the block was written to, a line each."""
    text: str


class LastMismatch(NamedTuple):
    """When a probe last found a mismatch on a disk."""

    disk: str
    probe: str
    path: str
    identity: str
    found_unix: float

    def is_of(self, path: str, identity: str) -> bool:
        """Whether it was found on that disk: a name, or a path, may have been given to another one."""
        return is_same_disk(self.path, self.identity, path, identity)


def is_same_disk(path: str, identity: str, other_path: str, other_identity: str) -> bool:
    """As far as that can be told: a disk that is not there, or has no number, has an empty identity."""
    return path == other_path and (not identity or not other_identity or identity == other_identity)


def database(directory: str | Path) -> Path:
    return Path(directory) / FILE


class Runs(NamedTuple):
    """Runs to be written, and by which agent: see run_table.Numbered."""

    agent: str = ""
    runs: Sequence[Numbered] = ()
    bounds: Bounds = Bounds()
    now_unix: float | None = None
    """By which runs are old: see steady_clock; None is the clock on the wall."""


class KeptAccount(NamedTuple):
    """A row of `accounts`: what account.Account.encode made of it."""

    disk: str
    probe: str
    account: bytes


def write(
    path: Path,
    found: Sequence[Mismatched],
    last: Iterable[LastMismatch],
    runs: Runs = Runs(),  # noqa: B008 - immutable
    accounts: Sequence[KeptAccount] = (),
    baselines: Sequence[KeptBaseline] = (),
) -> str:
    """Add these; returns a warning where there is one. Raises HistoryUnusable.

    Accounts take the place of all that are there: one that is there is what was last shown to anybody.
    """

    def add(connection: sqlite3.Connection) -> None:
        with connection:
            connection.execute("DELETE FROM accounts")
            insert(connection, "accounts", KeptAccount._fields, accounts, "OR REPLACE")
            now_unix = time.time() if runs.now_unix is None else runs.now_unix
            run_table.add(connection, runs.agent, runs.runs, runs.bounds, now_unix)
            baseline_table.put(connection, baselines)
            insert(connection, "mismatches", Mismatched._fields, found, "OR IGNORE")
            insert(connection, "last_mismatches", LastMismatch._fields, last, "OR REPLACE")
            for disk in {each.disk for each in found}:
                connection.execute(
                    "DELETE FROM mismatches WHERE disk = ?1 AND id <= "
                    "(SELECT id FROM mismatches WHERE disk = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    (disk, MISMATCHES_PER_DISK),
                )
            connection.execute(
                "DELETE FROM mismatches WHERE id <= (SELECT id FROM mismatches ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (MISMATCHES,),
            )
        run_table.give_back(connection)

    with in_words(path):
        try:
            with opened(path) as connection:
                add(connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            warning = set_aside(path, str(error))
            with opened(path) as connection:
                add(connection)
            return warning
    return ""


def load(path: Path) -> tuple[list[LastMismatch], str]:
    """What is known of last mismatches, and a warning where there is one. Raises HistoryUnusable.

    Also looks a small database over as a whole: damage is found here, and not when it is needed.
    """
    if not path.exists():
        return [], ""
    with in_words(path):
        try:
            with opened(path) as connection:
                if path.stat().st_size <= SMALL and (verdict := check(connection)):
                    return [], set_aside(path, verdict)
                rows = connection.execute(f"SELECT {', '.join(LastMismatch._fields)} FROM last_mismatches")
                return [LastMismatch(*row) for row in rows], ""
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return [], set_aside(path, str(error))


def look_over(path: Path) -> str:
    """Look a large database over, which may take minutes; a warning where it is damaged. Raises HistoryUnusable."""
    with in_words(path):
        if not path.exists() or path.stat().st_size <= SMALL:  # `load` did
            return ""
        try:
            with opened(path) as connection:
                verdict = check(connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            verdict = str(error)
        return set_aside(path, verdict) if verdict else ""


def check(connection: sqlite3.Connection) -> str:
    """What is wrong with it; empty where nothing is."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if verdict == "ok" else str(verdict)


def accounts(path: Path) -> list[KeptAccount]:
    """The accounts that the last agent has left. Raises HistoryUnusable."""
    if not path.exists():
        return []
    with in_words(path), opened(path) as connection:
        rows = connection.execute(f"SELECT {', '.join(KeptAccount._fields)} FROM accounts").fetchall()
        return [KeptAccount(*row) for row in rows]


def forget_accounts(path: Path) -> None:
    """Have none of them any more. Raises HistoryUnusable.

    As soon as anybody is shown higher counts, what is kept here must not come back.
    """
    with in_words(path), opened(path) as connection, connection:
        connection.execute("DELETE FROM accounts")


def baselines_of(path: Path, disk: str, probe: str) -> list[KeptBaseline]:
    """What was kept of this probe, the latest first. Raises HistoryUnusable."""
    if not path.exists():
        return []
    with in_words(path), opened(path) as connection:
        return baseline_table.of_probe(connection, disk, probe)


def latest_baselines(path: Path, probes: Container[tuple[str, str]]) -> list[KeptBaseline]:
    """The last ones of each operation of these, by disk and probe. Raises HistoryUnusable."""
    if not path.exists():
        return []
    with in_words(path), opened(path) as connection:
        return baseline_table.latest(connection, probes)


def mismatches(path: Path, disk: str = "", limit: int = -1, before: tuple[str, int] | None = None) -> list[Mismatched]:
    """The last mismatches, oldest first; none where there is no history. Changes none. Raises HistoryUnusable.

    `before` is the run and the number of one: those that were found earlier.
    """
    if not path.exists():
        return []
    with read_only(path) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(Mismatched._fields)} FROM mismatches WHERE ?1 IN ('', disk) "
            "AND (?3 IS NULL OR id < (SELECT id FROM mismatches WHERE run = ?3 AND number = ?4)) "
            "ORDER BY id DESC LIMIT ?2",
            (disk, limit, *(before or (None, None))),
        )
        return [Mismatched(*row) for row in rows][::-1]


class History:
    """The runs of a history, for who shows them. Every method blocks, changes nothing and raises HistoryUnusable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def latest(
        self,
        disk: str | None = None,
        probe: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
        *,
        is_failed: bool = False,
    ) -> list[RunRecord]:
        """The last runs, the latest first; none where there is no history. `is_failed` leaves successes out."""
        if not self.path.exists():
            return []
        with read_only(self.path) as connection:
            if not has_runs(connection):
                return []
            return run_table.latest(connection, disk, probe, limit=limit, before_id=before_id, is_failed=is_failed)

    def run(self, id: int) -> RunRecord | None:  # noqa: A002 - as RunRecord has it
        if not self.path.exists():
            return None
        with read_only(self.path) as connection:
            return run_table.find(connection, id) if has_runs(connection) else None


def has_runs(connection: sqlite3.Connection) -> bool:
    """Whether the agent that has made the database kept runs; one of version 1 kept mismatches alone."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone() is not None


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as it is. Raises HistoryUnusable."""
    with in_words(path):
        # Where the directory cannot be written SQLite has no place for its lock: the file is taken as it is.
        mode = "mode=ro" if os.access(path.parent, os.W_OK) else "mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", BUSY_S, uri=True)) as connection:
            yield connection


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, made or brought up to date. It is closed after each use: a thread that hangs holds no other up."""
    if path.exists() and not os.access(path, os.W_OK):
        # Of a WAL that it cannot write SQLite says: disk I/O error.
        raise OSError(errno.EROFS, "read-only; make it writable for the agent's user")
    with contextlib.closing(sqlite3.connect(path, BUSY_S)) as connection:
        # Alone at it, SQLite keeps its index of the WAL in the heap, and not in a mapped file: a page of that which a
        # full or broken disk cannot give would be a SIGBUS, and the end of the agent.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        let_shrink(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
        yield connection


def let_shrink(connection: sqlite3.Connection) -> None:
    """Have SQLite keep book of free pages, so that the file can be made shorter without writing all of it anew."""
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if mode != INCREMENTAL:
        connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        connection.execute("VACUUM")  # Version 1 did not; its tables are small.


def migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise HistoryUnusable(f"was written by a newer iovigil (version {version}, this one knows {len(MIGRATIONS)})")
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {statements}; PRAGMA user_version = {number}; COMMIT")


def insert(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], conflict: str
) -> None:
    places = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT {conflict} INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE


def set_aside(path: Path, why: str) -> str:
    """Rename a damaged database, in place of one that was renamed before; the warning."""
    aside = path.with_name(f"{path.name}.damaged")
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()
    path.replace(aside)
    return f"history {path} is damaged ({why}): it was renamed {aside.name}, and a new one begins"


@contextlib.contextmanager
def in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except HistoryUnusable as reason:
        raise HistoryUnusable(f"history {path} {reason}; move it away to begin a new one") from None
    except sqlite3.Error as error:
        raise HistoryUnusable(f"history {path}: {error}{hint(error)}") from None
    except OSError as error:
        raise HistoryUnusable(f"history {path}: {error.strerror or error}") from None


def hint(error: sqlite3.Error) -> str:
    hints: Mapping[int, str] = {
        sqlite3.SQLITE_FULL: "; make room in the state directory",
        sqlite3.SQLITE_READONLY: "; make it writable for the agent's user",
        sqlite3.SQLITE_CANTOPEN: "; it has to be a file that the agent's user can read and write",
    }
    return hints.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")

"""The runs in the history's database: written once each, read back, and kept within bounds."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from iovigil.agent import baseline_table
from iovigil.agent.bounds import Bounds
from iovigil.agent.run_record import RunRecord

TABLES: Final = """
    CREATE TABLE jobs (id INTEGER PRIMARY KEY, options TEXT NOT NULL UNIQUE);
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        place INTEGER NOT NULL,
        name TEXT NOT NULL,
        disk TEXT NOT NULL,
        probe TEXT NOT NULL,
        started_unix REAL NOT NULL,
        duration_s REAL NOT NULL,
        engine TEXT NOT NULL,
        failure TEXT NOT NULL,
        message TEXT NOT NULL,
        exit_status INTEGER,
        signal INTEGER,
        job INTEGER NOT NULL REFERENCES jobs (id),
        details TEXT NOT NULL
    );
    CREATE INDEX failed_runs ON runs (disk, probe) WHERE failure > '';
    CREATE TABLE counted (
        disk TEXT NOT NULL,
        probe TEXT NOT NULL,
        is_failed INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (disk, probe, is_failed)
    ) WITHOUT ROWID;
    CREATE TABLE booked (agent TEXT PRIMARY KEY, number INTEGER NOT NULL, looked_at INTEGER NOT NULL);
"""
"""`details` is JSON of what nobody searches for. `place` is a run's number among the successes or the failures of its
probe on its disk, and `counted` has the last ones: so that what is too much is found without an index of successes,
which would be a page to write for each run. `booked` says up to which number the present agent's runs are written, and
up to which id runs were looked at."""

COLUMNS: Final = ("name", "disk", "probe", "started_unix", "duration_s", "engine", "failure", "message", "exit_status",
                  "signal")  # fmt: skip
DETAILS: Final = ("messages", "ios", "bytes", "errors", "errnos", "latency_s", "verified_bytes", "mismatches")

DAY_S: Final = 86_400
LOOKED_AT: Final = 2000
"""Runs that are looked at with each write, from the first to the last and again, whether they are too old."""
REMOVED: Final = 500
"""How many more than were added go with each write while the database is too large."""
FREE_PAGES: Final = 256
"""What the file may hold of free pages for new runs; the rest is given back."""


class Numbered(NamedTuple):
    """A run as it waits to be written; numbers go up, so that one that is written again is there once."""

    number: int
    values: tuple[Any, ...]
    options: str
    details: str

    @property
    def is_success(self) -> bool:
        return not self.values[COLUMNS.index("failure")]


def numbered(number: int, record: RunRecord) -> Numbered:
    details = {name: value for name in DETAILS if (value := getattr(record, name))}
    return Numbered(
        number,
        tuple(getattr(record, name) for name in COLUMNS),
        msgspec.json.encode(record.options).decode(),
        msgspec.json.encode(details).decode(),
    )


def add(connection: sqlite3.Connection, agent: str, runs: Sequence[Numbered], bounds: Bounds, now_unix: float) -> None:
    """Write these, and remove what is too much. In a transaction of the caller."""
    if not runs:
        return
    row = connection.execute("SELECT number, looked_at FROM booked WHERE agent = ?", (agent,)).fetchone()
    number, looked_at = row or (0, 0)
    new = [run for run in runs if run.number > number]
    jobs = {options: job_of(connection, options) for options in {run.options for run in new}}
    columns = ("place", *COLUMNS, "job", "details")
    connection.executemany(
        f"INSERT INTO runs ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        [(place_of(connection, run), *run.values, jobs[run.options], run.details) for run in new],
    )
    looked_at = remove_surplus(connection, looked_at, bounds, now_unix)
    remove_for_room(connection, len(new) + REMOVED, bounds)
    connection.execute("DELETE FROM booked WHERE agent != ?", (agent,))
    last = max((run.number for run in runs), default=0)
    connection.execute("INSERT OR REPLACE INTO booked VALUES (?, ?, ?)", (agent, max(number, last), looked_at))


def job_of(connection: sqlite3.Connection, options: str) -> int:
    connection.execute("INSERT OR IGNORE INTO jobs (options) VALUES (?)", (options,))
    (number,) = connection.execute("SELECT id FROM jobs WHERE options = ?", (options,)).fetchone()
    return int(number)


def place_of(connection: sqlite3.Connection, run: Numbered) -> int:
    key = (*run.values[1:3], not run.is_success)
    connection.execute("INSERT INTO counted VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET number = number + 1", key)
    (place,) = connection.execute(
        "SELECT number FROM counted WHERE disk = ? AND probe = ? AND is_failed = ?", key
    ).fetchone()
    return int(place)


def remove_surplus(connection: sqlite3.Connection, looked_at: int, bounds: Bounds, now_unix: float) -> int:
    """Look at the next runs, and remove those that are too old or too many; up to where that was.

    Not at all of them at once: reading a whole history takes a slow disk minutes.
    """
    number, last = next_runs(connection, looked_at, LOOKED_AT)
    if last is not None:
        remove_between(connection, looked_at, last, bounds, now_unix)
    if number == LOOKED_AT and last is not None:
        return last
    # Once a round: the options that no run has any more.
    connection.execute("DELETE FROM jobs WHERE id NOT IN (SELECT job FROM runs)")
    _, last = next_runs(connection, 0, LOOKED_AT - number)
    if last is None:
        return 0
    remove_between(connection, 0, last, bounds, now_unix)
    return last


def next_runs(connection: sqlite3.Connection, after: int, limit: int) -> tuple[int, int | None]:
    """How many runs there are behind that one, at most `limit`, and the last of these."""
    number, last = connection.execute(
        "SELECT count(*), max(id) FROM (SELECT id FROM runs WHERE id > ? ORDER BY id LIMIT ?)", (after, limit)
    ).fetchone()
    return number, last


def remove_between(connection: sqlite3.Connection, after: int, last: int, bounds: Bounds, now_unix: float) -> None:
    # By place and not by time alone: a clock that was set back makes no run older than those before it.
    connection.execute(
        "DELETE FROM runs WHERE id > ? AND id <= ? AND ("
        "started_unix < CASE failure WHEN '' THEN ? ELSE ? END OR "
        "place <= (SELECT number FROM counted WHERE counted.disk = runs.disk AND counted.probe = runs.probe "
        "AND is_failed = (failure > '')) - CASE failure WHEN '' THEN ? ELSE ? END)",
        (
            after,
            last,
            now_unix - bounds.days * DAY_S,
            now_unix - bounds.failure_days * DAY_S,
            bounds.runs,
            bounds.failures,
        ),
    )


def remove_for_room(connection: sqlite3.Connection, number: int, bounds: Bounds) -> None:
    """Make the database smaller, a step at a time: the oldest successes go first."""
    surplus = used_bytes(connection) - bounds.size
    # Baselines have bounds of their own: where they are many they must not cost what happened.
    if surplus <= 0 or surplus <= baseline_table.used_bytes(connection, pragma(connection, "page_size")):
        return
    left = number
    for of_kind in ("failure = ''", "failure > ''"):
        if left:
            left -= connection.execute(
                f"DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE {of_kind} ORDER BY id LIMIT ?)", (left,)
            ).rowcount


def used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def give_back(connection: sqlite3.Connection) -> None:
    """Make the file shorter by what it does not need. Outside of transactions."""
    if (surplus := pragma(connection, "freelist_count") - FREE_PAGES) > 0:
        # A row without columns for each page: execute() takes the first of them for the end.
        connection.executescript(f"PRAGMA incremental_vacuum({surplus})")


def pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def latest(
    connection: sqlite3.Connection,
    disk: str | None = None,
    probe: str | None = None,
    *,
    limit: int = 50,
    before_id: int | None = None,
    is_failed: bool = False,
) -> list[RunRecord]:
    """The last runs that these describe, the latest first."""
    conditions = ["1"] + [
        f"runs.{column} {compare} ?"
        for column, compare, value in (("disk", "=", disk), ("probe", "=", probe), ("id", "<", before_id))
        if value is not None
    ]
    values = [value for value in (disk, probe, before_id) if value is not None]
    failed = " AND runs.failure > ''" if is_failed else ""
    return select(connection, f"{' AND '.join(conditions)}{failed} ORDER BY runs.id DESC LIMIT ?", (*values, limit))


def find(connection: sqlite3.Connection, number: int) -> RunRecord | None:
    found = select(connection, "runs.id = ?", (number,))
    return found[0] if found else None


def select(connection: sqlite3.Connection, which: str, values: Sequence[int | str]) -> list[RunRecord]:
    rows = connection.execute(
        f"SELECT runs.id, {', '.join(COLUMNS)}, jobs.options, details FROM runs JOIN jobs ON jobs.id = runs.job "
        f"WHERE {which}",
        values,
    )
    return [read(row) for row in rows]


def read(row: tuple[Any, ...]) -> RunRecord:
    number, *values, options, details = row
    known = {name: value for name, value in msgspec.json.decode(details).items() if name in DETAILS}
    known["messages"] = tuple(known.get("messages", ()))
    return RunRecord(
        id=number, **dict(zip(COLUMNS, values, strict=True)), options=msgspec.json.decode(options), **known
    )

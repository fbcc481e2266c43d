"""The baselines in the history's database: the one in use for each operation, and a few that were before."""

import sqlite3
from collections.abc import Container, Sequence
from typing import Final, NamedTuple

TABLES: Final = """
    CREATE TABLE baselines (
        disk TEXT NOT NULL,
        probe TEXT NOT NULL,
        operation TEXT NOT NULL,
        conditions TEXT NOT NULL,
        kept_unix REAL NOT NULL,
        state BLOB NOT NULL,
        PRIMARY KEY (disk, probe, operation, conditions)
    );
"""
EACH: Final = 4
"""Kept of one operation of one probe on one disk, under other conditions: another firmware, another scheduler."""
ALL: Final = 10_000


class KeptBaseline(NamedTuple):
    """A row of `baselines`."""

    disk: str
    probe: str
    operation: str
    conditions: str
    """What it holds for, see slowdown/conditions."""
    kept_unix: float
    state: bytes
    """What slowdown/track.TrackState is encoded as."""


def put(connection: sqlite3.Connection, rows: Sequence[KeptBaseline]) -> None:
    """Write these in place of what was there, and remove what is too much. In a transaction of the caller."""
    if not rows:
        return
    connection.executemany(
        f"INSERT OR REPLACE INTO baselines VALUES ({', '.join('?' * len(KeptBaseline._fields))})", rows
    )
    connection.executemany(
        "DELETE FROM baselines WHERE disk = ?1 AND probe = ?2 AND operation = ?3 AND kept_unix < "
        "(SELECT min(kept_unix) FROM (SELECT kept_unix FROM baselines "
        "WHERE disk = ?1 AND probe = ?2 AND operation = ?3 ORDER BY kept_unix DESC LIMIT ?4))",
        [(*row[:3], EACH) for row in rows],
    )
    connection.execute(
        "DELETE FROM baselines WHERE kept_unix < "
        "(SELECT kept_unix FROM baselines ORDER BY kept_unix DESC LIMIT 1 OFFSET ?)",
        (ALL - 1,),
    )


def of_probe(connection: sqlite3.Connection, disk: str, probe: str) -> list[KeptBaseline]:
    """All that is kept, the latest first."""
    rows = connection.execute(
        f"SELECT {', '.join(KeptBaseline._fields)} FROM baselines WHERE disk = ? AND probe = ? ORDER BY kept_unix DESC",
        (disk, probe),
    )
    return [KeptBaseline(*row) for row in rows]


def latest(connection: sqlite3.Connection, probes: Container[tuple[str, str]]) -> list[KeptBaseline]:
    """The last ones of each operation of these, by disk and probe."""
    # Of the other columns SQLite takes those of the row with the maximum.
    columns = ", ".join("max(kept_unix)" if name == "kept_unix" else name for name in KeptBaseline._fields)
    rows = connection.execute(f"SELECT {columns} FROM baselines GROUP BY disk, probe, operation")
    # One after the other: what is not wanted any more may be a lot.
    return [KeptBaseline(*row) for row in rows if (row[0], row[1]) in probes]

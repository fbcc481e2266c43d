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
BYTES: Final = """
    length(state) + 100
    + 2 * length(CAST(disk || probe || operation || conditions AS BLOB))
"""
"""What a row takes with its entries in the indexes, which have its names once more."""
SIZES: Final = f"""
    ALTER TABLE baselines ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    UPDATE baselines SET bytes = {BYTES};
    CREATE INDEX kept_baselines ON baselines (kept_unix, bytes);
"""
"""The index, so that adding them up does not read them all."""
EACH: Final = 4
"""Kept of one operation of one probe on one disk, under other conditions: another firmware, another scheduler."""
ALL_BYTES: Final = 64 << 20
"""Beside what runs may take. Of what has not been measured for longest, disks that are gone and conditions that were,
the most goes first."""


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
    columns = ", ".join(KeptBaseline._fields)
    # Not OR REPLACE, which writes the entries of all indexes anew.
    connection.executemany(
        f"INSERT INTO baselines ({columns}, bytes) SELECT *, {BYTES} FROM "
        f"(SELECT {', '.join(f'? AS {name}' for name in KeptBaseline._fields)}) WHERE true "
        "ON CONFLICT DO UPDATE SET kept_unix = excluded.kept_unix, state = excluded.state, bytes = excluded.bytes",
        rows,
    )
    connection.executemany(
        "DELETE FROM baselines WHERE disk = ?1 AND probe = ?2 AND operation = ?3 AND kept_unix < "
        "(SELECT min(kept_unix) FROM (SELECT kept_unix FROM baselines "
        "WHERE disk = ?1 AND probe = ?2 AND operation = ?3 ORDER BY kept_unix DESC LIMIT ?4))",
        [(*row[:3], EACH) for row in rows],
    )
    connection.execute(
        "DELETE FROM baselines WHERE rowid IN (SELECT rowid FROM (SELECT rowid, "
        "sum(bytes) OVER (ORDER BY kept_unix DESC, rowid DESC) AS total FROM baselines) WHERE total > ?)",
        (ALL_BYTES,),
    )


def used_bytes(connection: sqlite3.Connection, page_size: int) -> int:
    """What they take of the database, and rather more than less."""
    (pages,) = connection.execute("SELECT sum(bytes / ? + 1) FROM baselines", (page_size,)).fetchone()
    return (pages or 0) * page_size


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

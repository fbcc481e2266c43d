"""The history: bounded, brought up to date, and never the end of anything, whatever has become of its file."""

import sqlite3
from pathlib import Path

import pytest
from histories import last, row

from iovigil.agent import history
from iovigil.agent.history import HistoryUnusable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return history.database(tmp_path)


def test_what_is_written_is_read_back(path: Path) -> None:
    rows = [row(0), row(1, first_byte=5000, wrong_bits=3, found_offset=8192, dumps="/a\n/b"), row(0, "data1")]
    assert history.write(path, rows, [last(), last("data1", 2000.0)]) == ""
    assert history.mismatches(path) == rows
    assert history.mismatches(path, "data1") == rows[2:]
    assert history.mismatches(path, limit=2) == rows[1:]
    assert history.load(path) == ([last(), last("data1", 2000.0)], "")


def test_a_history_that_is_not_there_is_empty_and_stays_so(path: Path) -> None:
    assert history.mismatches(path) == []
    assert history.load(path) == ([], "")
    assert not path.exists()


def test_a_row_that_is_written_again_is_there_once(path: Path) -> None:
    history.write(path, [row(0), row(1)], [last()])
    history.write(path, [row(1), row(2)], [last(found_unix=1002.0)])
    assert [each.number for each in history.mismatches(path)] == [0, 1, 2]
    assert history.load(path)[0] == [last(found_unix=1002.0)]


def test_the_last_ones_of_each_disk_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MISMATCHES_PER_DISK", 10)
    history.write(path, [row(number) for number in range(8)], [last()])
    history.write(path, [row(0, "data1")], [last("data1")])
    history.write(path, [row(number) for number in range(8, 30)], [last()])
    assert [each.number for each in history.mismatches(path, "data0")] == list(range(20, 30))
    assert len(history.mismatches(path, "data1")) == 1


def test_disks_that_come_and_go_do_not_fill_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MISMATCHES", 5)
    for number in range(20):
        history.write(path, [row(0, f"disk{number}")], [last(f"disk{number}")])
    assert [each.disk for each in history.mismatches(path)] == [f"disk{number}" for number in range(15, 20)]


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_an_older_history_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.write(path, [row(0)], [last()])
    assert version_of(path) == len(history.MIGRATIONS)
    more = (*history.MIGRATIONS, "CREATE TABLE later (id INTEGER PRIMARY KEY)", "ALTER TABLE later ADD name TEXT")
    monkeypatch.setattr(history, "MIGRATIONS", more)
    assert history.write(path, [row(1)], [last()]) == ""
    assert version_of(path) == len(more)
    assert [each.number for each in history.mismatches(path)] == [0, 1]


def test_a_migration_that_fails_leaves_nothing_half_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.write(path, [row(0)], [last()])
    before = len(history.MIGRATIONS)
    connection = sqlite3.connect(path)
    with monkeypatch.context() as patch:
        patch.setattr(
            history, "MIGRATIONS", (*history.MIGRATIONS, "CREATE TABLE later (id INTEGER); CREATE TABLE later (x)")
        )
        with pytest.raises(sqlite3.OperationalError):
            history.migrate(connection)
    connection.close()
    assert version_of(path) == before
    assert history.write(path, [row(1)], [last()]) == ""


def test_a_history_of_a_newer_version_is_left_alone(path: Path) -> None:
    history.write(path, [row(0)], [last()])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    for use in (lambda: history.write(path, [row(1)], [last()]), lambda: history.load(path)):
        with pytest.raises(HistoryUnusable, match="written by a newer iovigil"):
            use()
    assert path.read_bytes() == before


def zeroed_in_the_middle(whole: bytes) -> bytes:
    return whole[:4096] + bytes(len(whole) - 4096)


DAMAGES = {
    "another file": lambda _: b"this is no database, and long enough to be seen as none: " + b"x" * 200,
    "cut short": lambda whole: whole[: len(whole) // 2],
    "zeroed": zeroed_in_the_middle,
    "header": lambda whole: b"\xff" * 100 + whole[100:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("use", ["load", "write"])
def test_a_damaged_history_is_renamed_and_a_new_one_begins(path: Path, damage: str, use: str) -> None:
    history.write(path, [row(number) for number in range(500)], [last()])
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    damaged = path.read_bytes()
    warnings = [history.load(path)[1]] if use == "load" else []
    warnings.append(history.write(path, [row(0)], [last()]))
    said = [warning for warning in warnings if warning]
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert "history.db.damaged" in said[0]
    assert path.with_name("history.db.damaged").read_bytes()[:50] == damaged[:50]
    assert [each.number for each in history.mismatches(path)] == [0]
    assert history.load(path) == ([last()], "")


def test_the_tables_of_somebody_else_are_no_history(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE mismatches (x); PRAGMA user_version = 1")
    connection.close()
    assert "is damaged" in history.write(path, [row(0)], [last()])
    assert len(history.mismatches(path)) == 1


def test_a_full_disk_is_told_and_harms_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.write(path, [row(0)], [last()])
    connect = sqlite3.connect

    def small(*arguments: object, **more: object) -> sqlite3.Connection:
        connection = connect(*arguments, **more)  # type: ignore[call-overload]
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes what is there for the least
        return connection  # type: ignore[no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", small)
        with pytest.raises(HistoryUnusable, match="full; make room in the state directory"):
            history.write(path, [row(number) for number in range(1, 900)], [last()])
    assert [each.number for each in history.mismatches(path)] == [0]
    assert history.write(path, [row(1)], [last()]) == ""


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    with pytest.raises(HistoryUnusable, match="has to be a file that the agent's user can read and write"):
        history.write(tmp_path / "history.db", [row(0)], [last()])
    with pytest.raises(HistoryUnusable, match=r"history .*gone/history.db: unable to open"):
        history.write(tmp_path / "gone" / "history.db", [row(0)], [last()])


@pytest.mark.parametrize(
    ("path", "identity", "is_same"),
    [
        ("/srv/data0/probe", "wwn-1", True),
        ("/srv/data0/probe", "", True),
        ("/srv/data0/probe", "wwn-2", False),
        ("/srv/data1/probe", "wwn-1", False),
    ],
)
def test_a_disk_that_took_anothers_place_is_not_blamed_for_it(path: str, identity: str, is_same: bool) -> None:
    assert last().is_of(path, identity) is is_same


def test_nothing_is_mapped_that_a_broken_disk_could_turn_into_a_signal(path: Path) -> None:
    with history.opened(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        history.insert(connection, "last_mismatches", history.LastMismatch._fields, [last()], "OR REPLACE")
        assert not path.with_name("history.db-shm").exists()
        assert "history.db" not in Path("/proc/self/maps").read_text()

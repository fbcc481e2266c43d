"""The runs of a history: written once, found again, and kept within every bound."""

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from histories import last, record, row

from iovigil.agent import history, run_table
from iovigil.agent.baseline_table import KeptBaseline
from iovigil.agent.bounds import Bounds
from iovigil.agent.history import History, HistoryUnusable, KeptAccount, Runs
from iovigil.agent.run_record import RunRecord

KIB = 1 << 10
DAY_S = 86_400
KILLS = int(os.environ.get("IOVIGIL_KILL_ROUNDS", "8"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return history.database(tmp_path)


def write(path: Path, records: Sequence[RunRecord], *, first: int = 1, bounds: Bounds = Bounds()) -> None:  # noqa: B008
    numbered = [run_table.numbered(number, each) for number, each in enumerate(records, first)]
    assert history.write(path, [], [], Runs("agent", numbered, bounds)) == ""


def test_what_is_written_is_read_back_whole(path: Path) -> None:
    full = record(
        1,
        failure="verify",
        message="data corruption: ...",
        messages=("warning: a", "error: ü"),
        exit_status=1,
        options={"rw": "randwrite", "bs": "4k"},
        ios={"read": 10, "write": 20},
        bytes={"read": 40960},
        errors={"read": 2},
        errnos={"EIO": 2},
        latency_s={"read": {"0.5": 0.001, "0.99": 0.002, "0.999": 0.003, "max": 0.004}},
        verified_bytes=4096,
        mismatches={"stale": 3},
    )
    write(path, [full, record(2, signal=9)])
    second, first = History(path).latest()
    assert (first.id, second.id) == (1, 2)
    assert first == record(id=1, number=1, **{name: getattr(full, name) for name in run_table.DETAILS},
                           failure=full.failure, message=full.message, exit_status=1, options=full.options)  # fmt: skip
    assert second.signal == 9
    assert History(path).run(1) == first
    assert History(path).run(3) is None
    assert History(path).run((1 << 63) - 1) is None, "the last number that SQLite knows"


def test_a_disk_a_probe_failures_or_earlier_ones_can_be_asked_for(path: Path) -> None:
    write(path, [record(n, disk=f"data{n % 2}", failure="io_error" if n % 3 == 0 else "") for n in range(1, 13)])
    runs = History(path)
    assert [each.id for each in runs.latest("data1")] == [11, 9, 7, 5, 3, 1]
    assert [each.id for each in runs.latest("data1", limit=2, before_id=9)] == [7, 5]
    assert [each.id for each in runs.latest(is_failed=True)] == [12, 9, 6, 3]
    assert runs.latest(probe="other") == []


def test_without_a_history_there_are_no_runs(path: Path) -> None:
    assert History(path).latest() == []
    assert History(path).run(1) is None
    assert not path.exists()


def test_runs_that_are_written_again_are_there_once(path: Path) -> None:
    write(path, [record(1), record(2)])
    write(path, [record(1), record(2), record(3)])
    assert [each.name for each in History(path).latest()] == [record(n).name for n in (3, 2, 1)]


def test_another_agents_numbers_begin_again(path: Path) -> None:
    write(path, [record(1), record(2)])
    assert history.write(path, [], [], Runs("another", [run_table.numbered(1, record(3))])) == ""
    assert len(History(path).latest()) == 3


def test_failures_are_kept_longer_than_successes(path: Path) -> None:
    bounds = Bounds(runs=5, failures=8)
    write(path, [record(n, failure="io_error" if n % 2 else "") for n in range(1, 31)], bounds=bounds)
    write(path, [record(100, disk="data1")], first=100, bounds=bounds)
    found = History(path).latest("data0", limit=100)
    assert [each.id for each in found if each.is_success] == [30, 28, 26, 24, 22]
    assert [each.id for each in found if not each.is_success] == [29, 27, 25, 23, 21, 19, 17, 15]
    assert len(History(path).latest("data1")) == 1, "each has its own"


def test_a_clock_that_is_set_back_makes_no_run_older_than_those_before(path: Path) -> None:
    bounds = Bounds(runs=3)
    write(path, [record(n, started_unix=record(0).started_unix - n * DAY_S / 30) for n in range(1, 10)], bounds=bounds)
    assert [each.id for each in History(path).latest()] == [9, 8, 7]


def test_old_runs_go_also_those_of_disks_that_are_gone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_table, "LOOKED_AT", 7)
    now = record(0).started_unix
    old = [
        record(n, disk="gone", started_unix=now - 40 * DAY_S, failure="" if n % 2 else "io_error") for n in range(20)
    ]
    write(path, old)
    bounds = Bounds(days=30, failure_days=300)
    for number in range(30):
        write(path, [record(number)], first=100 + number, bounds=bounds)
    assert {each.failure for each in History(path).latest("gone")} == {"io_error"}
    assert len(History(path).latest("gone")) == 10
    assert len(History(path).latest("data0")) == 30


def test_the_database_stays_as_small_as_it_has_to_and_failures_go_last(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_table, "FREE_PAGES", 8)
    bounds = Bounds(runs=10**6, failures=10**6, size=400 * KIB)
    sizes = []
    for batch in range(60):
        records = [record(batch * 100 + n, failure="io_error" if n == 0 else "", message="x" * 100) for n in range(100)]
        write(path, records, first=1 + batch * 100, bounds=bounds)
        sizes.append(path.stat().st_size)
    assert max(sizes[10:]) < 2 * bounds.size
    assert len(History(path).latest(is_failed=True, limit=1000)) == 60
    assert len(History(path).latest(limit=10_000)) > 300
    # A bound that is set lower takes effect, and the room is given back.
    for number in range(20):
        write(path, [record(9000 + number)], first=9000 + number, bounds=bounds._replace(size=200 * KIB))
    assert path.stat().st_size < 250 * KIB


def test_baselines_take_no_room_from_runs(path: Path) -> None:
    bounds = Bounds(runs=10**6, failures=10**6, size=1024 * KIB)
    chance = random.Random(1)
    baselines = [
        KeptBaseline(f"data{n}", "latency", "read", "c" * 500, 1000.0 + n, bytes(chance.randrange(200, 9000)))
        for n in range(800)  # of all lengths that are stored in another way
    ]
    history.write(path, [], [], baselines=baselines)
    baselines_bytes = path.stat().st_size
    assert baselines_bytes > 3 * bounds.size
    for batch in range(40):
        records = [record(batch * 100 + n, failure="" if n else "io_error", message="x" * 100) for n in range(100)]
        write(path, records, first=1 + batch * 100, bounds=bounds)
    assert len(History(path).latest(is_failed=True, limit=1000)) == 40
    assert len(History(path).latest(limit=10_000)) > 2000
    for batch in range(40, 160):
        records = [record(batch * 100 + n, failure="" if n else "io_error", message="x" * 100) for n in range(100)]
        write(path, records, first=1 + batch * 100, bounds=bounds)
    assert path.stat().st_size < 1.6 * baselines_bytes + 2 * bounds.size, "they are still bounded"
    assert len(History(path).latest(limit=100_000)) < 15_000


def version_one(path: Path) -> None:
    """The database as the first agents made it, with data."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"{history.MIGRATIONS[0]}; PRAGMA user_version = 1")
        history.insert(connection, "mismatches", history.Mismatched._fields, [row(n) for n in range(50)], "")
        history.insert(connection, "last_mismatches", history.LastMismatch._fields, [last()], "")
        connection.commit()


def test_the_first_agents_history_is_read_and_brought_up_to_date_with_all_that_is_in_it(path: Path) -> None:
    version_one(path)
    assert History(path).latest() == [], "also before that"
    assert len(history.mismatches(path)) == 50
    assert history.load(path) == ([last()], "")
    write(path, [record(1)])
    assert len(history.mismatches(path)) == 50
    assert history.load(path) == ([last()], "")
    assert len(History(path).latest()) == 1
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (history.INCREMENTAL,)


def test_accounts_are_there_until_they_are_taken_or_anything_is_written(path: Path) -> None:
    kept = [KeptAccount("data0", "latency", b"1"), KeptAccount("data1", "latency", b"2")]
    history.write(path, [], [], accounts=kept)
    assert history.accounts(path) == kept == history.accounts(path)
    history.forget_accounts(path)
    assert history.accounts(path) == []
    history.write(path, [], [], accounts=kept)
    write(path, [record(1)])
    assert history.accounts(path) == [], "an agent that could not take them must not leave them to the next"


def test_a_locked_history_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BUSY_S", 0.05)
    write(path, [record(1)])
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for use in (lambda: history.accounts(path), lambda: history.write(path, [], [last()])):
            with pytest.raises(HistoryUnusable, match="locked"):
                use()
    assert History(path).run(1) is not None


def test_a_history_that_is_read_only_is_told_and_still_shown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, [record(1)])
    history.write(path, [], [], accounts=[KeptAccount("data0", "latency", b"1")])
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # as access(2) answers of a filesystem that is read-only
        for use in (lambda: history.accounts(path), lambda: history.write(path, [], [last()])):
            with pytest.raises(HistoryUnusable, match="make it writable for the agent's user"):
                use()
        assert len(History(path).latest()) == 1
    assert len(history.accounts(path)) == 1


WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from histories import record
from iovigil.agent import history, run_table
from iovigil.agent.bounds import Bounds
number = 0
while True:
    batch = [run_table.numbered(number + n, record(number + n)) for n in range(1, 20)]
    history.write(Path(sys.argv[1]), [], [], history.Runs("agent", batch, Bounds(runs=200)))
    number += 19
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_at_any_moment_loses_nothing_that_it_has_written(path: Path) -> None:
    chance = random.Random(7)
    here = [str(Path(__file__).parent), *sys.path]
    for _ in range(KILLS):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), *here], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline()]
            time.sleep(chance.uniform(0, 0.1))
            writer.kill()
            said += writer.stdout.readlines()
        written = int(said[-1] if said[-1].endswith(b"\n") else said[-2])
        assert history.load(path) == ([], ""), "it is whole"
        names = [each.name for each in History(path).latest(limit=999)]
        assert len(set(names)) == len(names) >= min(written, 200)
        assert History(path).latest()[0].id >= written


def test_damage_that_a_look_over_finds_is_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SMALL", 0)
    write(path, [record(n, message="x" * 500) for n in range(1, 500)])
    assert history.look_over(path) == ""
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 8192] = bytes(8192)
    path.write_bytes(whole)
    assert history.load(path) == ([], ""), "a start does not wait for it"
    assert "is damaged" in history.look_over(path)
    assert not path.exists()
    write(path, [record(1)])
    assert len(History(path).latest()) == 1

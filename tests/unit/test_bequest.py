"""What a killed agent leaves: taken over once, exactly, by an agent of the same disk; never trusted blindly."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledgers import ledger_of, probe

from iovigil.agent import bequest
from iovigil.agent.account import Account, NotAnAccount
from iovigil.agent.bequest import Bequest
from iovigil.agent.ledger import Failure, Ledger, ProbeEntry, RunResult, Skip
from iovigil.agent.quarantine import Medium
from iovigil.agent.web_account import Refusal
from iovigil.engines.stats import StatsPage

IOS = 100


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="iovigil-test-", dir="/dev/shm") as directory:
        yield Path(directory) / "accounts"


def page_with(ios: int, page: StatsPage | None = None) -> StatsPage:
    """A page on which so many reads of 4 KiB were counted."""
    page = page or StatsPage.private()
    sums = StatsPage.private().sums()
    sums["counters"]["IOS"][0] = ios
    sums["latencies"]["CLAT"][0] = [1000, 2000, 1500 * ios, 1.0, 1000, ios]
    page.add_sums(sums)
    return page


def finish(entry: ProbeEntry, page: StatsPage, failure: Failure | None = None) -> None:
    entry.finish(
        RunResult(
            disk=entry.disk,
            probe=entry.probe,
            options=entry.options,
            engine=entry.engine,
            page=page.copy(),
            started_unix=1000.0,
            ended_unix=1005.0,
            failure=failure,
        )
    )


def ios(entry: ProbeEntry) -> int:
    return entry.view().counter(0, 0)


def agent(place: Path, **disk: Any) -> tuple[Bequest, Ledger, ProbeEntry]:
    """An agent that has just started."""
    entry = probe()
    ledger = ledger_of(entry)
    ledger.disks["data0"].path = disk.get("path", "/srv/data0")
    ledger.disks["data0"].identity = disk.get("identity", {"wwn": "wwn-1"})
    left = Bequest(place)
    left.take_over(ledger)
    left.open(ledger)
    return left, ledger, entry


def test_the_counters_of_the_agent_itself_go_on_too(place: Path) -> None:
    left, ledger, _ = agent(place)
    ledger.start_delays.note(0.2)
    ledger.web.refuse(Refusal.PASSWORD)
    left.keep(ledger)
    left, ledger, _ = agent(place)
    assert (ledger.start_delays.count, ledger.start_delays.sum_s) == (1, 0.2)
    assert ledger.web.refusals[Refusal.PASSWORD] == 1
    ledger.start_delays.note(0.3)
    left.keep(ledger)
    _, after, _ = agent(place)
    assert after.start_delays.count == 2
    assert after.web.refusals[Refusal.PASSWORD] == 1


def test_an_account_of_the_agent_that_is_none_is_said_and_begins_at_0(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left, ledger, _ = agent(place)
    ledger.start_delays.note(0.2)
    left.keep(ledger)
    (place / bequest.AGENT).write_bytes(b"nothing of the kind")
    _, after, _ = agent(place)
    assert after.start_delays.count == 0
    assert "the counters of the agent begin at 0" in caplog.text


def test_all_that_was_shown_is_there_again(place: Path) -> None:
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS), Failure.IO_ERROR)
    finish(entry, page_with(IOS))
    entry.skips[Skip.OVERLAP] += 3
    entry.fallbacks, entry.unverified_bytes, entry.pending_bytes = 1, 4096, 512
    left.keep(ledger)
    _, _, after = agent(place)
    assert ios(after) == 2 * IOS
    assert after.totals.sums() == entry.totals.sums()
    assert (after.runs, after.failures, after.skips) == (2, entry.failures, entry.skips)
    assert (after.fallbacks, after.last_success_unix) == (1, 1005.0)
    assert after.unverified_bytes == 4096 + 512, "nobody knows any more where the pending ones are"


def test_a_run_in_progress_counts_as_far_as_it_got(place: Path) -> None:
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)
    entry.begin(page_with(7, left.page(entry, "/srv/data0")))
    assert ios(entry) == IOS + 7
    for _ in range(3):  # killed again and again before anything else could happen
        _, _, after = agent(place)
        assert ios(after) == IOS + 7
    assert after.runs == 1, "it did not end"


def test_a_run_counts_once_wherever_the_agent_is_killed(place: Path) -> None:
    """Between any two steps, from a run's end to its page's: a copy of the directory is what SIGKILL leaves."""
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)
    page = page_with(7, left.page(entry, "/srv/data0"))
    entry.begin(page)
    at_work = snapshot(place, "at-work")
    finish(entry, page)
    booked_not_kept = snapshot(place, "booked")
    page_file = next(place.glob("*.page"))
    shutil.copy(page_file, place.parent / "page")
    left.keep(ledger)
    assert not page_file.exists()
    kept_not_removed = snapshot(place, "kept")
    shutil.copy(place.parent / "page", kept_not_removed / page_file.name)
    for directory in (at_work, booked_not_kept, kept_not_removed, place):
        _, _, after = agent(directory)
        assert ios(after) == IOS + 7, directory.name


def test_a_page_that_was_taken_over_counts_once_where_the_next_agent_is_killed_before_it_removed_it(
    place: Path,
) -> None:
    left, ledger, entry = agent(place)
    left.keep(ledger)
    entry.begin(page_with(7, left.page(entry, "/srv/data0")))
    pages = [(file.name, file.read_bytes()) for file in place.glob("*.page")]
    agent(place)
    for name, data in pages:
        (place / name).write_bytes(data)
    _, _, after = agent(place)
    assert ios(after) == 7


def snapshot(place: Path, name: str) -> Path:
    return Path(shutil.copytree(place, place.parent / name))


@pytest.mark.parametrize("disk", [{"path": "/srv/data1"}, {"identity": {"wwn": "wwn-2"}}])
def test_another_disk_begins_at_0(place: Path, disk: dict[str, Any]) -> None:
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)
    _, _, after = agent(place, **disk)
    assert ios(after) == after.runs == 0


def test_a_disk_that_is_not_there_keeps_its_counters(place: Path) -> None:
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)
    _, _, after = agent(place, identity={})
    assert ios(after) == IOS


def test_an_account_that_was_closed_begins_at_0(place: Path) -> None:
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)
    left.page(entry, "/srv/data0")
    left.keep(Ledger())
    assert list(place.iterdir()) == [place / bequest.AGENT]
    _, _, after = agent(place)
    assert ios(after) == 0


@pytest.mark.parametrize("file", ["account", "page"])
def test_what_cannot_be_read_is_said_and_begins_at_0(place: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)
    left.page(entry, "/srv/data0")
    next(place.glob(f"*.{file}")).write_bytes(b"\x93\x01")
    _, _, after = agent(place)
    assert ios(after) == after.runs == 0
    assert "the counters of latency on data0 begin at 0" in caplog.text


def test_where_there_is_no_room_nothing_is_left_and_runs_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        page = left.page(entry, "/srv/data0")
    entry.begin(page_with(7, page))
    assert ios(entry) == IOS + 7
    assert list(place.iterdir()) == [], "an account without the page of its run would be a counter that falls"
    assert caplog.text.count("No space left on device") == 1
    finish(entry, page)
    left.keep(ledger)
    assert list(place.iterdir()) == []


def test_where_there_is_room_again_accounts_are_kept_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    left, ledger, entry = agent(place)
    finish(entry, page_with(IOS))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(bequest, "RETRY_S", 0.0)
        patch.setattr(bequest, "put", full)
        for _ in range(3):
            left.keep(ledger)
        assert list(place.iterdir()) == []
        page = left.page(entry, "/srv/data0")
        entry.begin(page_with(7, page))
        assert ios(entry) == IOS + 7
    monkeypatch.setattr(bequest, "RETRY_S", 60.0)
    left.keep(ledger)
    _, _, after = agent(Path(shutil.copytree(place, place.parent / "killed in the middle of the run")))
    assert ios(after) == 0, "its page is nowhere: what was shown of it would be missing"
    finish(entry, page)
    left.keep_one(entry, ledger.disks["data0"])
    entry.begin(page_with(5, left.page(entry, "/srv/data0")))
    assert ios(entry) == IOS + 7 + 5
    _, _, after = agent(place)
    assert (ios(after), after.runs) == (IOS + 7 + 5, 2)
    assert caplog.text.count("No space left on device") == 1
    assert caplog.text.count(f"counters are kept in {place} again") == 1


def test_a_directory_that_was_removed_is_made_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, ledger, entry = agent(place)
    shutil.rmtree(place)
    finish(entry, page_with(IOS))
    left.keep(ledger)
    assert not place.exists()
    monkeypatch.setattr(time, "monotonic", lambda: 1e12)
    left.keep(ledger)
    monkeypatch.undo()
    _, _, after = agent(place)
    assert ios(after) == IOS


def test_a_directory_of_somebody_else_is_not_used(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    other = place.parent / "other"
    other.mkdir(mode=0o777)
    other.chmod(0o777)
    place.symlink_to(other)
    left, ledger, entry = agent(place)
    left.keep(ledger)
    assert left.page(entry, "/srv/data0").fileno() >= 0
    assert list(other.iterdir()) == []
    assert "it is not a directory of this user alone" in caplog.text


def test_disks_are_no_memory(tmp_path: Path) -> None:
    mounts = tmp_path / "proc/self/mountinfo"
    mounts.parent.mkdir(parents=True)
    device = tmp_path.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /srv rw - {{}} /dev/vda rw\n"
    mounts.write_text(line.format("ext4"))
    assert not bequest.is_in_memory(tmp_path, str(tmp_path))
    mounts.write_text(line.format("tmpfs"))
    assert bequest.is_in_memory(tmp_path, str(tmp_path))
    assert not bequest.is_in_memory(tmp_path / "gone", str(tmp_path))


def test_systemds_directory_is_taken_before_shared_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place.parent))
    given = bequest.directory("/var/lib/iovigil")
    assert given is not None
    assert given.parent == place.parent
    assert bequest.directory("/var/lib/other") != given, "two agents may have one environment"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "")
    found = bequest.directory("/var/lib/iovigil")
    assert found is not None
    assert found.parent == Path("/dev/shm")
    assert bequest.directory("/var/lib/other") != found


def test_an_account_of_another_version_is_taken_as_far_as_it_is_known(place: Path) -> None:
    _, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    account = Account.of(entry, ledger.disks["data0"])
    account.sums["counters"]["FUTURE"] = [1, 2, 3, 4]
    account.sums["latencies"].pop("RESPONSE")
    account.failures["future"] = 5
    account.failures.pop("crash")
    after = probe()
    Account.decode(account.encode()).restore(after)
    assert ios(after) == IOS
    assert after.failures == dict.fromkeys(Failure, 0)


@pytest.mark.parametrize(
    "sums",
    [{}, {"counters": 1}, {"counters": {"IOS": [-1]}}, {"counters": {"IOS": ["a"]}}, {"errors": [1]}],
)
def test_an_account_that_is_none_changes_nothing(place: Path, sums: dict[str, Any]) -> None:
    _, ledger, entry = agent(place)
    finish(entry, page_with(IOS))
    account = Account.of(entry, ledger.disks["data0"])
    account.sums = {**(account.sums if sums else {}), **sums}
    after = probe()
    with pytest.raises(NotAnAccount):
        Account.decode(account.encode()).restore(after)
    assert ios(after) == after.runs == 0


def test_a_quarantine_is_there_before_anybody_is_shown_it_and_a_reboot_ends_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, ledger, _ = agent(place)
    first.open(ledger)
    medium = Medium(path="/dev/sda", device="sda")
    case = ledger.quarantines.hang("data0", medium, "latency", hung_s=12.0, now_s=0.0, now_unix=1e9)
    first.keep_agent(ledger)
    again, restarted, _ = agent(place)
    assert again.take_over(restarted)
    assert restarted.quarantines.on(medium) == case
    monkeypatch.setattr("iovigil.agent.agent_account.boot_id", lambda: "another")
    later, rebooted, _ = agent(place)
    assert later.take_over(rebooted)
    assert not rebooted.quarantines
    assert rebooted.quarantines.begun("data0") == 1


def test_starts_that_come_to_nothing_cost_no_memory(place: Path) -> None:
    entry = probe()
    ledger, keeper = ledger_of(entry), Bequest(place)
    keeper.open(ledger)
    for _ in range(5):  # of a disk that is left asleep
        keeper.page(entry, ledger.disks[entry.disk].place)
        entry.skip(Skip.STANDBY, time.time())
        keeper.keep(ledger)
    assert [len(pages) for pages in keeper._pages.values()] == [1]
    assert len(list(place.glob("*.page"))) == 1

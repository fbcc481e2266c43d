"""Disks that are selected, over time: they come, go, come back under other names of the kernel, and are replaced."""

import asyncio
from pathlib import Path

import pytest

from iovigil.agent import books
from iovigil.agent.config import Config, parse
from iovigil.agent.disks import selection
from iovigil.agent.disks.candidates import Candidate
from iovigil.agent.roster import FILE, Known, Look, Roster, survey

DAY_S = 86_400.0
PROBES = "probes: {latency: {every: 30s, job: {rw: randread, runtime: 5s}}}"


def config(*entries: str) -> Config:
    return parse("\n".join(["disks:", *(f"  - {entry}" for entry in entries), PROBES]), "agent.yml")


ALL = config("{match: {serial: '*'}}")
SLOTS = config("{match: {by_path: '*'}, name: 'slot-{by_path}'}")


def disk(kernel: str, serial: str, slot: str = "") -> Candidate:
    links = (f"/dev/{kernel}", *([f"/dev/disk/by-path/{slot}"] if slot else []))
    return Candidate(kernel=kernel, path=f"/dev/{kernel}", links=links, labels={"serial": serial, "model": "M"})


def names(look: Look) -> dict[str, str]:
    return {each.name: each.device for each in look.disks}


def test_a_disk_that_has_gone_stays_on_the_roster() -> None:
    before = survey(ALL, [disk("sda", "A"), disk("sdb", "B")], (), 0.0)
    after = survey(ALL, [disk("sda", "A")], before.known, DAY_S)
    assert names(after) == {"A": "/dev/sda", "B": "/dev/sdb"}
    assert {each.name: each.seen_unix for each in after.known} == {"A": DAY_S, "B": 0.0}


def test_a_disk_that_comes_back_by_another_path_is_itself() -> None:
    before = survey(ALL, [disk("sda", "A"), disk("sdb", "B")], (), 0.0)
    after = survey(ALL, [disk("sda", "B"), disk("sdb", "A")], before.known, 1.0)
    assert names(after) == {"A": "/dev/sdb", "B": "/dev/sda"}


def test_the_account_of_a_disk_goes_with_it_and_not_with_its_path() -> None:
    before = survey(ALL, [disk("sda", "A")], (), 0.0)
    ledger = books.open_books(selection.with_disks(ALL, before.disks))
    ledger.probes["A", "latency"].runs = 7
    after = survey(ALL, [disk("sda", "B"), disk("sdb", "A")], before.known, 1.0)
    later = books.open_books(selection.with_disks(ALL, after.disks), ledger)
    assert (later.probes["A", "latency"].runs, later.disks["A"].path) == (7, "/dev/sdb")
    assert later.probes["B", "latency"].runs == 0


def test_another_disk_in_the_same_slot_gets_its_name_and_an_account_of_its_own() -> None:
    before = survey(SLOTS, [disk("sda", "A", "1")], (), 0.0)
    ledger = books.open_books(selection.with_disks(SLOTS, before.disks))
    ledger.probes["slot-1", "latency"].runs = 7
    after = survey(SLOTS, [disk("sda", "B", "1")], before.known, 1.0)
    assert names(after) == {"slot-1": "/dev/sda"}
    later = books.open_books(selection.with_disks(SLOTS, after.disks), ledger)
    assert later.probes["slot-1", "latency"].runs == 0
    assert [each.candidate.key for each in after.known] == ["B"]


def test_a_disk_is_forgotten_when_its_time_is_over_and_not_before() -> None:
    known = survey(ALL, [disk("sda", "A")], (), 0.0).known
    assert names(survey(ALL, [], known, 29 * DAY_S)) == {"A": "/dev/sda"}
    assert names(survey(ALL, [], known, 31 * DAY_S)) == {}
    brief = config("{match: {serial: '*'}, forget_after: 1h}")
    assert names(survey(brief, [], known, 7200.0)) == {}


def test_a_disk_that_is_excluded_is_forgotten_at_once() -> None:
    known = survey(ALL, [disk("sda", "A"), disk("sdb", "B")], (), 0.0).known
    without = config("{match: {serial: '*'}, exclude: {serial: B}}")
    assert names(survey(without, [disk("sda", "A")], known, 1.0)) == {"A": "/dev/sda"}


def test_a_disk_without_a_medium_is_absent_and_still_known() -> None:
    known = survey(ALL, [disk("sda", "A")], (), 0.0).known
    empty = Candidate(kernel="sda", path="/dev/sda", labels={"serial": "A"}, unusable="it has no medium: its size is 0")
    after = survey(ALL, [empty], known, 1.0)
    assert names(after) == {"A": "/dev/sda"}
    assert after.known[0].seen_unix == 0.0


def test_the_roster_outlives_the_agent(tmp_path: Path) -> None:
    there = [disk("sda", "A"), disk("sdb", "B")]
    found = asyncio.run(Roster(str(tmp_path), lambda: there).look(ALL))
    assert found is not None
    restarted = Roster(str(tmp_path), lambda: there[:1])
    found = asyncio.run(restarted.look(ALL))
    assert found is not None
    assert [each.name for each in found] == ["A", "B"]
    assert restarted.identities()["B"]["model"] == "M"


@pytest.mark.parametrize("content", [b"", b"{", b'[{"name": 1}]', b"\xff" * 64])
def test_a_damaged_file_is_said_and_never_fatal(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(content)
    found = asyncio.run(Roster(str(tmp_path), lambda: [disk("sda", "A")]).look(ALL))
    assert found is not None
    assert [each.name for each in found] == ["A"]
    assert "cannot be read" in caplog.text


def test_a_state_directory_that_is_gone_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    roster = Roster(str(tmp_path / "gone"), lambda: [disk("sda", "A")])
    for _ in range(3):
        found = asyncio.run(roster.look(ALL))
        assert found is not None
        assert len(found) == 1
    assert caplog.text.count("cannot be written") == 1


def test_a_look_that_fails_or_hangs_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> list[Candidate]:
        raise OSError(5, "Input/output error")

    assert asyncio.run(Roster(str(tmp_path), fail).look(ALL)) is None
    assert "cannot look for disks" in caplog.text


def test_what_is_known_survives_its_own_format(tmp_path: Path) -> None:
    roster = Roster(str(tmp_path), lambda: [disk("sda", "A", "pci-0000:00:1f.2-ata-1")])
    asyncio.run(roster.look(ALL))
    again = Roster(str(tmp_path), list)
    asyncio.run(again.look(ALL))
    (known,) = again._known or ()
    assert isinstance(known, Known)
    assert known.candidate == disk("sda", "A", "pci-0000:00:1f.2-ata-1")

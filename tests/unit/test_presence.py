"""Which disks are there, told from looks that may fail or hang."""

import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import DiskEntry
from iovigil.agent.presence import Presence

DISK = DiskSettings(name="data0", file="/srv/data0/probe")


@dataclass
class Found:
    is_present: bool = True
    reason: str = ""
    identity: dict[str, str] = field(default_factory=lambda: {"serial": "X1"})


def look_once(presence: Presence, entry: DiskEntry) -> None:
    asyncio.run(presence.refresh([(DISK, entry)]))


def test_a_look_updates_the_books() -> None:
    entry = DiskEntry(name="data0")
    look_once(Presence(lambda _: Found()), entry)
    assert entry.is_present
    assert entry.identity == {"serial": "X1"}


def test_an_absent_disk_keeps_its_identity() -> None:
    entry = DiskEntry(name="data0", is_present=True, identity={"serial": "X1"})
    look_once(Presence(lambda _: Found(is_present=False, reason="not mounted", identity={})), entry)
    assert not entry.is_present
    assert entry.identity == {"serial": "X1"}


def test_a_look_that_fails_changes_nothing() -> None:
    def fail(_: DiskSettings) -> Found:
        raise OSError(19, "No such device")

    entry = DiskEntry(name="data0", is_present=True)
    look_once(Presence(fail), entry)
    assert entry.is_present


def test_what_a_device_says_of_itself_stops_nothing() -> None:
    def fail(_: DiskSettings) -> Found:
        raise IndexError("list index out of range")

    entry = DiskEntry(name="data0", is_present=True)
    look_once(Presence(fail), entry)
    assert entry.is_present


def test_a_host_without_a_thread_to_spare_is_looked_at_again_when_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    entry = DiskEntry(name="data0")
    presence = Presence(lambda _: Found())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        look_once(presence, entry)
    assert not entry.is_present
    look_once(presence, entry)
    assert entry.is_present


def test_a_look_that_hangs_changes_nothing_and_is_not_repeated_beside_itself() -> None:
    release = threading.Event()
    looks: list[str] = []

    def hang(disk: DiskSettings) -> Found:
        looks.append(disk.name)
        release.wait(30)
        return Found(is_present=False)

    entry = DiskEntry(name="data0", is_present=True)
    presence = Presence(hang, look_s=0.1)
    look_once(presence, entry)
    look_once(presence, entry)
    assert entry.is_present
    assert looks == ["data0"]
    release.set()

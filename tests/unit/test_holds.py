"""What holds starts back on the whole host: a blackout file and the pressure, looked at beside the loop."""

import asyncio
import threading
from pathlib import Path

import pytest
from test_pressure import psi

from iovigil.agent.config import AgentSettings, PressureSettings
from iovigil.agent.holds import Holds
from iovigil.agent.ledger import Ledger, Skip
from iovigil.agent.pauses import Pauses

BLACKOUT = "/run/iovigil.blackout"


def holds_on(root: Path, pressure: PressureSettings | None = None, look_s: float = 5.0) -> Holds:
    (root / "run").mkdir(exist_ok=True)
    settings = AgentSettings(blackout_file=BLACKOUT, pressure=pressure)
    return Holds(settings, Pauses(), root=str(root), look_s=look_s)


def look(holds: Holds) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await holds.look()

    asyncio.run(bounded())


def test_nothing_starts_while_the_file_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    holds = holds_on(tmp_path)
    look(holds)
    assert holds.refusal("d", "p", 0) is None
    (tmp_path / "run/iovigil.blackout").touch()
    look(holds)
    look(holds)
    assert holds.refusal("d", "p", 0) is Skip.BLACKOUT
    (tmp_path / "run/iovigil.blackout").unlink()
    look(holds)
    assert holds.refusal("d", "p", 0) is None
    assert [record.getMessage() for record in caplog.records] == [
        "blackout: nothing starts while /run/iovigil.blackout exists",
        "blackout is over: /run/iovigil.blackout is gone",
    ]


def test_a_link_to_nowhere_and_a_directory_are_there_too(tmp_path: Path) -> None:
    holds = holds_on(tmp_path)
    (tmp_path / "run/iovigil.blackout").symlink_to("nowhere")
    look(holds)
    assert holds.is_blackout
    (tmp_path / "run/iovigil.blackout").unlink()
    (tmp_path / "run/iovigil.blackout").mkdir()
    look(holds)
    assert holds.is_blackout


def test_a_file_that_cannot_be_looked_for_leaves_it_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    holds = holds_on(tmp_path)
    (tmp_path / "run/iovigil.blackout").touch()
    look(holds)
    (tmp_path / "run").rename(tmp_path / "old")
    (tmp_path / "run").symlink_to("run")
    look(holds)
    assert holds.is_blackout
    assert "agent.blackout_file /run/iovigil.blackout: Too many levels of symbolic links" in caplog.text


def test_a_look_that_hangs_leaves_it_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    holds = holds_on(tmp_path, look_s=0.1)
    (tmp_path / "run/iovigil.blackout").touch()
    look(holds)
    hung = threading.Event()
    monkeypatch.setattr("iovigil.agent.holds.os.lstat", lambda _path: hung.wait(10))
    look(holds)
    assert holds.is_blackout
    assert "no answer within 0.1 s" in caplog.text
    hung.set()


def test_a_reload_without_the_file_ends_the_blackout(tmp_path: Path) -> None:
    holds = holds_on(tmp_path)
    (tmp_path / "run/iovigil.blackout").touch()
    look(holds)
    holds.adopt(AgentSettings(blackout_file=""))
    look(holds)
    assert holds.refusal("d", "p", 0) is None


def test_pressure_makes_starts_wait_and_is_on_the_books(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    holds = holds_on(tmp_path, PressureSettings())
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/pressure/io").write_text(psi(90, 10))
    look(holds)
    assert holds.blocker() is Skip.PRESSURE
    assert "the host waits for I/O (some 90 %, full 10 % of 10 s): starts wait" in caplog.text
    ledger = Ledger()
    holds.mark(ledger, 0)
    assert (ledger.is_backing_off, ledger.is_blackout) == (True, False)
    (tmp_path / "proc/pressure/io").write_text(psi(10, 1))
    look(holds)
    assert holds.blocker() is None


def test_pressure_that_cannot_be_read_holds_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holds = holds_on(tmp_path, PressureSettings())
    look(holds)
    look(holds)
    assert holds.blocker() is None
    assert [record.getMessage() for record in caplog.records] == [
        f"agent.pressure: {tmp_path}/proc/pressure/io is not there: the kernel needs CONFIG_PSI, and psi=1; "
        "starts do not wait"
    ]

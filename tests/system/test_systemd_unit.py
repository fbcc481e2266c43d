"""The unit file, as systemd's own tools judge it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "iovigil.service"
WORST_EXPOSURE = 2.0  # of 10; node_exporter's unit in Debian has 9.2

pytestmark = pytest.mark.requires_systemd_analyze


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with an executable that exists here."""
    path = tmp_path / UNIT.name
    path.write_text(
        UNIT.read_text().replace("ExecStart=/usr/bin/iovigil", f"ExecStart={sys.executable} -m iovigil.agent.cli")
    )
    return path


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False)


def test_the_unit_is_clean(unit: Path) -> None:
    verdict = analyze("verify", "--man=no", str(unit))
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


def test_the_socket_unit_is_clean(unit: Path) -> None:
    socket = unit.with_name("iovigil.socket")
    socket.write_text(UNIT.with_name("iovigil.socket").read_text())
    verdict = analyze("verify", "--man=no", str(socket))
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


def test_the_unit_exposes_little(unit: Path) -> None:
    verdict = analyze("security", "--offline=true", f"--threshold={WORST_EXPOSURE * 10:.0f}", "--json=short", str(unit))
    assert verdict.returncode == 0, [row["name"] for row in json.loads(verdict.stdout) if not row["set"]]


def test_the_agent_ends_well_before_systemd_loses_patience() -> None:
    from iovigil.agent.cli.agent import LAST_RESORT_S
    from iovigil.agent.web.server import TICK_LIMIT_S

    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")
    assert float(settings["TimeoutStopSec"]) > LAST_RESORT_S
    assert float(settings["WatchdogSec"]) <= TICK_LIMIT_S

"""`iovigil mismatches`: what the history holds, for people and as JSON."""

import json
from pathlib import Path

import pytest
from histories import last, row

from iovigil.agent import cli, history


@pytest.fixture
def state(tmp_path: Path) -> str:
    rows = [row(0), row(1, dumps="/a/x.received"), row(0, "data1")]
    history.write(history.database(tmp_path), rows, [last()])
    return str(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["mismatches", *arguments]) == 0
    return capsys.readouterr().out


def test_each_is_a_line(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "--state-directory", state).splitlines()
    assert len(lines) == 3
    assert all("integrity: data corruption: " in line for line in lines)


def test_a_disk_or_the_last_ones_can_be_asked_for(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown(capsys, "--state-directory", state, "--disk", "data0").splitlines()) == 2
    assert len(shown(capsys, "--state-directory", state, "--last", "1").splitlines()) == 1


def test_json_has_all_that_is_known(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "--state-directory", state, "--json", "--disk", "data0"))
    assert [each["offset"] for each in found] == [0, 4096]
    assert found[1]["dumps"] == ["/a/x.received"]
    assert found[0]["first_byte"] is None


def test_none_is_said_so_and_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--state-directory", str(tmp_path), "--json") == "[]\n"
    assert cli.main(["mismatches", "--state-directory", str(tmp_path), "--disk", "x"]) == 0
    assert capsys.readouterr().err == "no mismatches of disk x are known\n"
    assert list(tmp_path.iterdir()) == []


def test_the_state_directory_is_the_configurations(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "agent.yml"
    config.write_text(
        f"agent: {{state_directory: {state}}}\n"
        "disks: [{name: data0, device: /dev/null0}]\n"
        "probes: {reads: {every: 1m, job: {rw: read, runtime: 1s}}}\n"
    )
    assert len(shown(capsys, "--config", str(config)).splitlines()) == 3


def test_a_history_that_cannot_be_read_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history.database(tmp_path).write_bytes(b"no database " * 100)
    assert cli.main(["mismatches", "--state-directory", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"history {tmp_path}/history.db: file is not a database\n"


def test_a_number_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["mismatches", "--last", "0"])
    assert "is not a number of mismatches: 1 or more" in capsys.readouterr().err

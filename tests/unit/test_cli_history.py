"""`iovigil history`: the runs that are remembered, for people and as JSON."""

import json
from pathlib import Path

import pytest
from histories import record

from iovigil.agent import cli, history, run_table
from iovigil.agent.history import Runs


@pytest.fixture
def state(tmp_path: Path) -> str:
    records = [
        record(1, latency_s={"read": {"0.5": 0.0001, "0.99": 0.0025, "0.999": 0.5, "max": 1.5}}, ios={"read": 500}),
        record(
            2,
            failure="io_error",
            message="read at 4096: Input/output error",
            messages=("error: EIO", "warning: slow"),
            exit_status=1,
            ios={"read": 3},
            errors={"read": 1},
            errnos={"EIO": 1},
        ),
        record(3, disk="data1", failure="crash", message="the child was killed by SIGSEGV", signal=11),
        record(4, disk="data1", mismatches={"stale": 2}, verified_bytes=4096),
    ]
    runs = Runs("agent", [run_table.numbered(number, each) for number, each in enumerate(records, 1)])
    history.write(history.database(tmp_path), [], [], runs)
    return str(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["history", *arguments]) == 0
    return capsys.readouterr().out


def test_each_run_is_a_line_the_last_one_last(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "--state-directory", state).splitlines()
    assert [int(line.split()[0]) for line in lines] == [1, 2, 3, 4]
    assert lines[0].endswith("5.0 s  latency on data0: ok; read 500 I/Os, p99 2.50 ms")
    assert lines[1].endswith("latency on data0: io_error: read at 4096: Input/output error")


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--disk", "data1"], [3, 4]),
        (["--failed"], [2, 3]),
        (["--failed", "--disk", "data0", "--probe", "latency"], [2]),
        (["--last", "1"], [4]),
        (["--probe", "other"], []),
    ],
)
def test_some_of_them_can_be_asked_for(
    state: str, arguments: list[str], ids: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(shown(capsys, "--state-directory", state, "--json", *arguments))
    assert [each["id"] for each in found] == ids


def test_one_is_shown_whole(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--state-directory", state, "show", "2")
    for part in (
        "run        2: data0/latency/",
        "outcome    io_error: read at 4096: Input/output error",
        "exit       status 1",
        "options    --rw=randread --bs=4k",
        "read       3 I/Os, 0 bytes, 1 errors",
        "errors     1 EIO",
        "said       warning: slow",
    ):
        assert part in text
    assert "latency: 0.5 100 us, 0.99 2.50 ms, 0.999 500.00 ms, max 1.50 s" in shown(
        capsys, "--state-directory", state, "show", "1"
    )
    assert "exit       signal 11" in shown(capsys, "--state-directory", state, "show", "3")
    assert "mismatches 2 stale" in shown(capsys, "--state-directory", state, "show", "4")
    assert json.loads(shown(capsys, "--state-directory", state, "--json", "show", "2"))["errnos"] == {"EIO": 1}


def test_a_run_that_is_not_there_is_said(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history", "--state-directory", state, "show", "99"]) == 1
    assert "run 99 is not known" in capsys.readouterr().err
    assert cli.main(["history", "--state-directory", state, "show"]) == 2
    assert "give the ID of a run" in capsys.readouterr().err


def test_none_is_said_so_and_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--state-directory", str(tmp_path), "--json") == "[]\n"
    assert cli.main(["history", "--state-directory", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "no such runs are known\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [["--last", "0"], ["--last", "x"], ["show", "-1"], ["show", "1e3"], ["hide", "1"]])
def test_what_is_no_number_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["history", *wrong])
    assert "usage: iovigil history" in capsys.readouterr().err


def test_a_damaged_history_is_told_and_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = history.database(tmp_path)
    path.write_bytes(b"no database at all " * 100)
    assert cli.main(["history", "--state-directory", str(tmp_path)]) == 1
    assert "not a database" in capsys.readouterr().err
    assert path.read_bytes() == b"no database at all " * 100

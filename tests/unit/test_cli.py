"""The `iovigil` command: finds its subcommands, and never shows a traceback unasked."""

import argparse
import importlib
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import iovigil
from iovigil.agent import cli
from iovigil.agent.config import ConfigError, Problem


def module_that(main: Any) -> ModuleType:
    module = ModuleType("subcommand")
    module.add_arguments = lambda parser: parser.add_argument("--flag")  # type: ignore[attr-defined]
    module.main = main  # type: ignore[attr-defined]
    return module


@pytest.fixture
def subcommand(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a function what `iovigil agent` does."""

    def put(main: Any) -> None:
        monkeypatch.setattr(importlib, "import_module", lambda _name: module_that(main))

    return put


def raising(error: BaseException) -> Any:
    def main(_args: argparse.Namespace) -> int:
        raise error

    return main


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"iovigil {iovigil.__version__}\n"


def test_help_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


def test_an_unknown_subcommand_is_refused_with_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["walk"])
    assert end.value.code == 2
    assert "check-config" in capsys.readouterr().err


def test_a_subcommand_gets_its_arguments_and_gives_the_status(subcommand: Any) -> None:
    subcommand(lambda args: 7 if args.flag == "x" else 8)
    assert cli.main(["agent", "--flag", "x"]) == 7


def test_an_interrupt_ends_with_130(subcommand: Any) -> None:
    subcommand(raising(KeyboardInterrupt()))
    assert cli.main(["agent"]) == 130


def test_a_refused_configuration_is_printed_as_it_is(subcommand: Any, capsys: pytest.CaptureFixture[str]) -> None:
    subcommand(raising(ConfigError([Problem("a.yml", 3, "disks", "is missing")])))
    assert cli.main(["agent"]) == 1
    assert capsys.readouterr().err == "a.yml:3: disks: is missing\n"


def test_an_internal_error_is_one_line(
    subcommand: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IOVIGIL_DEBUG", raising=False)
    subcommand(raising(KeyError("x")))
    assert cli.main(["agent"]) == 70
    shown = capsys.readouterr().err
    assert shown == "iovigil: internal error: KeyError: 'x'; please report\n"
    monkeypatch.setenv("IOVIGIL_DEBUG", "1")
    assert cli.main(["agent"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from iovigil.agent.cli import main; sys.exit(main(['--help']))"
    try:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=20, check=False
        )
    finally:
        os.close(writer)
    assert ended.stderr == ""
    assert ended.returncode == 141


def test_the_agents_libraries_are_not_loaded_for_a_version() -> None:
    code = "import sys; import iovigil.agent.cli as c; c.parser_for(None); print('aiohttp' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert shown.stdout == "False\n"

"""Engines that are none of ours are found where the order says, and a bad one is told in one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iovigil.engines.io import psync
from iovigil.engines.io.base import IoEngine
from iovigil.engines.loading import BadEngine, load_engine
from iovigil.engines.plugin import PythonEngine

if TYPE_CHECKING:
    from iovigil.engines.loading import EngineLocation

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "engines"
GOOD = "from iovigil.engines.plugin import PythonEngine\nclass Engine(PythonEngine): pass\n"


@pytest.fixture(autouse=True)
def _same_modules_as_before(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("iovigil"):
            del sys.modules[name]


def at(file: Path) -> EngineLocation:
    return {"module": file.name.partition(".")[0], "file": str(file), "path": [str(file.parent)]}


def refusal(file: Path) -> str:
    with pytest.raises(BadEngine) as refused:
        load_engine("mine", at(file))
    text = str(refused.value)
    assert text.startswith("ioengine=mine: ")
    assert "\n" not in text
    return text.removeprefix("ioengine=mine: ")


@pytest.mark.parametrize("name", ["null", "psync", "sync"])
def test_ours_are_found_by_name(name: str) -> None:
    assert issubclass(load_engine(name), IoEngine)


@pytest.mark.parametrize("name", ["no_such_engine", "base", "../psync", "io.psync", "", "__init__"])
def test_what_is_no_engine_of_ours_is_refused(name: str) -> None:
    with pytest.raises(BadEngine, match="there is no such engine"):
        load_engine(name)


@pytest.mark.parametrize("name", ["python_engine.py", "threaded_engine.py"])
def test_the_examples_can_be_loaded(name: str) -> None:
    assert issubclass(load_engine("mine", at(EXAMPLES / name)), PythonEngine)


def test_a_plug_in_finds_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_the_engine.py").write_text("depth = 7\n")
    (tmp_path / "mine.py").write_text(f"import beside_the_engine\n{GOOD}")
    assert load_engine("mine", at(tmp_path / "mine.py")).__name__ == "Engine"


def test_a_plug_in_takes_no_module_of_pythons_own_away(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('the wrong one')\n")
    (tmp_path / "mine.py").write_text(f"import colorsys\n{GOOD}")
    assert load_engine("mine", at(tmp_path / "mine.py"))


def test_an_engine_of_a_package_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").touch()
    (tmp_path / "a_package" / "an_engine.py").write_text(GOOD)
    location: EngineLocation = {"module": "a_package.an_engine", "file": "", "path": [str(tmp_path)]}
    assert load_engine("mine", location).__module__ == "a_package.an_engine"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its module has no class Engine"),
        ("Engine = 3", "its Engine is not derived from IoEngine, nor from plugin.PythonEngine"),
        ("class Engine: pass", "its Engine is not derived from IoEngine, nor from plugin.PythonEngine"),
        ("\n\nclass Engine(", "line 3: '(' was never closed"),
        ("import no_such_module", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "line 1: SystemExit: 3"),
        ("raise KeyboardInterrupt", "line 1: KeyboardInterrupt"),
        ("raise ValueError('one\\ntwo')", "line 1: ValueError: one"),
    ],
)
def test_a_bad_plug_in_is_told_in_a_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    assert refusal(tmp_path / "mine.py") == reason


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path / "mine.py") == "there is no such file"


def test_a_file_that_is_no_module_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(GOOD)
    assert refusal(tmp_path / "mine.txt").startswith("is neither Python (.py) nor compiled for this Python (.cpython-")


def test_a_damaged_compiled_module_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.so").write_bytes(b"\x7fELF and no more")
    assert "ImportError" in refusal(tmp_path / "mine.so")


def test_a_compiled_module_of_another_layout_is_told(tmp_path: Path) -> None:
    ours = Path(psync.__file__)
    path = tmp_path / ours.name
    path.write_bytes(re.sub(rb"(iovigil-layout:)\w{8}", rb"\g<1>fedcba98", ours.read_bytes()))
    assert refusal(path) == "it was compiled for another version of iovigil: build it again with this one"


def test_a_compiled_module_of_our_layout_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / Path(psync.__file__).name
    path.write_bytes(Path(psync.__file__).read_bytes())
    assert issubclass(load_engine("mine", at(path)), IoEngine)

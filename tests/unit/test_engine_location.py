"""Where an engine is that is none of ours, as the child will be told."""

import sys
from pathlib import Path

import pytest

from iovigil.agent.engine_location import engine_location
from iovigil.engines.options import OptionError
from iovigil.engines.spelling import engine_names, plugin_names


def distribution(site: Path, name: str, points: str) -> None:
    metadata = site / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[iovigil.engines]\n{points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", engine_names())
def test_ours_need_no_telling(name: str) -> None:
    assert engine_location(name) is None


def test_a_file_is_taken_by_its_path() -> None:
    assert engine_location("external:/opt/it/mine.cpython-311.so") == {
        "module": "mine",
        "file": "/opt/it/mine.cpython-311.so",
        "path": ["/opt/it"],
    }


@pytest.mark.parametrize(
    ("ioengine", "reason"),
    [
        ("external:mine.py", "the path must be absolute"),
        ("external:", "the path must be absolute"),
        ("external:/opt/my-engine.py", "my-engine.py cannot be the name of a module"),
        ("external:/", " cannot be the name of a module"),
        ("theirs", "'theirs' is not one of "),
    ],
)
def test_what_leads_nowhere_is_refused(ioengine: str, reason: str) -> None:
    with pytest.raises(OptionError, match=r"^ioengine: ") as refused:
        engine_location(ioengine)
    assert reason in str(refused.value)


def test_a_package_is_found_and_not_imported(site: Path) -> None:
    distribution(site, "a-package", "theirs = a_package.deep.engine")
    (site / "a_package").mkdir()
    (site / "a_package" / "__init__.py").write_text("raise RuntimeError('the agent must not run this')\n")
    assert engine_location("theirs") == {"module": "a_package.deep.engine", "file": "", "path": [str(site)]}
    assert "theirs" in plugin_names()
    assert "a_package" not in sys.modules


def test_a_single_module_is_found(site: Path) -> None:
    distribution(site, "a-module", "theirs = one_module_engine")
    (site / "one_module_engine.py").touch()
    assert engine_location("theirs") == {"module": "one_module_engine", "file": "", "path": [str(site)]}


def test_what_is_not_installed_after_all_is_told(site: Path) -> None:
    distribution(site, "a-package", "theirs = nowhere_to_be_found.engine")
    with pytest.raises(OptionError, match=r"nowhere_to_be_found\.engine, which is not installed"):
        engine_location("theirs")


def test_two_packages_with_one_name_are_told(site: Path) -> None:
    distribution(site, "one", "theirs = one.engine")
    distribution(site, "other", "theirs = other.engine")
    with pytest.raises(OptionError, match=r"comes from several packages: one\.engine, other\.engine"):
        engine_location("theirs")


def test_no_package_takes_the_name_of_one_of_ours(site: Path) -> None:
    distribution(site, "a-package", "psync = a_package.engine")
    assert engine_location("psync") is None

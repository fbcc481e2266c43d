"""Engines from elsewhere, in a real child: a file in Python, one compiled against us, an installed package's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import msgspec
import pytest
from engine_runs import KIB, MIB, READ, WRITE, Outcome, data_file, job_options, run_job

import iovigil
from iovigil.engines.stats import Counter

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "engines"
BUILD_DEADLINE_S = 120
SIZE = MIB


def run(path: Path, ioengine: str, **written: object) -> Outcome:
    options = job_options(**{"bs": 4 * KIB, "size": SIZE, **written})
    return run_job(path, options=msgspec.structs.replace(options, ioengine=ioengine))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled example, built as its author would."""
    directory = tmp_path_factory.mktemp("compiled")
    for name in ("compiled_engine.pyx", "setup.py"):
        shutil.copy(EXAMPLES / name, directory)
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(Path(iovigil.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / f"compiled_engine{EXTENSION_SUFFIXES[0]}"


def require_good(done: Outcome) -> None:
    assert (done.status, done.messages) == (0, ()), done.show()
    assert done.bytes(WRITE) == done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE


@pytest.mark.parametrize("example", ["python_engine.py", "threaded_engine.py"])
def test_an_example_in_python_does_a_verified_job(tmp_path: Path, example: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    require_good(run(path, f"external:{EXAMPLES / example}", rw="randwrite", verify="crc32c", iodepth=4))


def test_the_compiled_example_does_a_verified_job(tmp_path: Path, compiled: Path) -> None:
    path = data_file(tmp_path / "data", SIZE)
    require_good(run(path, f"external:{compiled}", rw="randwrite", verify="crc32c", fsync=16))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with an entry point, in a directory that is on our path and not on a child's."""
    site = tmp_path / "site"
    package, metadata = site / "their_package", site / "their_package-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(EXAMPLES / "python_engine.py", package / "engine.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[iovigil.engines]\ntheirs = their_package.engine\n")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("their_package", None)


@pytest.mark.usefixtures("installed")
def test_the_engine_of_an_installed_package_does_a_verified_job(tmp_path: Path) -> None:
    path = data_file(tmp_path / "data", SIZE)
    require_good(run(path, "theirs", rw="randwrite", verify="crc32c"))
    assert "their_package" not in sys.modules  # the agent itself runs nothing of it


def test_a_bad_engine_is_one_line_and_no_io(tmp_path: Path) -> None:
    path = data_file(tmp_path / "data", SIZE)
    (tmp_path / "mine.py").write_text("class Engine: pass\n")
    done = run(path, f"external:{tmp_path / 'mine.py'}", rw="read")
    assert done.status == 2
    assert done.messages == (f"error: {done.page.text}",)
    assert done.page.text.endswith("mine.py: its Engine is not derived from IoEngine, nor from plugin.PythonEngine")


def test_what_an_engine_does_wrong_while_it_runs_is_told_at_the_end(tmp_path: Path) -> None:
    path = data_file(tmp_path / "data", SIZE)
    (tmp_path / "mine.py").write_text(
        "from iovigil.engines.plugin import PythonEngine\n"
        "class Engine(PythonEngine):\n"
        "    def submit(self, request):\n"
        "        return 'done'\n"
    )
    done = run(path, f"external:{tmp_path / 'mine.py'}", rw="read")
    assert done.status == 1
    warning = "warning: plug-in engine: submit answered 'done' for an I/O of 4096 bytes; counted as EIO"
    assert done.messages[0] == warning

"""Runs the same jobs through iovigil and through fio, and keeps what either says of them."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from raw_logs import Line, read_log

import iovigil

COMMANDS: Final = {
    "ours": (sys.executable, "-c", "import sys; from iovigil.agent.cli import main; sys.exit(main())", "run"),
    "fio": ("fio",),
}
PACKAGE_ROOT: Final = Path(iovigil.__file__).parent.parent
DEADLINE_S: Final = 60
CORRUPT: Final = errno.EILSEQ
"""The `error` of a job whose data was wrong."""

Job = dict[str, Any]
Run = Callable[..., "Ran"]


@dataclass(frozen=True)
class Ran:
    """A run that is over."""

    status: int
    stdout: str
    stderr: str
    directory: Path

    @property
    def document(self) -> dict[str, Any]:
        """The JSON, cut out of the output as readers of fio's do: its braces stand alone on their lines."""
        lines = self.stdout.splitlines()
        document: dict[str, Any] = json.loads("\n".join(lines[lines.index("{") : lines.index("}") + 1]))
        return document

    @property
    def jobs(self) -> list[Job]:
        jobs: list[Job] = self.document["jobs"]
        return jobs

    @property
    def job(self) -> Job:
        (job,) = self.jobs
        return job

    def log(self, name: str, **form: bool) -> list[Line]:
        return read_log(self.directory / name, **form)

    def offsets(self, name: str = "log_bw.1.log") -> list[int]:
        return [line.offset for line in self.log(name, offset=True)]


@dataclass(frozen=True)
class Program:
    """iovigil or fio, at work in a directory of its own."""

    name: str
    directory: Path

    @property
    def is_ours(self) -> bool:
        return self.name == "ours"

    def run(self, *words: str | Path, job: str = "", form: str = "json", status: int | None = 0) -> Ran:
        """Run a job file of this text, or a command line; a status of None may be any."""
        if job:
            (self.directory / "job.fio").write_text(job)
        done = subprocess.run(
            [*COMMANDS[self.name], f"--output-format={form}", *map(str, words), *(["job.fio"] if job else [])],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
        )
        ran = Ran(done.returncode, done.stdout, done.stderr, self.directory)
        assert status is None or ran.status == status, f"{ran.status}: {ran.stderr}\n{ran.stdout[-2000:]}"
        return ran

    def refuses(self, *words: str | Path, job: str = "") -> str:
        """What it says of a job that has to fail: something."""
        ran = self.run(*words, job=job, status=None)
        assert ran.status != 0
        assert ran.stderr
        return ran.stderr


@pytest.fixture(params=["ours", pytest.param("fio", marks=pytest.mark.requires_fio)])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    """Either, in an empty directory: what holds for fio has to hold for us."""
    return program_in(tmp_path, request.param)


@pytest.fixture
def ours(tmp_path: Path) -> Program:
    """iovigil alone, for what fio 3.33 does not do."""
    return program_in(tmp_path, "ours")


@pytest.fixture
def both(tmp_path: Path) -> tuple[Program, Program]:
    """iovigil and fio, to compare what they say; a test that asks for them `requires_fio`."""
    return program_in(tmp_path, "ours"), program_in(tmp_path, "fio")


def program_in(tmp_path: Path, name: str) -> Program:
    directory = tmp_path / name
    directory.mkdir()
    return Program(name, directory)


def moved(job: Job) -> dict[str, int]:
    """What a job says it did that is no matter of time."""
    counted = {f"{name}_{what}": job[name][what] for name in ("read", "write", "trim") for what in COUNTS}
    return {**counted, "error": job["error"]}


COUNTS: Final[Sequence[str]] = ("io_kbytes", "total_ios")

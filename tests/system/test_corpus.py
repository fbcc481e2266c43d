"""The corpus: job files that run under fio and under ours, and leave the same accounts.

Each file of tests/corpus says in its first line what it is about. What differs, and why, stands in DIFFERENCES; what
is not deterministic is compared within bounds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

CORPUS: Final = sorted((Path(__file__).parent.parent / "corpus").glob("*.fio"))
DIRECTIONS: Final = ("read", "write", "trim")
DEADLINE_S: Final = 60

# {file: {figure: (lowest, highest share of fio's figure)}}; what is not deterministic.
BOUNDS: Final[dict[str, tuple[float, float]]] = {}

# {file: why our accounts differ from those of fio 3.33}
DIFFERENCES: Final[dict[str, str]] = {}


def outcome(command: list[str], job_file: Path, cwd: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [*command, "--output-format=json", "--output=result.json", str(job_file)],
        cwd=cwd,
        env={**os.environ, "CORPUS_SIZE": "4m"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    text = (cwd / "result.json").read_text() if (cwd / "result.json").exists() else ""
    assert text.strip(), f"{command[0]}: no result; {done.stdout}{done.stderr}"
    # fio writes its messages into the same file.
    document: dict[str, Any] = json.loads(text[text.index("{\n") if "{\n" in text else 0 :])
    return done.returncode, document


def accounts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the two must agree on, job by job."""
    return [
        {
            "jobname": job["jobname"],
            "groupid": job["groupid"],
            "error": job["error"],
            **{
                f"{name}.{figure}": job[name][figure]
                for name in (["mixed"] if "mixed" in job else DIRECTIONS)
                for figure in ("io_kbytes", "total_ios")
            },
        }
        for job in document["jobs"]
    ]


@pytest.mark.requires_fio
@pytest.mark.parametrize("job_file", CORPUS, ids=lambda path: path.stem)
def test_a_job_file_leaves_the_same_accounts(job_file: Path, tmp_path: Path) -> None:
    results = {}
    for name, command in (
        ("fio", ["fio"]),
        ("ours", [sys.executable, "-m", "iovigil.agent.cli", "run", "--overwrite=1"]),
    ):
        directory = tmp_path / name
        directory.mkdir()
        results[name] = outcome(command, job_file, directory)
    (status, document), (our_status, our_document) = results["fio"], results["ours"]
    theirs, ours = accounts(document), accounts(our_document)
    assert (our_status != 0) == (status != 0)
    if job_file.stem in DIFFERENCES:
        assert ours != theirs, f"{job_file.stem} no longer differs: {DIFFERENCES[job_file.stem]}"
        return
    assert len(ours) == len(theirs)
    lowest, highest = BOUNDS.get(job_file.stem, (1.0, 1.0))
    for our_job, their_job in zip(ours, theirs, strict=True):
        for figure, value in their_job.items():
            if isinstance(value, str) or (lowest, highest) == (1.0, 1.0):
                assert our_job[figure] == value, (figure, our_job, their_job)
            else:
                assert lowest * value <= our_job[figure] <= highest * value, (figure, our_job, their_job)


def test_every_option_is_in_the_corpus() -> None:
    from iovigil.engines.options import SPECS
    from iovigil.engines.spelling import canonical

    used = set()
    for job_file in CORPUS:
        for line in job_file.read_text().splitlines():
            word = line.partition("=")[0].strip()
            if word and word[0] not in ";#[" and not word.startswith("include "):
                used.add(canonical(word))
    assert set(SPECS) - used == set()

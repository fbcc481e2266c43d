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

from iovigil.engines.options import SPECS
from iovigil.engines.spelling import canonical

CORPUS: Final = sorted((Path(__file__).parent.parent / "corpus").glob("*.fio"))
DIRECTIONS: Final = ("read", "write", "trim")
DEADLINE_S: Final = 60

# What fio 3.33 does not know, and what needs other things than a file.
OURS_ALONE: Final = tuple(job_file for job_file in CORPUS if job_file.stem.startswith("ours-"))
WITH_FIO: Final = tuple(job_file for job_file in CORPUS if job_file not in OURS_ALONE)
NOT_IN_THE_CORPUS: Final = {
    "cgroup": "fio knows version 1 alone: test_engine_surroundings.py, test_cgroup_systemd.py",
    "cgroup_weight": "the same",
    "cgroup_nodelete": "the same",
    "gid": "needs another user's place: test_engine_surroundings.py",
    "uid": "the same",
    "hugepage_size": "needs huge pages: test_engine_memory.py",
    "ioscheduler": "needs a device: test_engine_surroundings.py",
    "name": "the section's own",
    "overwrite": "ours, and given on the command line here",
    "readfua": "needs a SCSI device: test_engine_sg.py",
    "verify_state_load": "needs a file that another run has left: test_acceptance_fio_verify_state.py",
    "writefua": "the same",
}

# {file: shares of fio's figures within which ours lie}; what is drawn or timed.
BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "005-randrw": (0.7, 1.4),
    "006-rw": (0.7, 1.4),
    "007-bs-per-direction": (0.7, 1.4),
    "008-bsrange": (0.9, 1.1),
    "010-bssplit": (0.9, 1.1),
    "011-bssplit-directions": (0.5, 2.0),
    "053-time_based": (0.97, 1.03),
    "054-ramp_time": (0.95, 1.05),
    "092-flow": (0.8, 1.25),
    "093-steadystate": (0.7, 1.4),
    "102-rate_min": (0.7, 1.4),
    "119-exitall_on_error": (0.7, 1.4),
    "138-rate_min": (0.97, 1.03),
    "142-steadystate-slope": (0.6, 1.7),
}

# {file: why our accounts are not those of fio 3.33}
DIFFERENCES: Final[dict[str, str]] = {
    "074-trim": "fio trims block devices alone; ours punches holes into files too",
    "091-latency_target": "both take what the null engine gives, and ours gives more",
    "099-cpuio": "burning CPU time is no I/O; fio counts its chunks",
    "101-rw-read-verify-other-bs": "fio stops at the first bad block; ours checks them all",
    "103-allow_file_create": "fio exits with 1 and puts no error into its JSON; ours puts it there",
    "105-bs_is_seq_rand": "fio's map has one place for each sequential length, and ends after 64 I/Os; ours covers all",
    "108-cpuchunks": "as 099",
    "109-exit_on_io_done": "as 099",
    "117-exitall": "the job that is ended has made no I/O in fio, or one in ours, by then",
    "118-exit_what": "as 117",
    "127-net": "fio loses what it received short from its count; ours has all 4 MiB",
    "129-latency_run": "as 091",
    "139-replay-shaped": "fio 3.33 ignores replay_skip, and the mix is drawn",
    "143-trim-backlog": "fio 3.33 dies of an assertion of its own",
    "145-verify_only": "fio counts writes that it has not made",
    "148-flow_sleep": "fio sleeps more than is asked for, and falls below the rate",
    "149-read-verify-loops": "fio 3.33 checks one loop of two",
    "150-null-1t-bw-log": "as 091",
    "156-verify-another-checksum": "as 101",
}


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
        if "jobname" in job  # of a job with stats=0 fio shows an empty object
    ]


def run_ours(job_file: Path, directory: Path) -> tuple[int, dict[str, Any]]:
    program = "from iovigil.agent.cli import main; import sys; sys.exit(main())"
    return outcome([sys.executable, "-c", program, "run", "--overwrite=1"], job_file, directory)


@pytest.mark.slow
@pytest.mark.requires_fio
@pytest.mark.parametrize("job_file", WITH_FIO, ids=lambda path: path.stem)
def test_a_job_file_leaves_the_same_accounts(job_file: Path, tmp_path: Path) -> None:
    for name in ("fio", "ours"):
        (tmp_path / name).mkdir()
    our_status, our_document = run_ours(job_file, tmp_path / "ours")
    ours = accounts(our_document)
    if job_file.stem == "143-trim-backlog":
        assert our_status == 0, our_document
        return
    status, document = outcome(["fio"], job_file, tmp_path / "fio")
    theirs = accounts(document)
    assert (our_status != 0) == (status != 0) or job_file.stem in DIFFERENCES
    assert [job["jobname"] for job in ours] == [job["jobname"] for job in theirs]
    if job_file.stem in DIFFERENCES:
        return
    lowest, highest = BOUNDS.get(job_file.stem, (1.0, 1.0))
    for our_job, their_job in zip(ours, theirs, strict=True):
        for figure, value in their_job.items():
            if isinstance(value, str) or (lowest, highest) == (1.0, 1.0):
                assert our_job[figure] == value, (figure, our_job, their_job)
            else:
                assert lowest * value <= our_job[figure] <= highest * value, (figure, our_job, their_job)


@pytest.mark.parametrize("job_file", OURS_ALONE, ids=lambda path: path.stem)
def test_a_job_file_that_fio_does_not_know_yet_runs(job_file: Path, tmp_path: Path) -> None:
    status, document = run_ours(job_file, tmp_path)
    assert status == 0, document
    assert all(job["read"]["total_ios"] + job["write"]["total_ios"] for job in document["jobs"])


def test_every_option_is_in_the_corpus() -> None:
    used = set()
    for job_file in CORPUS:
        for line in job_file.read_text().splitlines():
            word = line.partition("=")[0].strip()
            if word and word[0] not in ";#[" and not word.startswith("include "):
                used.add(canonical(word))
    assert set(SPECS) - used == set(NOT_IN_THE_CORPUS)


def test_what_is_explained_is_there() -> None:
    names = {job_file.stem for job_file in CORPUS}
    assert (BOUNDS.keys() | DIFFERENCES.keys()) - names == set()
    assert BOUNDS.keys() & DIFFERENCES.keys() == set()

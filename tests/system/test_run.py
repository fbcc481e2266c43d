"""`iovigil run` from its command line to its exit status, with real children."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until

COMMAND = [sys.executable, "-c", "from iovigil.agent.cli import main; raise SystemExit(main())", "run"]
DEADLINE_S = 30
BLOCK = 4096
VERIFIED = ("--verify=crc32c", "--verify_state_save=0")  # which would be kept where the tests run


def iovigil_run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def json_of(*words: str | Path, status: int = 0) -> dict[str, Any]:
    """The only job of a run's document, cut out of the output as readers of fio's do."""
    run = iovigil_run("--output-format=json", *words)
    assert run.returncode == status, run.stderr
    return job_in(run.stdout)


def job_in(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    last = len(lines) - 1 - lines[::-1].index("}")
    document = json.loads("\n".join(lines[lines.index("{") : last + 1]))
    assert len(document["jobs"]) == 1
    job: dict[str, Any] = document["jobs"][0]
    return job


@contextlib.contextmanager
def running(*words: str | Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run that has a child which does I/O: the process and the child's pid."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process, wait_until(lambda: working_child(process.pid), "the run has a child that does I/O")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=DEADLINE_S)


def working_child(pid: int) -> int:
    """The child of a process once it is the engine and has its signal handlers, 0 before."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        # Before that SIGTERM simply ends it, as it should, and there is nothing to report.
        is_engine = b"engines/child.py" in Path(f"/proc/{child}/cmdline").read_bytes()
        if is_engine and int(status_of(int(child), "SigCgt"), 16) & 1 << (signal.SIGTERM - 1):
            return int(child)
    return 0


def status_of(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def test_a_null_job_moves_exactly_its_size() -> None:
    job = json_of("--name=n", "--ioengine=null", "--size=1m", "--bs=4k", "--rw=randrw")
    assert job["read"]["io_bytes"] + job["write"]["io_bytes"] == 1 << 20
    assert job["error"] == 0
    assert job["job options"] == {"name": "n", "ioengine": "null", "size": "1m", "bs": "4k", "rw": "randrw"}


def test_a_random_read_of_a_new_file_reads_all_of_it(tmp_path: Path) -> None:
    job = json_of("--name=r", f"--filename={tmp_path}/data", "--size=1m", "--rw=randread")
    assert job["read"]["total_ios"] == (1 << 20) // BLOCK
    assert job["read"]["clat_ns"]["N"] == job["read"]["lat_ns"]["N"] == job["read"]["total_ios"]
    assert job["write"]["total_ios"] == 0
    assert (tmp_path / "data").stat().st_size == 1 << 20


def test_slat_and_clat_add_up_to_lat(tmp_path: Path) -> None:
    read = json_of("--name=r", f"--filename={tmp_path}/data", "--size=1m", "--rw=randread")["read"]
    parts_ns = read["slat_ns"]["mean"] + read["clat_ns"]["mean"]
    assert read["lat_ns"]["mean"] == pytest.approx(parts_ns, abs=1)


def test_a_timed_job_takes_its_time_and_reports_it() -> None:
    job = json_of("--name=n", "--ioengine=null", "--size=1m", "--rw=read", "--time_based", "--runtime=1")
    assert 1000 <= job["read"]["runtime"] < 1500
    assert 1000 <= job["job_runtime"] < 1500
    assert job["elapsed"] <= 3


def test_the_summary_is_on_stdout_and_nothing_on_stderr(tmp_path: Path) -> None:
    run = iovigil_run("--name=r", f"--filename={tmp_path}/data", "--size=1m", "--rw=randread")
    assert run.returncode == 0
    assert run.stderr == ""
    assert f"r: randread, 4 KiB, psync on {tmp_path}/data" in run.stdout.replace("\n  ", " ")
    assert "256 I/Os" in run.stdout
    assert "FAILED" not in run.stdout


def test_results_go_to_the_output_file_alone(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    run = iovigil_run("--name=n", "--ioengine=null", "--size=1m", "--output-format=json", f"--output={output}")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert job_in(output.read_text())["read"]["io_bytes"] == 1 << 20


def test_what_a_verify_job_wrote_is_read_back(tmp_path: Path) -> None:
    job = json_of("--name=w", f"--filename={tmp_path}/data", "--size=1m", "--rw=randwrite", *VERIFIED)
    assert job["write"]["io_bytes"] == job["read"]["io_bytes"] == 1 << 20
    assert job["iovigil"]["verified_bytes"] == 1 << 20
    assert not any(job["iovigil"]["mismatches"].values())


def test_a_flipped_byte_fails_the_run_with_its_offset(tmp_path: Path) -> None:
    data = tmp_path / "data"
    json_of("--name=w", f"--filename={data}", "--size=1m", "--rw=write", *VERIFIED)
    wrong = 5 * BLOCK + 1234
    with data.open("r+b") as file:
        file.seek(wrong)
        byte = file.read(1)[0]
        file.seek(wrong)
        file.write(bytes([byte ^ 0x10]))
    read = ["--name=r", f"--filename={data}", "--size=1m", "--rw=read", "--verify=crc32c"]
    job = json_of(*read, status=1)
    assert job["error"] == 84
    assert job["iovigil"]["mismatches"]["checksum"] == 1
    assert job["iovigil"]["failure"] == "verify"
    assert job["iovigil"]["first_mismatches"][0]["offset"] == 5 * BLOCK
    text = " ".join(iovigil_run(*read).stdout.split())
    assert f"block with a wrong checksum at offset {5 * BLOCK}" in text
    assert f"first wrong byte {wrong} (byte 1234 of the block)" in text
    assert "FAILED data corruption" in text
    assert iovigil_run(*read, "--continue_on_error=verify").returncode == 1


def test_a_file_of_somebody_else_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"precious" * 1024)
    run = iovigil_run("--name=w", f"--filename={theirs}", "--size=8k", "--rw=write")
    assert run.returncode == 1
    assert "overwrite=1" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    assert theirs.read_bytes() == b"precious" * 1024


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    run = iovigil_run("--name=r", f"--filename={tmp_path}/no/data", "--size=1m", "--output-format=json")
    assert run.returncode == 1
    assert f"{tmp_path}/no" in run.stderr
    assert job_in(run.stdout)["error"] > 0


def test_a_rate_below_its_minimum_fails_the_run(tmp_path: Path) -> None:
    words = ["--name=r", f"--filename={tmp_path}/data", "--size=1m", "--rw=randread", "--time_based", "--runtime=10"]
    job = json_of(*words, "--rate_iops=50", "--rate_iops_min=50", "--thinktime=200ms", status=1)
    assert job["iovigil"]["failure"] == "rate_min"
    assert job["job_runtime"] < 8000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_job_gracefully_with_status_128(number: signal.Signals) -> None:
    words = ["--name=n", "--ioengine=null", "--size=1m", "--time_based", "--runtime=60", "--output-format=json"]
    with running(*words) as (process, child):
        time.sleep(0.3)  # let it do something to report
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 128
        job = job_in(out)
        assert job["read"]["io_bytes"] > 0
        assert job["iovigil"]["is_complete"] is True
        assert not Path(f"/proc/{child}").exists()


def test_a_second_signal_kills_a_child_that_does_not_react() -> None:
    words = ["--name=n", "--ioengine=null", "--size=1m", "--time_based", "--runtime=60", "--output-format=json"]
    with running(*words) as (process, child):
        os.kill(child, signal.SIGSTOP)
        wait_until(lambda: status_of(child, "State") == "T", "the child stands still")
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None, process.communicate()
        sent_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
        assert time.monotonic() - sent_s < 1.5  # without the second signal it has two seconds
        assert process.returncode == 128
        assert job_in(out)["iovigil"]["failure"] == "crash"
        assert not Path(f"/proc/{child}").exists()


def test_progress_is_shown_on_a_terminal_and_never_mixed_into_results() -> None:
    ours, theirs = pty.openpty()
    try:
        words = ["--name=n", "--ioengine=null", "--size=1m", "--time_based", "--runtime=1", "--output-format=json"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        run = subprocess.run(
            [*COMMAND, *words], stdout=subprocess.PIPE, stderr=theirs, timeout=DEADLINE_S, check=True, env=environment
        )
        shown = os.read(ours, 1 << 20).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "running" in shown
    assert "IOPS" in shown
    assert "%" in shown
    assert job_in(run.stdout.decode())["error"] == 0


@pytest.mark.requires_fio
def test_a_real_run_has_every_key_that_fio_has(tmp_path: Path) -> None:
    words = ["--name=r", "--size=64k", "--bs=4k", "--rw=randread", "--ioengine=psync", "--output-format=json"]
    theirs = subprocess.run(
        ["fio", *words, f"--filename={tmp_path}/theirs"], capture_output=True, text=True, check=True, timeout=DEADLINE_S
    )
    assert key_paths(job_in(theirs.stdout)) <= key_paths(json_of(*words, f"--filename={tmp_path}/ours"))


def key_paths(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return set()
    return {found for key, below in value.items() for found in (f"{path}/{key}", *key_paths(below, f"{path}/{key}"))}

"""Many jobs of one `iovigil run`, with real children: their order, their ends, and what comes out."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from processes import wait_until
from test_run import COMMAND, DEADLINE_S, iovigil_run, working_child

import iovigil
from iovigil.agent.fio.command_line import JobSection
from iovigil.agent.ledger import Failure
from iovigil.agent.run import Patience, Tools
from iovigil.agent.session import session as sessions
from iovigil.agent.session.plan import plan
from iovigil.agent.session.session import Hook, Session
from iovigil.agent.shell_hooks import run_hook
from iovigil.agent.worker import LAUNCHER
from iovigil.engines.clock import Clock
from iovigil.engines.options import JobOptions
from iovigil.engines.spelling import engine_names
from iovigil.engines.stats import Counter

PACKAGE_ROOT = Path(iovigil.__file__).parent.parent

HALF_OF_THEM_HANG = """
import marshal, os, sys, time
order = marshal.loads(os.pread(int(sys.argv[1]), 1 << 20, 0))
if order["number"] == 1:
    time.sleep(60)
os.execv(sys.executable, [sys.executable, "-I", "-S", {launcher!r}, *sys.argv[1:]])
"""

NEVER_READY = """
import sys, time
sys.path.insert(0, {package!r})
from iovigil.engines.stats import RunState, StatsPage
StatsPage.attach(int(sys.argv[2])).state = RunState.SETTING_UP
time.sleep(60)
"""

NULL = ("--ioengine=null", "--size=1m", "--bs=4k")
ENDLESS = ("--ioengine=null", "--size=1m", "--time_based", "--runtime=60", "--thinktime=1ms")


def document_of(*words: str | Path, status: int = 0) -> dict[str, Any]:
    run = iovigil_run("--output-format=json", *words)
    assert run.returncode == status, run.stderr
    document: dict[str, Any] = json.loads(run.stdout)
    return document


def jobs_of(*words: str | Path, status: int = 0) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = document_of(*words, status=status)["jobs"]
    return jobs


def fio(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["fio", *map(str, words)],
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_clones_move_their_size_each(tmp_path: Path) -> None:
    jobs = jobs_of("--name=c", f"--directory={tmp_path}", "--size=256k", "--rw=randread", "--numjobs=3")
    assert [job["read"]["io_bytes"] for job in jobs] == [256 << 10] * 3
    assert [job["groupid"] for job in jobs] == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.0.0", "c.1.0", "c.2.0"]


def test_clones_that_share_a_file_do_not_refuse_each_other(tmp_path: Path) -> None:
    words = [f"--filename={tmp_path}/shared", "--size=64k", "--rw=write", "--numjobs=3", "--offset_increment=64k"]
    for serialize in (0, 1):
        jobs = jobs_of("--name=c", *words, f"--create_serialize={serialize}", "--unlink=1")
        assert [job["write"]["io_bytes"] for job in jobs] == [64 << 10] * 3
        assert not (tmp_path / "shared").exists()


def test_a_file_that_was_there_is_not_unlinked(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"x" * 65536)
    jobs_of("--name=r", f"--filename={tmp_path}/mine", "--rw=read", "--unlink=1")
    assert (tmp_path / "mine").exists()


def test_a_wall_holds_what_stands_behind_it() -> None:
    words = [*NULL, "--name=a", "--time_based", "--runtime=1", "--name=b", "--stonewall", "--name=c"]
    a, b, c = jobs_of(*words)
    assert [a["groupid"], b["groupid"], c["groupid"]] == [0, 1, 1]
    assert min(b["job_start"], c["job_start"]) >= a["job_start"] + 1000


def test_a_job_waits_for_another_and_others_do_not() -> None:
    a, b, c = jobs_of(*NULL, "--name=a", "--time_based", "--runtime=1", "--name=b", "--wait_for=a", "--name=c")
    assert b["job_start"] >= a["job_start"] + 1000
    assert c["job_start"] < a["job_start"] + 900


def test_a_delayed_job_starts_late_and_a_stopped_one_never(tmp_path: Path) -> None:
    a, b = jobs_of(*NULL, "--name=a", "--name=b", "--start_delay=1")
    assert b["job_start"] >= a["job_start"] + 900
    began_s = time.monotonic()
    jobs = jobs_of(*NULL, "--name=a", "--exitall", "--name=b", "--start_delay=50", f"--directory={tmp_path}")
    assert jobs[1]["read"]["total_ios"] == 0
    assert "not started" in jobs[1]["iovigil"]["message"]
    assert time.monotonic() - began_s < 20


def test_jobs_of_a_batch_begin_together(tmp_path: Path) -> None:
    """However long the first one's file took: none of them has it to itself."""
    words = ["--rw=read", "--time_based", "--runtime=1", f"--directory={tmp_path}"]
    big, small = jobs_of(*words, "--name=big", "--size=64m", "--name=small", "--size=4k")
    assert abs(big["job_runtime"] - small["job_runtime"]) < 200
    assert big["read"]["total_ios"] > 0
    assert small["read"]["total_ios"] > 0


@pytest.mark.parametrize(
    ("what", "ended"), [("group", {"a", "b"}), ("all", {"a", "b", "c"}), ("stonewall", {"a", "b", "c"})]
)
def test_the_end_of_one_job_ends_others(what: str, ended: set[str]) -> None:
    # Without exitall c would go on for its three seconds.
    words = ["--ioengine=null", "--size=1m", "--time_based", "--thinktime=1ms", "--runtime=3", f"--exit_what={what}"]
    jobs = jobs_of(*words, "--name=a", "--runtime=1", "--name=b", "--exitall", "--name=c", "--new_group")
    assert {job["jobname"] for job in jobs if job["job_runtime"] < 2500} == ended
    assert [job["error"] for job in jobs] == [0, 0, 0]


def test_a_failed_job_ends_others_when_so_asked(tmp_path: Path) -> None:
    words = ["--name=bad", f"--filename={tmp_path}/no/file", "--size=1m", "--exitall_on_error"]
    bad, good = jobs_of(*words, "--name=good", *ENDLESS, status=1)
    assert bad["error"] > 0
    assert good["error"] == 0
    assert good["job_runtime"] < 10_000


def test_the_exit_status_counts_the_jobs_that_failed(tmp_path: Path) -> None:
    words = [f"--filename={tmp_path}/no/file", "--size=1m"]
    jobs = jobs_of("--name=a", *words, "--name=b", *words, "--name=c", *NULL, status=2)
    assert [job["error"] > 0 for job in jobs] == [True, True, False]
    assert jobs[2]["read"]["io_bytes"] == 1 << 20


def test_files_that_cannot_be_laid_out_fail_their_job_alone_before_any_starts(tmp_path: Path) -> None:
    words = ["--size=64k", "--rw=read"]
    good, bad = jobs_of(
        *words, "--name=good", f"--directory={tmp_path}", "--name=bad", f"--directory={tmp_path}/no", "--stonewall",
        status=1,
    )  # fmt: skip
    assert good["read"]["io_bytes"] == 64 << 10
    assert "no directory" in bad["iovigil"]["message"]
    assert bad["job_start"] <= good["job_start"] + 1000


def test_files_are_only_laid_out_when_so_asked(tmp_path: Path) -> None:
    (job,) = jobs_of("--name=o", f"--directory={tmp_path}", "--size=64k", "--rw=read", "--create_only=1")
    assert (job["read"]["total_ios"], job["error"]) == (0, 0)
    assert (tmp_path / "o.0.0").stat().st_size == 64 << 10


@contextlib.contextmanager
def session_of(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--output-format=json", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: working_child(process.pid), "the session has a child that does I/O")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=DEADLINE_S)


def test_a_child_killed_by_a_signal_fails_the_session_with_the_signals_number() -> None:
    with session_of(*ENDLESS, "--name=a", "--exitall") as process:
        time.sleep(0.2)
        os.kill(working_child(process.pid), signal.SIGSEGV)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    (job,) = json.loads(out)["jobs"]
    assert job["error"] > 0
    assert (job["iovigil"]["failure"], job["iovigil"]["signal"]) == ("crash", signal.SIGSEGV)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_job_and_leaves_one_document(number: signal.Signals) -> None:
    with session_of(*ENDLESS, "--name=a", "--numjobs=3", "--name=late", "--stonewall") as process:
        time.sleep(0.5)
        process.send_signal(number)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128
    *clones, late = json.loads(out)["jobs"]
    assert all(job["read"]["total_ios"] > 0 and job["iovigil"]["is_complete"] for job in clones)
    assert late["read"]["total_ios"] == 0


def test_a_signal_while_files_are_laid_out_ends_the_session(tmp_path: Path) -> None:
    words = ["--output-format=json", f"--directory={tmp_path}", "--size=2g", "--rw=read", "--name=a", "--numjobs=4"]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: any(tmp_path.glob("*.partial")), "a file is being laid out")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 128
    assert len(json.loads(out)["jobs"]) == 4


def test_results_in_between_stand_in_the_one_document() -> None:
    words = ["--ioengine=null", "--size=1m", "--time_based", "--runtime=2", "--thinktime=1ms", "--numjobs=2"]
    document = document_of(*words, "--name=a", "--status-interval=500ms")
    reads = [[job["read"]["total_ios"] for job in one["jobs"]] for one in document["intervals"]]
    assert len(reads) >= 3
    assert reads == sorted(reads)
    assert reads[-1] <= [job["read"]["total_ios"] for job in document["jobs"]]


def test_a_signal_asks_for_results_so_far() -> None:
    with session_of(*ENDLESS, "--name=a") as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert [len(one["jobs"]) for one in json.loads(out)["intervals"]] == [1]


def test_the_throughput_of_all_jobs_is_logged_when_so_asked(tmp_path: Path) -> None:
    words = ["--ioengine=null", "--size=1m", "--time_based", "--runtime=1", "--thinktime=1ms", "--numjobs=2"]
    jobs_of(*words, "--name=a", "--bandwidth-log", f"--aux-path={tmp_path}")
    lines = (tmp_path / "agg-read_bw.log").read_text().splitlines()
    assert len(lines) >= 2
    assert sum(int(line.split(",")[1]) for line in lines) > 0


def test_flows_keep_their_shares_and_a_job_that_has_gone_is_not_waited_for() -> None:
    words = ["--ioengine=null", "--size=1g", "--time_based", "--thinktime=100us", "--flow_id=1"]
    words += ["--name=one", "--flow=1", "--runtime=1", "--name=four", "--flow=4", "--runtime=1"]
    one, four, last = jobs_of(*words, "--name=last", "--flow=1", "--runtime=2")
    assert 2 < four["read"]["total_ios"] / one["read"]["total_ios"] < 8
    assert last["job_runtime"] >= 2000
    assert last["read"]["total_ios"] > 1.3 * one["read"]["total_ios"]


def test_several_forms_of_output_come_in_the_order_of_fio() -> None:
    run = iovigil_run("--name=a", *NULL, "--output-format=normal,json,terse")
    lines = run.stdout.splitlines()
    assert lines[0].startswith("3;iovigil")
    assert lines.index("{") < lines.index("}") < lines.index("a: read, 4 KiB, null")


@pytest.mark.parametrize("rw", ["write", "randwrite", "randrw", "trim"])
@pytest.mark.parametrize("is_before", [True, False])
def test_readonly_stands_before_or_behind_the_jobs(tmp_path: Path, rw: str, is_before: bool) -> None:
    words = ["--name=a", f"--filename={tmp_path}/data", "--size=64k", f"--rw={rw}"]
    run = iovigil_run(*(["--readonly", *words] if is_before else [*words, "--readonly"]))
    assert run.returncode != 0
    assert "readonly" in run.stderr
    assert not (tmp_path / "data").exists()


def test_a_steady_state_ends_the_job_and_can_be_computed_again() -> None:
    words = ["--ioengine=null", "--size=1g", "--time_based", "--runtime=20", "--rate_iops=1000"]
    (job,) = jobs_of(*words, "--name=s", "--ss=iops:50%", "--ss_dur=1", "--ss_interval=200ms", "--ss_ramp=300ms")
    told = job["steadystate"]
    assert job["job_runtime"] < 10_000
    assert told["attained"] == 1
    values = told["data"]["iops"]
    mean = sum(values) / len(values)
    assert len(values) == 5
    assert float(told["criterion"].rstrip("%")) == pytest.approx(100 * told["max_deviation"] / mean, rel=1e-3)
    assert told["max_deviation"] == pytest.approx(max(abs(value - mean) for value in values), abs=1e-5)


def test_a_group_is_steady_together() -> None:
    words = ["--ioengine=null", "--size=1g", "--time_based", "--runtime=20", "--rate_iops=500", "--numjobs=2"]
    words += ["--group_reporting", "--ss=iops:50%", "--ss_dur=1", "--ss_interval=250ms"]
    (job,) = jobs_of(*words, "--name=s")
    assert job["steadystate"]["data"]["iops_mean"] == pytest.approx(1000, rel=0.3)
    assert job["job_runtime"] < 2 * 10_000


def test_a_state_that_is_not_steady_lasts_until_the_runtime_is_over() -> None:
    words = ["--ioengine=null", "--size=1g", "--time_based", "--runtime=1", "--rate_iops=1000"]
    (job,) = jobs_of(*words, "--name=s", "--ss=iops:0.000001%", "--ss_dur=10")
    assert job["steadystate"]["attained"] == 0
    assert job["job_runtime"] >= 1000


@pytest.mark.requires_fio
@pytest.mark.parametrize(
    "words",
    [
        ["--name=a", "--rw=read", "--numjobs=2", "--name=b", "--rw=randwrite", "--stonewall"],
        ["--name=a", "--rw=randrw", "--numjobs=3", "--group_reporting"],
        ["--group_reporting", "--name=a", "--rw=read", "--name=b", "--rw=write", "--name=c", "--new_group"],
        ["--name=a", "--rw=write", "--nrfiles=4", "--name=b", "--rw=randread", "--loops=2"],
        ["--name=a", "--rw=write", "--verify=crc32c", "--verify_state_save=0", "--numjobs=2"],
        ["--name=a", "--rw=write", "--filesize=16k", "--nrfiles=4"],
        ["--filename=shared", "--name=a", "--rw=write", "--offset_increment=64k", "--numjobs=2"],
    ],
)
def test_the_same_jobs_do_the_same_in_fio(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    common = ["--output-format=json", "--bs=4k", "--size=64k"]
    ours = iovigil_run(*common, f"--directory={tmp_path}/ours", *words)
    theirs = fio(*common, f"--directory={tmp_path}/theirs", *words)
    assert ours.returncode == theirs.returncode == 0, ours.stderr
    told = [
        [
            (
                job["jobname"],
                job["groupid"],
                job["error"],
                [job[name]["io_kbytes"] for name in ("read", "write", "trim")]
                if job["job options"].get("rw") != "randrw"
                else job["read"]["io_kbytes"] + job["write"]["io_kbytes"],
            )
            for job in json.loads(text)["jobs"]
        ]
        for text in (ours.stdout, theirs.stdout)
    ]
    assert told[0] == told[1]
    names = [sorted(path.name for path in (tmp_path / who).iterdir()) for who in ("ours", "theirs")]
    assert names[0] == names[1]


@pytest.mark.requires_fio
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_lines_of_semicolons_have_the_fields_of_fio(version: int) -> None:
    words = [*NULL, "--output-format=terse", f"--terse-version={version}", "--name=a", "--numjobs=2", "--name=b"]
    counts = [[line.count(";") for line in run.stdout.splitlines()] for run in (iovigil_run(*words), fio(*words))]
    assert counts[0] == counts[1]
    assert len(counts[0]) == 3


@pytest.mark.requires_fio
def test_group_lines_are_found_where_scripts_look_for_them() -> None:
    words = [*NULL, "--name=a", "--rw=read", "--numjobs=2", "--name=b", "--rw=write", "--stonewall"]
    told = [
        [line.split(":")[0] for line in run.stdout.partition("Run status group 0")[2].splitlines() if ":" in line]
        for run in (iovigil_run(*words), fio(*words))
    ]
    assert told[0] == told[1]


def conducted(*options: JobOptions, launcher: Path = LAUNCHER, hook: Hook = run_hook) -> Session:
    """A session that has ended, its jobs made without a command line."""

    async def conduct() -> Session:
        plans = plan([JobSection(options=each, written={}) for each in options], "token")
        tools = Tools(clock=Clock(), launcher=launcher, patience=Patience(stop_s=0.5))
        session = Session(plans, tools, hook=hook)
        async with asyncio.timeout(DEADLINE_S):
            await session.conduct()
        return session

    return asyncio.run(conduct())


def test_commands_run_before_and_after_a_job_and_a_failing_one_before_fails_it() -> None:
    ran = []

    async def hook(command: str, output: Path, _timeout_s: float | None) -> int:
        ran.append((command, str(output)))
        return 3 if command == "bad" else 0

    base = JobOptions(name="a", ioengine="null", size=1 << 20, exec_postrun="after")
    good = conducted(msgspec.structs.replace(base, exec_prerun="good"), hook=hook).jobs[0]
    assert good.result is not None
    assert good.result.is_success
    assert ran == [("good", "a.prerun.txt"), ("after", "a.postrun.txt")]
    bad = conducted(msgspec.structs.replace(base, exec_prerun="bad"), hook=hook).jobs[0]
    assert bad.result is not None
    assert bad.result.failure is Failure.SETUP
    assert "'bad' ended with status 3" in bad.result.message
    assert bad.page.counter(Counter.IOS, 0) == 0


def test_the_output_of_commands_stands_beside_and_a_failing_one_ends_its_job_alone(tmp_path: Path) -> None:
    words = [*NULL, f"--aux-path={tmp_path}", "--name=a", "--exec_prerun=echo before", "--exec_postrun=echo after"]
    good, bad = jobs_of(*words, "--name=b", "--exec_prerun=echo wrong; exit 3", status=1)
    assert (good["error"], good["read"]["io_bytes"]) == (0, 1 << 20)
    assert "ended with status 3" in bad["iovigil"]["message"]
    assert bad["read"]["io_bytes"] == 0
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told == {"a.prerun.txt": "before\n", "a.postrun.txt": "after\n", "b.prerun.txt": "wrong\n"}


def test_a_command_before_a_job_ends_with_the_session(tmp_path: Path) -> None:
    words = [*ENDLESS, f"--aux-path={tmp_path}", "--name=a", "--name=b", "--exec_prerun=sleep 60"]
    with session_of(*words) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128
    assert [job["read"]["total_ios"] > 0 for job in json.loads(out)["jobs"]] == [True, False]


def test_many_jobs_start_in_a_time_that_grows_with_their_number_alone() -> None:
    """Those that are ready and wait must cost nothing: at some hundred they would take each other's time."""
    (job,) = jobs_of(*NULL, "--name=m", "--numjobs=64", "--group_reporting")
    assert job["iovigil"]["jobs"] == 64
    assert job["read"]["total_ios"] == 64 * 256


def test_a_child_that_never_comes_to_life_holds_the_others_up_for_a_limited_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "launch.py"
    launcher.write_text(HALF_OF_THEM_HANG.format(launcher=str(LAUNCHER)))
    monkeypatch.setattr(sessions, "BEGIN_S", 1.0)
    options = JobOptions(name="n", ioengine="null", size=1 << 20, numjobs=2)
    hung, good = conducted(options, launcher=launcher).jobs
    assert hung.result is not None
    assert good.result is not None
    assert hung.result.failure is Failure.TIMEOUT
    assert "start-up hung for 1 s" in hung.result.message
    assert good.result.is_success
    assert good.page.counter(Counter.IOS, 0) == 256


def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = tmp_path / "launch.py"
    launcher.write_text(NEVER_READY.format(package=str(PACKAGE_ROOT)))
    monkeypatch.setattr(sessions, "READY_S", 0.5)
    session = conducted(JobOptions(name="n", ioengine="null", size=1 << 20), launcher=launcher)
    assert session.jobs[0].result is not None
    assert session.jobs[0].result.failure is Failure.TIMEOUT
    assert "not ready to start after 0 s" in session.jobs[0].result.message
    assert session.failures == 1


@pytest.mark.skipif("cpuio" not in engine_names(), reason="cpuio is not built")
def test_what_only_burns_cpu_ends_with_the_io_beside_it() -> None:
    burning = JobOptions(name="burn", ioengine="cpuio", cpuload=20, time_based=True, runtime=30_000_000)
    reading = JobOptions(name="read", ioengine="null", size=1 << 20)
    began_s = time.monotonic()
    burn, _ = conducted(burning, reading).jobs
    assert burn.result is not None
    assert burn.result.is_success
    assert time.monotonic() - began_s < 15


@pytest.mark.skipif("cpuio" not in engine_names(), reason="cpuio is not built")
def test_a_load_that_ends_with_the_io_lets_through_what_waits_for_it() -> None:
    burning = JobOptions(
        name="burn",
        ioengine="cpuio",
        cpuload=20,
        time_based=True,
        runtime=30_000_000,
        exit_on_io_done=True,
    )
    reading = JobOptions(name="read", ioengine="null", size=1 << 20)
    walled = JobOptions(name="last", ioengine="null", size=1 << 20, stonewall=True)
    began_s = time.monotonic()
    session = conducted(burning, reading, walled)
    *_, last = session.jobs
    assert session.failures == 0
    assert last.page.counter(Counter.IOS, 0) == 256
    assert time.monotonic() - began_s < 15

"""Logs of a job, logs of all, and logs that are replayed: of fio and of ours."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from fio_and_ours import Program, moved

KIB = 1 << 10
NUMBER = r"\d+"
PRIORITY = r"(0x[0-9a-f]+|\d+)"
# Each form of a line: {options: (fields, whether fio 3.33 knows it)}
FORMS = {
    "": ([NUMBER] * 4 + [PRIORITY], True),
    "log_offset=1\n": ([NUMBER] * 5 + [PRIORITY], True),
    "log_window_value=both\nlog_avg_msec=50\n": ([NUMBER] * 5 + [PRIORITY], False),
    "log_window_value=max\nlog_avg_msec=50\n": ([NUMBER] * 4 + [PRIORITY], False),
    "log_issue_time=1\nlog_offset=1\n": ([NUMBER] * 5 + [PRIORITY, NUMBER], False),
    "log_avg_msec=50\n": ([NUMBER] * 4 + [PRIORITY], True),
}


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("kind", ["bw", "iops", "lat"])
def test_the_lines_of_a_log_have_the_form_that_was_asked_for(program: Program, kind: str, options: str) -> None:
    fields, is_known = FORMS[options]
    if not is_known and not program.is_ours:
        pytest.skip("fio 3.33 does not know the option")
    job = f"[f]\nioengine=null\nsize=1g\nbs=4k\nrw=randrw\nthinktime=1ms\ntime_based=1\nruntime=200ms\n{options}"
    ran = program.run(job=f"{job}write_{kind}_log=log\n")
    form = re.compile(", ".join(fields))
    names = ("lat", "clat") if kind == "lat" else (kind,)
    for name in names:
        lines = (ran.directory / f"log_{name}.1.log").read_text().splitlines()
        assert lines
        assert [line for line in lines if not form.fullmatch(line)] == []
        assert {int(line.split(", ")[3 if "both" in options else 2]) for line in lines} <= {0, 1}


def test_clones_have_logs_of_their_own_or_one(program: Program) -> None:
    common = "[c]\nioengine=null\nsize=64k\nbs=4k\nrw=read\nnumjobs=2\nwrite_bw_log=log\n"
    program.run(job=common)
    own = sorted(path.name for path in program.directory.glob("log*"))
    assert own == ["log_bw.1.log", "log_bw.2.log"]
    assert all(len((program.directory / name).read_text().splitlines()) == 16 for name in own)
    for name in own:
        (program.directory / name).unlink()
    program.run(job=f"{common}per_job_logs=0\n")
    assert [path.name for path in program.directory.glob("log*")] == ["log_bw.log"]
    assert len((program.directory / "log_bw.log").read_text().splitlines()) == 32


def test_the_throughput_of_all_jobs_is_logged(program: Program) -> None:
    ran = program.run(
        "--bandwidth-log", job="[b]\nioengine=null\nsize=1t\nbs=1m\nrw=rw\ntime_based=1\nruntime=2\nthinktime=1ms\n"
    )
    assert ran.job["error"] == 0
    for direction in ("read", "write"):
        lines = (ran.directory / f"agg-{direction}_bw.log").read_text().splitlines()
        assert lines
        assert all(re.fullmatch(r"\d+, \d+, \d+, \d+, \d+(, .*)?", line) for line in lines)


REPLAYED = {
    "writes": "rw=write\nsize=256k\nbs=4k\n",
    "random writes": "rw=randwrite\nsize=256k\nbs=4k\n",
    "both": "rw=randrw\nsize=256k\nbs=4k\n",
    "lengths": "rw=randwrite\nsize=256k\nbsrange=512-8k\nnorandommap=1\n",
    "syncs": "rw=write\nsize=256k\nbs=4k\nfsync=8\n",
    "files": "rw=write\nsize=256k\nbs=4k\nnrfiles=4\n",
}


@pytest.mark.parametrize("recorded", REPLAYED)
def test_what_was_recorded_is_done_again(program: Program, recorded: str) -> None:
    files = "nrfiles=4\n" if "nrfiles" in REPLAYED[recorded] else ""
    first = program.run(
        job=f"[r]\nioengine=psync\nwrite_iolog=iolog\nwrite_bw_log=first\nlog_offset=1\n{REPLAYED[recorded]}"
    )
    again = program.run(
        job=f"[r]\nioengine=psync\n{files}read_iolog=iolog\nreplay_no_stall=1\nwrite_bw_log=again\nlog_offset=1\n"
    )
    assert moved(first.job) == moved(again.job)
    before, after = (
        [(line.ddir, line.offset, line.bs) for line in again.log(f"{name}_bw.1.log", offset=True)]
        for name in ("first", "again")
    )
    assert before == after


@pytest.mark.requires_fio
@pytest.mark.parametrize("recorded", REPLAYED)
def test_each_replays_what_the_other_recorded(both: tuple[Program, Program], recorded: str) -> None:
    names = "filename=f0:f1:f2:f3\n" if "nrfiles" in REPLAYED[recorded] else "filename=f0\n"
    for writer, reader in (both, both[::-1]):
        first = writer.run(job=f"[r]\n{names}write_iolog=iolog\n{REPLAYED[recorded]}")
        log = (writer.directory / "iolog").read_text()
        (reader.directory / "iolog").write_text(log)
        copy_files(writer.directory, reader.directory)
        again = reader.run(
            *(["--overwrite=1"] if reader.is_ours else []), job=f"[r]\n{names}read_iolog=iolog\nreplay_no_stall=1\n"
        )
        assert moved(first.job) == moved(again.job)
        (reader.directory / "iolog").unlink()  # or else fio would write behind it
        for path in [*reader.directory.glob("f*"), *writer.directory.glob("f*")]:
            path.unlink()


def copy_files(source: Path, target: Path) -> None:
    for path in source.glob("f*"):
        (target / path.name).write_bytes(path.read_bytes())


def iolog(lines: Sequence[str]) -> str:
    return "\n".join(["fio version 2 iolog", "data add", "data open", *lines, "data close", ""])


def test_trims_of_a_log_ask_for_no_room(ours: Program) -> None:
    """fio 3.33 wants a buffer as large as the largest trim, and fails."""
    data = ours.directory / "data"
    trims = [f"data trim {n << 25} {1 << 25}" for n in range(8)]
    (ours.directory / "iolog").write_text(
        iolog([*trims, "data write 0 4096", "data read 4096 4096"]).replace("data ", f"{data} ")
    )
    job = ours.run(job=f"[r]\nfilename={data}\nsize=256m\nread_iolog=iolog\nreplay_no_stall=1\n").job
    assert job["trim"]["io_kbytes"] == 256 << 10
    assert (job["read"]["io_kbytes"], job["write"]["io_kbytes"]) == (4, 4)

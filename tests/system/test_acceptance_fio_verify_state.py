"""Verify state files: fio loads ours, we load fio's, and the two tools leave the same bytes."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fio_and_ours import COMMANDS, CORRUPT, DEADLINE_S, PACKAGE_ROOT, Program
from processes import wait_until

from iovigil.engines.verify_state import load

KIB = 1 << 10
BLOCK = 4 * KIB
STATE = "local-j-0-verify.state"
# Drawn with fio's generator, and with headers as fio 3.33 has them.
LIKE_FIO = ["--random_generator=tausworthe", "--verify_header=fio-2.2", "--overwrite=1"]
SHAPES = {
    "psync": ["--filename=data"],
    "libaio": ["--filename=data", "--ioengine=libaio", "--iodepth=16"],
    "files": ["--filename=a:b:c:d", "--ioengine=libaio", "--iodepth=4"],
    "loops": ["--filename=data", "--loops=3"],
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
orders = pytest.mark.parametrize("order", ["", "rand"])
WAYS = ["verify_only", "read"]


def words_for(program: Program, *words: str) -> list[str]:
    """One job on 256 KiB, as either takes it."""
    common = ["--name=j", "--size=256k", "--bs=4k", "--verify=crc32c", "--randrepeat=1"]
    return [*common, *(LIKE_FIO if program.is_ours else []), *words]


def checking(way: str, order: str) -> list[str]:
    rw = f"--rw={order}read" if way == "read" else f"--rw={order}write"
    return [rw, "--verify_state_load=1", *(["--verify_only=1"] if way == "verify_only" else [])]


def state_of(program: Program, *words: str) -> bytes:
    """What a job of these words leaves."""
    program.run(*words_for(program, *words))
    return (program.directory / STATE).read_bytes()


def hand_over(giver: Program, taker: Program) -> None:
    for path in giver.directory.iterdir():
        shutil.copy(path, taker.directory / path.name)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.requires_fio
@shapes
@orders
@pytest.mark.parametrize("more", [["--do_verify=0"], ["--do_verify=1"], ["--do_verify=0", "--number_ios=37"]])
def test_both_leave_the_same_bytes(
    both: tuple[Program, Program], shape: list[str], order: str, more: list[str]
) -> None:
    ours, fio = both
    if shape == SHAPES["loops"] and "--number_ios=37" in more:
        pytest.skip("number_ios is for each loop in fio, for all of them in ours")
    words = [*shape, f"--rw={order}write", *more]
    assert state_of(ours, *words) == state_of(fio, *words)


@pytest.mark.requires_fio
def test_clones_leave_a_file_each_as_fios_do(both: tuple[Program, Program]) -> None:
    left = []
    for program in both:
        state_of(
            program, "--filename=data", "--rw=randwrite", "--numjobs=2", "--offset_increment=256k", "--do_verify=0"
        )
        left.append({path.name: path.read_bytes() for path in program.directory.glob("*.state")})
    assert left[0].keys() == {STATE, "local-j-1-verify.state"}
    assert left[0] == left[1]


@pytest.mark.requires_fio
@shapes
@orders
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("giver", [0, 1], ids=["ours to fio", "fio to ours"])
def test_either_loads_what_the_other_saved(
    both: tuple[Program, Program], shape: list[str], order: str, way: str, giver: int
) -> None:
    giving, taking = both[giver], both[1 - giver]
    if shape == SHAPES["files"] and not order and way == "verify_only" and not taking.is_ours:
        pytest.skip("fio 3.33 goes on behind the end of its own state of several files, too")
    loops = 3 if shape == SHAPES["loops"] else 1
    state_of(giving, *shape, f"--rw={order}write", "--do_verify=0", *(["--number_ios=37"] if loops == 1 else []))
    hand_over(giving, taking)
    ran = taking.run(*words_for(taking, *shape, *checking(way, order)))
    assert ran.job["error"] == 0
    # A reader of fio 3.33 makes one loop.
    checked = 37 if loops == 1 else 64 * (loops if taking.is_ours or way == "verify_only" else 1)
    assert ran.job["read"]["total_ios"] == checked


@pytest.mark.requires_fio
@orders
@pytest.mark.parametrize("way", WAYS)
def test_damage_is_found_as_far_as_the_file_goes(both: tuple[Program, Program], order: str, way: str) -> None:
    ours, fio = both
    shape = ["--filename=data"]
    words = words_for(fio, *shape, f"--rw={order}write", "--do_verify=0", "--number_ios=37", "--write_bw_log=log")
    offsets = fio.run(*words, "--log_offset=1").offsets()
    assert len(offsets) == 37
    unwritten = next(place for place in range(0, 64 * BLOCK, BLOCK) if place not in offsets)
    hand_over(fio, ours)
    flip(ours.directory / "data", unwritten + 100)
    assert ours.run(*words_for(ours, *shape, *checking(way, order))).job["error"] == 0
    flip(ours.directory / "data", offsets[36] + 100)
    ran = ours.run(*words_for(ours, *shape, *checking(way, order)), status=1)
    assert ran.job["error"] == CORRUPT
    assert [found["offset"] for found in ran.job["iovigil"]["first_mismatches"]] == [offsets[36]]


@pytest.mark.requires_fio
@pytest.mark.skipif(not shutil.which("fio-verify-state"), reason="fio-verify-state is not installed")
def test_fios_own_tool_reads_ours(ours: Program) -> None:
    state_of(ours, "--filename=data", "--rw=randwrite", "--do_verify=0", "--number_ios=37")
    done = subprocess.run(
        ["fio-verify-state", ours.directory / STATE], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0
    told = dict(re.findall(r"^([A-Za-z ]+):\s*(\S*)$", done.stdout, re.MULTILINE))
    assert (told["Version"], told["Name"], told["Number IOs"], told["Depth"]) == ("0x3", "j", "37", "1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_was_cut_short_is_checked_as_far_as_it_came(
    program: Program, number: signal.Signals, way: str
) -> None:
    shape = ["--filename=data", "--ioengine=libaio", "--iodepth=8"]
    words = words_for(program, *shape, "--rw=randwrite", "--rate_iops=50", "--do_verify=0", "--write_bw_log=log")
    with subprocess.Popen(
        [*COMMANDS[program.name], "--output-format=json", "--output=out", *words, "--log_offset=1", "--log_avg_msec=0"],
        cwd=program.directory,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
    ) as process:
        data = program.directory / "data"
        wait_until(lambda: data.exists() and any(data.read_bytes()), "something is written")
        process.send_signal(number)
        process.wait(DEADLINE_S)
    state = load(str(program.directory / STATE))
    assert 0 < state.writes < 64
    ran = program.run(*words_for(program, *shape, *checking(way, "rand")))
    assert (ran.job["error"], ran.job["read"]["total_ios"]) == (0, state.writes)


@pytest.mark.parametrize("header", ["fio-2.2", "fio-3.41"])
@pytest.mark.parametrize("more", [["--runtime=200ms"], ["--max_latency=1"]])
def test_a_job_that_ended_before_its_end_is_checked_as_far_as_it_came(
    ours: Program, header: str, more: list[str]
) -> None:
    common = ["--name=j", "--filename=data", "--size=256k", "--bs=4k", "--verify=crc32c", f"--verify_header={header}"]
    ours.run(*common, "--rw=randwrite", "--rate_iops=100", "--do_verify=0", *more, status=None)
    writes = load(str(ours.directory / STATE)).writes
    assert 0 < writes < 64
    ran = ours.run(*common, *checking("verify_only", "rand"))
    assert ran.job["read"]["total_ios"] == writes


def test_without_a_state_file_nothing_is_checked(program: Program) -> None:
    state_of(program, "--filename=data", "--rw=write", "--do_verify=0")
    path = program.directory / STATE
    whole = path.read_bytes()
    for contents in (whole[:50], whole[:-1] + b"x", b"\x63" + whole[1:]):
        path.write_bytes(contents)
        assert program.refuses(*words_for(program, "--filename=data", *checking("verify_only", "")))
    path.unlink()
    said = program.refuses(*words_for(program, "--filename=data", *checking("read", "")))
    assert STATE in said


def test_it_is_kept_where_other_files_are(program: Program) -> None:
    (program.directory / "aux").mkdir()
    words = words_for(program, "--aux-path=aux", "--filename=data")
    program.run(*words, "--rw=write")
    assert not (program.directory / STATE).exists()
    assert (program.directory / "aux" / STATE).exists()
    assert program.run(*words, *checking("read", "")).job["error"] == 0


def test_a_directory_that_is_not_there_is_a_warning(program: Program) -> None:
    ran = program.run(*words_for(program, "--aux-path=none", "--filename=data", "--rw=write"))
    assert ran.job["error"] == 0
    assert "No such file or directory" in ran.stderr


def test_a_job_that_is_told_not_to_leaves_none(program: Program) -> None:
    program.run(*words_for(program, "--filename=data", "--rw=write", "--verify_state_save=0"))
    assert not (program.directory / STATE).exists()


@pytest.mark.parametrize(
    ("engine", "told"), [(["--ioengine=psync"], 32), (["--ioengine=libaio", "--iodepth=8"], range(48))]
)
def test_what_no_fsync_has_followed_is_not_vouched_for(ours: Program, engine: list[str], told: Any) -> None:
    common = ["--name=j", "--filename=data", "--size=256k", "--bs=4k", "--verify=crc32c", *engine]
    ours.run(*common, "--rw=write", "--do_verify=0", "--number_ios=47", "--fsync=16", "--verify_policy=fsynced")
    writes = load(str(ours.directory / STATE)).writes
    assert writes in told if isinstance(told, range) else writes == told
    # The rest is torn by a power failure, and nobody minds.
    with (ours.directory / "data").open("r+b") as file:
        file.truncate(writes * BLOCK)
        file.truncate(256 * KIB)
    ran = ours.run(*common, *checking("verify_only", ""))
    assert ran.job["error"] == 0
    assert ran.job["read"]["total_ios"] <= writes

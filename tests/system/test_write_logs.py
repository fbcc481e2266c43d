"""Write logs that outlive a job, or that several jobs have in common: nothing missed, and nothing taken for wrong."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, READ, WRITE, Outcome, run_job, running
from scraping import IOVIGIL

from iovigil.agent.write_logs import WriteLog
from iovigil.engines.stats import Counter, Mismatch

BLOCK = 4096
SIZE = 256 * BLOCK


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "probe"
    file.write_bytes(os.urandom(SIZE))
    return file


def slow_check(path: Path, log: WriteLog, **more: object) -> Outcome:
    """A run that writes 200 blocks and has time to read back about a tenth of them."""
    written: dict[str, Any] = {"rw": "write", "runtime": "400ms", "rate_iops": "50,1000", **more}
    return run_job(path, write_log=log, verify="crc32c", bs=BLOCK, size=SIZE, **written)


def verified(done: Outcome) -> int:
    return done.page.counter(Counter.VERIFIED_BYTES, READ)


def test_what_a_run_had_no_time_for_is_the_next_one_s_first_work(path: Path) -> None:
    log = WriteLog.create()
    first = slow_check(path, log)
    left = first.page.unverified_bytes
    assert first.status == 0, first.show()
    assert left > SIZE // 4
    # The next run writes one block: all the rest that it reads is what it was handed.
    second = run_job(path, write_log=log, rw="write", verify="crc32c", bs=BLOCK, size=SIZE, number_ios=1)
    assert second.status == 0, second.show()
    assert second.bytes(WRITE) == BLOCK
    assert second.page.unverified_bytes == 0
    assert verified(second) in (left, left + BLOCK)  # block 0 may have been checked by the first run


def test_a_file_made_anew_is_not_looked_at_for_what_the_one_before_held(path: Path) -> None:
    """It may have the inode of the one before, and nothing of its contents."""
    log = WriteLog.create()
    assert slow_check(path, log).page.unverified_bytes
    inode = path.stat().st_ino
    for number in range(200):
        path.unlink()
        path.write_bytes(os.urandom(SIZE))
        if path.stat().st_ino == inode:
            break
        (path.parent / f"other{number}").touch()
    else:
        pytest.skip("this filesystem gives no inode a second time")
    second = run_job(path, write_log=log, rw="write", verify="crc32c", bs=BLOCK, size=SIZE, number_ios=1)
    assert (second.status, second.mismatches) == (0, {}), second.show()


def test_corruption_of_what_was_handed_over_is_found(path: Path) -> None:
    log = WriteLog.create()
    first = slow_check(path, log)
    last_written = first.bytes(WRITE) - BLOCK
    with path.open("r+b") as file:
        file.seek(last_written + 1000)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    second = run_job(path, write_log=log, rw="write", verify="crc32c", bs=BLOCK, size=SIZE, number_ios=1)
    assert second.mismatches == {Mismatch.CHECKSUM: 1}
    record = second.page.mismatches()[0]
    assert (record.offset, record.first_byte, record.wrong_bits) == (last_written, last_written + 1000, 1)


def test_a_run_that_was_killed_leaves_its_work_to_the_next(path: Path) -> None:
    log = WriteLog.create()
    with running(
        path, write_log=log, rw="write", verify="crc32c", bs=BLOCK, size=SIZE, rate_iops=2000, iodepth=4,
        ioengine="libaio",
    ) as job:  # fmt: skip
        job.wait_for_ios(WRITE, 60)
        job.kill()
        killed = job.outcome()
    assert killed.exit.signal == signal.SIGKILL
    second = run_job(path, write_log=log, rw="write", verify="crc32c", bs=BLOCK, size=SIZE, number_ios=1)
    assert second.status == 0, second.show()
    # All but what was in flight: that may have reached the file or not.
    assert killed.bytes(WRITE) - 2 * BLOCK <= verified(second) <= killed.bytes(WRITE) + 5 * BLOCK


def test_a_log_of_another_file_is_not_gone_by(path: Path, tmp_path: Path) -> None:
    log = WriteLog.create()
    slow_check(path, log)
    other = tmp_path / "other"
    other.write_bytes(os.urandom(SIZE))
    second = run_job(other, write_log=log, rw="write", verify="crc32c", bs=BLOCK, size=SIZE, number_ios=3)
    assert second.status == 0, second.show()
    assert verified(second) == 3 * BLOCK
    # The contents of generations come from one nonce: none may be given out twice, for another file either.
    assert generations_in(other)[0] > max(generations_in(path))


def generations_in(path: Path) -> list[int]:
    """What the headers of the first blocks say, for as long as they are headers."""
    data = path.read_bytes()
    found = []
    for at in range(0, len(data), BLOCK):
        if data[at : at + 3] != b"\xca\xac\x81":
            break
        found.append(int.from_bytes(data[at + 32 : at + 40], "little"))
    return found


def test_what_is_written_again_is_checked_as_it_is_now(path: Path) -> None:
    log = WriteLog.create()
    assert slow_check(path, log).page.unverified_bytes
    second = slow_check(path, log, rw="randwrite")
    third = run_job(path, write_log=log, rw="write", verify="crc32c", bs=BLOCK, size=SIZE)
    assert (second.status, third.status) == (0, 0), (second.show(), third.show())
    assert third.page.unverified_bytes == 0


@pytest.mark.parametrize("ioengine", ENGINES)
def test_clones_may_write_to_the_same_blocks(tmp_path: Path, ioengine: str) -> None:
    path = tmp_path / "shared"
    done = iovigil_run(
        path, "--numjobs=4", "--norandommap", "--rw=randwrite", "--bs=4k", "--loops=4", f"--ioengine={ioengine}",
        "--iodepth=8", "--verify=crc32c",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "more",
    [
        ("--rw=randrw", "--bsrange=4k-64k", "--verify_interval=4k", "--verify_backlog=32"),
        ("--rw=randwrite", "--bs=16k", "--verify=sha1", "--verify_async=2"),
        ("--rw=write", "--bs=4k", "--verify=pattern", '--verify_pattern="block "%o'),
        ("--rw=randwrite", "--bs=4k", "--trim_percentage=20", "--trim_backlog=8"),
    ],
)
def test_clones_may_do_so_under_any_options(tmp_path: Path, more: tuple[str, ...]) -> None:
    path = tmp_path / "shared"
    verify = () if any(word.startswith("--verify=") for word in more) else ("--verify=crc32c",)
    done = iovigil_run(
        path, "--numjobs=3", "--norandommap", "--loops=4", "--ioengine=libaio", "--iodepth=8", *verify, *more
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_goes_wrong_with_blocks_of_clones_is_found(tmp_path: Path) -> None:
    """Somebody else writes into the file between the writes and the check."""
    path = tmp_path / "shared"
    words = (
        "--numjobs=3", "--rw=randwrite", "--norandommap", "--bs=4k", "--verify=crc32c", "--ioengine=psync",
        "--rate_iops=,200", "--invalidate=0",
    )  # fmt: skip
    with subprocess.Popen(
        command(path, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as session:
        deadline_s = time.monotonic() + 20
        while not (path.exists() and path.stat().st_size == SIZE):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        time.sleep(1)
        with path.open("r+b") as file:
            for block in range(0, 256, 2):
                file.seek(block * BLOCK + 2000)
                file.write(b"somebody else's")
        output, _ = session.communicate(timeout=30)
    assert session.returncode == 3, output
    assert "DATA CORRUPTION" in output


def test_sections_that_would_find_each_other_s_blocks_are_warned(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    job = ("--rw=write", "--bs=4k", "--verify=crc32c", f"--filename={path}", "--size=1m", "--do_verify=0")
    done = subprocess.run(
        [IOVIGIL, "run", "--name=one", *job, "--name=two", *job],
        capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "writes to what one writes to at the same time" in done.stderr


@pytest.mark.parametrize(
    ("words", "is_warned"),
    [
        (("--size=512k", "--offset_increment=256k"), True),
        (("--size=512k", "--offset_increment=512k"), False),
        (("--size=60%", "--offset_increment=40%"), True),
        (("--size=50%", "--offset_increment=50%"), False),
        (("--size=1m",), False),
    ],
)
def test_clones_whose_regions_overlap_in_part_are_warned(
    tmp_path: Path, words: tuple[str, ...], is_warned: bool
) -> None:
    """They found each other's blocks, and nobody had said so."""
    (tmp_path / "shared").write_bytes(bytes(1 << 20))
    done = iovigil_run(
        tmp_path / "shared", "--rw=write", "--bs=4k", "--verify=crc32c", "--numjobs=2", "--overwrite=1",
        "--do_verify=0", *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("writes to what another clone writes to at the same time" in done.stderr) is is_warned


def command(path: Path, *words: str) -> list[str | Path]:
    return [IOVIGIL, "run", "--name=clones", f"--filename={path}", "--size=1m", *words]


def iovigil_run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(path, *words), capture_output=True, text=True, timeout=60, check=False, cwd=path.parent
    )

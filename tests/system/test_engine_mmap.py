"""mmap: contents as fio's, a disk's errors as errors of one I/O, and checks that see the disk and not our own page."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from engine_runs import KIB, MIB, READ, WRITE, data_file, run_job
from fault_disk import FaultDisk, place_on_disk

from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Mismatch, StatsPage

BLOCK = 4 * KIB
SIZE = MIB
directs = pytest.mark.parametrize("direct", [0, 1])


def laid_out(path: Path) -> Path:
    """A file whose bytes are on its disk, and nowhere else."""
    with data_file(path, SIZE).open("rb") as file:
        os.fsync(file.fileno())
    return path


def run(path: Path, **options: Any) -> Any:
    return run_job(path, **{"ioengine": "mmap", "bs": BLOCK, "size": SIZE, **options})


@directs
@pytest.mark.parametrize("bs", [512, 1000, 12 * KIB])
def test_blocks_that_end_within_a_page_come_back_whole(tmp_path: Path, bs: int, direct: int) -> None:
    size = 300 * bs
    path = data_file(tmp_path / "data", size)
    if direct and bs % 512:
        pytest.skip("direct=1 is for whole sectors")
    done = run(path, rw="randwrite", bs=bs, size=size, offset=0, verify="crc32c", direct=direct)
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == size


def test_a_job_may_map_all_that_it_works_on(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    done = run(path, rw="randread", size=1 << 30, norandommap=1, number_ios=100)
    assert (done.status, done.messages) == (0, ()), done.show()


def test_a_region_that_does_not_fit_in_memory_is_mapped_by_windows(tmp_path: Path) -> None:
    size = 1 << 30
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(size)
    bs = MIB
    done = run(path, rw="randread", bs=bs, size=size, norandommap=1, number_ios=200, limits={"memory_bytes": 400 * MIB})
    assert done.status == 0, done.show()
    assert "not all of the region fits in memory" in done.messages[0]
    assert done.bytes(READ) == 200 * bs
    options = {"rw": "randwrite", "bs": 64 * KIB, "size": 48 * MIB, "offset": 900 * MIB, "verify": "crc32c"}
    done = run(path, **options, limits={"memory_bytes": 110 * MIB})
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == 48 * MIB


@pytest.mark.parametrize(("rw", "ddir"), [("randread", READ), ("randwrite", WRITE)])
def test_a_file_cut_short_while_the_job_runs_is_an_error_of_its_ios(tmp_path: Path, rw: str, ddir: int) -> None:
    path = data_file(tmp_path / "data", SIZE)
    with path.open("r+b") as file:
        page = StatsPage.create()
        options = JobOptions(ioengine="mmap", rw=rw, bs=(BLOCK,) * 3, size=SIZE, continue_on_error="all")
        job = Job(options.native(), page, [(file.fileno(), SIZE)])
        os.truncate(file.fileno(), SIZE // 4)
        job.run()
    assert page.errors(ddir) == {errno.EIO: 3 * SIZE // 4 // BLOCK}
    assert page.counter(Counter.BYTES, ddir) == SIZE // 4


@pytest.mark.requires_fuse
@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
@directs
@pytest.mark.parametrize("rw", ["read", "randread"])
def test_errors_of_the_disk_are_those_of_the_blocks_that_have_them(fault_disk: FaultDisk, rw: str, direct: int) -> None:
    fault_disk.fail_reads(10 * BLOCK, 7 * BLOCK)
    done = run(fault_disk.as_loop_device(), rw=rw, direct=direct, continue_on_error="read")
    assert done.status == 0, done.show()
    assert done.page.errors(READ) == {errno.EIO: 7}
    assert done.bytes(READ) == SIZE - 7 * BLOCK


@pytest.mark.requires_fuse
@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
@pytest.mark.parametrize("options", [{"direct": 1}, {"fsync": 1}, {"end_fsync": 1}])
def test_a_write_that_the_disk_refuses_ends_the_job(
    fault_disk: FaultDisk, faulty_ext4: Path, options: dict[str, int]
) -> None:
    path = laid_out(faulty_ext4 / "data")
    fault_disk.fail_writes(place_on_disk(path) + 10 * BLOCK, BLOCK)
    done = run(path, rw="write", **options)
    assert done.status == 1
    assert done.page.error == errno.EIO, done.show()


@pytest.mark.requires_fuse
@pytest.mark.requires_loop
@pytest.mark.requires_mkfs
@directs
def test_the_check_sees_what_the_disk_holds(fault_disk: FaultDisk, faulty_ext4: Path, direct: int) -> None:
    path = laid_out(faulty_ext4 / "data")
    fault_disk.flip(place_on_disk(path) + 20 * BLOCK + 1000)
    done = run(path, rw="randwrite", verify="crc32c", direct=direct)
    assert done.status == 1
    assert done.mismatches == {Mismatch.CHECKSUM: 1}, done.show()


@pytest.mark.requires_fuse
def test_what_cannot_be_mapped_is_refused(fault_disk: FaultDisk) -> None:
    done = run(fault_disk.path, rw="read")  # served with direct_io
    assert done.messages == ("error: ioengine=mmap: the target cannot be mapped: No such device",)


def test_a_file_is_not_made_longer(tmp_path: Path) -> None:
    done = run(tmp_path / "data", rw="write", fill_device=1, size=0)
    assert done.status not in (0, None)
    assert "fill_device needs another engine" in done.page.text

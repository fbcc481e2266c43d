"""--readonly stands between a job and the disk, of fio and of ours."""

import pytest
from fio_and_ours import Program

CHANGES = ["write", "randwrite", "rw", "randrw", "trim", "randtrim", "trimwrite"]


@pytest.mark.parametrize("rw", CHANGES)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_job_that_changes_anything_is_refused(program: Program, rw: str, is_before: bool) -> None:
    words = ["--name=a", "--filename=data", "--size=64k", "--bs=4k", f"--rw={rw}"]
    (program.directory / "data").write_bytes(b"x" * 65536)
    program.refuses(*(["--readonly", *words] if is_before else [*words, "--readonly"]))
    assert (program.directory / "data").read_bytes() == b"x" * 65536


def test_a_job_that_reads_runs(program: Program) -> None:
    (program.directory / "data").write_bytes(b"x" * 65536)
    ran = program.run("--name=a", "--filename=data", "--size=64k", "--bs=4k", "--rw=randread", "--readonly")
    assert ran.job["read"]["io_kbytes"] == 64


def test_a_job_file_is_refused_for_one_job_of_it(program: Program) -> None:
    program.refuses("--readonly", job="[r]\nioengine=null\nsize=4k\nrw=read\n[w]\nioengine=null\nsize=4k\nrw=write\n")

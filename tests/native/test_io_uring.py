"""io_uring at the depths and in the accidents that other tests do not reach."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.requires_io_uring

BLOCK = 4096
BLOCKS = 4096

# In a process of its own: the limit on file sizes makes writes fail, and holds for the whole process.
PROGRAM = """
import json, os, resource, signal, sys
from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import StatsPage
path, limit, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fd = os.open(path, os.O_RDWR)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
page = StatsPage.create()
Job(JobOptions(**{"ioengine": "io_uring", **options}).native(), page, [(fd, os.fstat(fd).st_size)]).run()
print(json.dumps([[page.errors(ddir) for ddir in range(4)], page.total_errors, page.text, page.oldest_inflight_ns()]))
"""


def failing_writes(tmp_path: Path, first_bad_block: int, **options: Any) -> list[Any]:
    """What a page says of a job whose writes behind a block fail: errors, their total, text, age of the oldest I/O."""
    path = tmp_path / "data"
    path.write_bytes(bytes(BLOCK * BLOCKS))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, str(first_bad_block * BLOCK), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    answer: list[Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("iodepth", [1, 8, 64, 1024, 4096])
@pytest.mark.parametrize("rw", ["write", "randwrite"])
@pytest.mark.parametrize("fsync", [0, 8])
def test_an_error_ends_a_job_of_any_depth(tmp_path: Path, rw: str, iodepth: int, fsync: int) -> None:
    (_, writes, _, syncs), total, text, age_ns = failing_writes(tmp_path, 2000, rw=rw, iodepth=iodepth, fsync=fsync)
    # All that were in flight behind the limit may fail; what was taken back is no error of the disk.
    assert list(writes) == [str(errno.EFBIG)]
    assert 1 <= writes[str(errno.EFBIG)] <= iodepth
    assert syncs == {}
    assert total == writes[str(errno.EFBIG)]
    assert text.endswith("File too large (EFBIG)")
    assert age_ns == 0


def test_errors_passed_over_at_the_greatest_depth_are_all_counted(tmp_path: Path) -> None:
    (_, writes, _, _), total, text, _ = failing_writes(
        tmp_path, 1000, rw="randwrite", iodepth=4096, continue_on_error="write"
    )
    assert writes == {str(errno.EFBIG): BLOCKS - 1000}
    assert (total, text) == (BLOCKS - 1000, "")

"""The benchmark of an agent with many disks, with few of them: it says what it is to say, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import free_port, wait_until

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "agent_scale.py"
BLKIO = Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device")
PHASES = ("under load", "1 disk hung", "10 disks hung", "at rest, scraped each second", "at rest")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.requires_root,
    pytest.mark.requires_loop,
    pytest.mark.requires_mkfs,
    pytest.mark.requires_zram,
    pytest.mark.skipif(not BLKIO.exists(), reason="needs the blkio controller of cgroup v1"),
]


def traces_of(directory: Path) -> list[str]:
    """What the kernel still has of files under it."""
    loops = [file.read_text().strip() for file in Path("/sys/class/block").glob("loop*/loop/backing_file")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [text for text in (*loops, *mounts) if str(directory) in text]


def zrams() -> set[str]:
    return {device.name for device in Path("/sys/class/block").glob("zram*")}


@pytest.fixture
def benchmark(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(BENCHMARK), "--disks", "8", "--zram", "1", "--duration", "20"]
    process = subprocess.Popen(
        [*command, "--port", str(free_port()), "--directory", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def test_a_short_run_measures_all_phases_and_removes_what_it_made(
    benchmark: subprocess.Popen[str], tmp_path: Path
) -> None:
    before = zrams()
    output, _ = benchmark.communicate(timeout=280)
    assert benchmark.returncode == 0, output
    table = output.rpartition("minutes.\n\n")[2]
    head, _, *rows = table.split("\n\n")[0].splitlines()
    assert head == f"| 8 disks, 32 probes on them | {' | '.join(PHASES)} |"
    told = {row.split(" | ")[0].removeprefix("| "): row.removesuffix(" |").split(" | ")[1:] for row in rows}
    assert all(len(cells) == len(PHASES) for cells in told.values()), output
    assert all(cell.endswith(" 0 failed") for cell in told["scrapes"]), output
    # Few disks have few runs in so short a time, but one or the other.
    assert any(cell != "—" for cell in told["starts of all within 0.05, 1, 10 s"]), output
    assert "MISSED" not in output.splitlines()[-1], "so few disks are no load"
    assert not traces_of(tmp_path)
    assert zrams() <= before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("traces", [1, 6, 10], ids=["at its first disk", "at its disks", "with all of them"])
def test_one_that_is_told_to_end_removes_what_it_made(
    benchmark: subprocess.Popen[str], tmp_path: Path, traces: int
) -> None:
    before = zrams()
    wait_until(lambda: len(traces_of(tmp_path)) >= traces, "its disks", 60.0)
    benchmark.send_signal(signal.SIGINT if traces == 6 else signal.SIGTERM)
    benchmark.communicate(timeout=60)
    assert benchmark.returncode != 0
    assert not traces_of(tmp_path)
    assert zrams() <= before
    assert not list(tmp_path.iterdir())

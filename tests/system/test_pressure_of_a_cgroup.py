"""Pressure as the kernel makes it: a cgroup that waits for a slow disk holds starts back, and lets them go after."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import wait_until

from iovigil.agent import pressure
from iovigil.agent.config import PressureSettings
from iovigil.agent.pressure import BackOff

HYBRID = Path("/sys/fs/cgroup/unified")
BLKIO = Path("/sys/fs/cgroup/blkio")
MIB = 1 << 20


@pytest.fixture
def groups() -> Iterator[tuple[Path, Path]]:
    """A cgroup that counts pressure and one that slows down a disk, made for one test."""
    if os.geteuid() != 0 or not (HYBRID / "cgroup.procs").exists() or not (BLKIO / "cgroup.procs").exists():
        pytest.skip("needs root and the cgroups of both versions")
    name = f"iovigil-test-{os.getpid()}"
    made = (HYBRID / name, BLKIO / name)
    with contextlib.ExitStack() as stack:
        for directory in made:
            directory.mkdir()
            stack.callback(remove, directory)
        if not (made[0] / "io.pressure").exists():
            pytest.skip("this kernel has no PSI")
        yield made


def remove(directory: Path) -> None:
    """A cgroup can go as soon as its last process is gone."""
    for _ in range(100):
        try:
            directory.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


@pytest.mark.slow
@pytest.mark.requires_loop
def test_a_cgroup_that_waits_for_its_disk_holds_starts_back(
    groups: tuple[Path, Path], loop_device: Callable[..., Path]
) -> None:
    device = loop_device(16 * MIB)
    number = device.stat().st_rdev
    counting, slowing = groups
    (slowing / "blkio.throttle.read_iops_device").write_text(f"{os.major(number)}:{os.minor(number)} 10")
    settings = PressureSettings(hold_some=0, hold_full=25, resume_full=10, cgroups=(str(counting),))
    files = pressure.sources(settings)[1:]  # the host's own is that of everybody who tests on it
    back_off = BackOff(settings)

    def is_held() -> bool:
        back_off.note(pressure.read(files), time.monotonic())
        return back_off.is_active(time.monotonic())

    assert not is_held()
    script = f"echo $$ > {counting}/cgroup.procs; echo $$ > {slowing}/cgroup.procs; exec dd if={device} of=/dev/null"
    reader = subprocess.Popen(
        ["sh", "-c", f"{script} bs=4k iflag=direct"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(is_held, "pressure of a reader that waits", 40)
        assert pressure.read(files).full >= 10
    finally:
        (slowing / "blkio.throttle.read_iops_device").write_text(f"{os.major(number)}:{os.minor(number)} 0")
        reader.kill()
        reader.wait(20)
    assert is_held(), "an average of ten seconds does not fall at once"
    wait_until(lambda: not is_held(), "pressure to fall", 40)
    assert pressure.read(files).full < 10

"""How idle CPUs are, beside what the kernel's own accounts say of the same time."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_until

import iovigil
from iovigil.agent import idle_cpu
from iovigil.agent.idle_cpu import Idleness, IdleProfile, ProfileError

SOURCE = Path(iovigil.__file__).parents[1]
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
WINDOW_S = 1.0


def busy_s() -> dict[int, float]:
    """CPU time that was used on each CPU, by anybody."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            found[int(name[3:])] = (user + nice + system + irq + softirq + steal) * TICK_S
    return found


def spinning_s(pid: int) -> dict[int, float]:
    """CPU time of the profile's own threads, by the CPU that each is pinned to."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        if task.name != str(pid):
            found[int(fields[36])] = (int(fields[11]) + int(fields[12])) * TICK_S
    return found


@contextlib.contextmanager
def busy(cpu: int) -> Iterator[None]:
    """Something that keeps a CPU busy."""
    program = f"import os; os.sched_setaffinity(0, [{cpu}]); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", program], stdout=subprocess.PIPE) as hog:
        assert hog.stdout is not None
        hog.stdout.readline()
        try:
            yield
        finally:
            hog.kill()


async def profile() -> tuple[Idleness, dict[int, float]]:
    """What the profile found, and what the kernel's accounts leave to be idle, in per cent of the same time."""
    running = await IdleProfile.start()
    try:
        pid = running.pid
        busy_before, own_before, began = busy_s(), spinning_s(pid), time.monotonic()
        running.begin()
        await asyncio.sleep(WINDOW_S)
        busy_after, own_after, took_s = busy_s(), spinning_s(pid), time.monotonic() - began
        found = await running.end()
    finally:
        await running.close()
    others_s = {cpu: (busy_after[cpu] - busy_before[cpu]) - (own_after[cpu] - own_before[cpu]) for cpu in own_before}
    return found, {cpu: 100 * (1 - used_s / took_s) for cpu, used_s in others_s.items()}


def test_it_agrees_with_the_kernels_accounts() -> None:
    busy_cpu = min(os.sched_getaffinity(0))
    with busy(busy_cpu):
        found, expected = asyncio.run(profile())
    assert {cpu for cpu, _ in found.cpus} == expected.keys()
    for cpu, idle in found.cpus:
        # The kernel counts in ticks, and a unit of work takes longer while others empty the caches.
        assert idle == pytest.approx(expected[cpu], abs=25)
    assert dict(found.cpus)[busy_cpu] < 25
    assert found.unit_mean_us > 0


def test_a_calibration_alone_tells_the_unit() -> None:
    found = asyncio.run(idle_cpu.calibrate())
    assert len(found.units_us) == len(os.sched_getaffinity(0))
    assert found.cpus == ()
    assert [line.split(":")[0] for line in found.lines("calibrate")] == ["CPU idleness", "  unit work"]


def test_the_spinners_have_the_lowest_priority_and_a_cpu_each() -> None:
    async def look() -> list[tuple[int, str]]:
        running = await IdleProfile.start()
        try:
            tasks = [task for task in Path(f"/proc/{running.pid}/task").iterdir() if task.name != str(running.pid)]
            return [
                (os.sched_getscheduler(int(task.name)), str(sorted(os.sched_getaffinity(int(task.name)))))
                for task in tasks
            ]
        finally:
            await running.close()

    found = asyncio.run(look())
    assert {policy for policy, _ in found} == {os.SCHED_IDLE}
    assert len({cpus for _, cpus in found}) == len(found)


def test_they_die_with_their_parent() -> None:
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(SOURCE)!r})
from iovigil.agent.idle_cpu import IdleProfile
async def main():
    running = await IdleProfile.start()
    running.begin()
    print(running.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the spinners are gone")


def test_a_profile_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(idle_cpu, "PROGRAM", tmp_path / "missing.py")
    with pytest.raises(ProfileError, match=r"--idle-prof: .*missing\.py"):
        asyncio.run(idle_cpu.calibrate())


def test_the_figures_are_spelled_as_fio_does() -> None:
    found = Idleness(((0, 25.0), (1, 75.0)), (1.0, 2.0))
    assert list(found.lines("percpu")) == [
        "CPU idleness:",
        "  system: 50.00%",
        "  percpu: 25.00%, 75.00%",
        "  unit work: mean=1.50us, stddev=0.71",
    ]
    assert list(found.document("percpu")) == ["system", "cpu-0", "cpu-1", "unit_mean", "unit_stddev"]
    assert list(found.document("system")) == ["system", "unit_mean", "unit_stddev"]

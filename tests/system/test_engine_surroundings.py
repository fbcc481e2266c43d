"""What surrounds a job in its child, seen from outside: CPUs, user, priorities, control group, scheduler, pre-read."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engine_runs import MIB, READ, data_file, job_options, run_job, running
from processes import wait_until

import iovigil
from iovigil.agent import order
from iovigil.agent.config import DiskSettings
from iovigil.agent.worker import Exit, Worker
from iovigil.engines import exit_status, ioscheduler
from iovigil.engines.clock import Clock
from iovigil.engines.stats import Counter, RunState, StatsPage

SOURCE = Path(iovigil.__file__).parents[1]
CPUS = sorted(os.sched_getaffinity(0))
LONG: dict[str, Any] = {"rw": "randread", "time_based": 1, "runtime": "10s", "rate_iops": 100}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", MIB)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.requires_root
def test_everything_at_once_is_where_it_was_put(path: Path) -> None:
    options = msgspec.structs.replace(
        job_options(**LONG), cpus_allowed=(CPUS[-1],), nice=7, prio=6, lockmem=MIB, uid=65534, gid=65533
    )
    with running(path, options=options) as job:
        job.wait_for_ios(READ)
        status = status_of(job.pid)
        assert status["Cpus_allowed_list"] == str(CPUS[-1])
        assert status["Uid"].split() == ["65534"] * 4
        assert status["Gid"].split() == ["65533"] * 4
        assert int(status["VmLck"].split()[0]) >= 1024
        fields = Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()
        assert int(fields[16]) - os.getpriority(os.PRIO_PROCESS, 0) == 7
        asked = subprocess.run(
            ["ionice", "-p", str(job.pid)], capture_output=True, text=True, check=True, timeout=10
        ).stdout
        assert asked.strip() == "best-effort: prio 6"


@pytest.mark.requires_root
def test_a_child_of_another_user_can_be_stopped(path: Path) -> None:
    with running(path, **LONG, uid=65534, gid=65534) as job:
        job.wait_for_ios(READ)
        job.stop()
        done = job.outcome()
    assert done.status == exit_status.OK, done.show()
    assert done.page.usage.max_rss_bytes > 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cpus_allowed": (4000,)}, "cpus_allowed: CPU 4000 is not to be had; online are "),
        ({"numa_cpu_nodes": (999,)}, "numa_cpu_nodes: there is no node 999; there are "),
        ({"numa_mem_policy": ("bind", (999,))}, "numa_mem_policy: there is no node 999; there are "),
        ({"cgroup": "../above"}, "cgroup: '../above' is no name of a group below our own"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_failed_setup(path: Path, options: dict[str, Any], text: str) -> None:
    done = run_job(path, options=msgspec.structs.replace(job_options(rw="read"), **options))
    assert done.status == exit_status.SETUP_FAILED
    (message,) = done.messages
    assert message.startswith(f"error: {text}")
    assert done.page.text == message.removeprefix("error: ")
    assert done.ios(READ) == 0


def test_a_target_read_before_is_in_the_page_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    # One I/O alone: what else is cached, the reading before the job has brought in.
    done = run_job(path, rw="read", number_ios=1, pre_read=1)
    assert done.status == exit_status.OK, done.show()
    assert done.ios(READ) == 1
    assert cached_pages(path) == MIB // 4096
    run_job(path, rw="read", number_ios=1)
    assert cached_pages(path) < MIB // 4096


def cached_pages(path: Path) -> int:
    """As util-linux's fincore counts them."""
    asked = subprocess.run(
        ["fincore", "--noheadings", "--output", "PAGES", path], capture_output=True, text=True, check=True, timeout=10
    )
    return int(asked.stdout)


@pytest.mark.requires_loop
def test_a_target_that_ends_early_fails_its_pre_read(tmp_path: Path, loop_device: Callable[..., Path]) -> None:
    device = loop_device(8 * MIB)
    (image,) = tmp_path.glob("loop-*.img")
    os.truncate(image, 4 * MIB)
    done = run_job(device, rw="read", pre_read=1)
    assert done.status == exit_status.JOB_FAILED
    assert done.messages[-1].startswith("error: pre_read at offset 4194304: Input/output error (EIO)")
    assert done.page.is_complete
    assert done.ios(READ) == 0
    assert done.page.errors(READ) == {5: 1}


def test_a_stop_ends_the_pre_read(tmp_path: Path) -> None:
    # Sparse: it takes long enough to be stopped in the middle, and no space.
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 << 30)
    with running(large, rw="read", pre_read=1, number_ios=1) as job:
        wait_until(lambda: job.page.state == RunState.PRE_READING or job.has_ended(), "it reads before the job")
        job.stop()
        done = job.outcome()
    assert done.status == exit_status.OK, done.show()
    assert done.took_s < 10


@pytest.fixture
def unreleased(path: Path) -> Iterator[tuple[Worker, StatsPage]]:
    """A child that nobody has let start yet."""
    disk = DiskSettings(name="disk", file=str(path))
    options = job_options(rw="read")
    page = StatsPage.create()
    page.calibrate(Clock().source())
    worker = Worker.spawn(order.order(disk, options, options.ioengine, is_probe_file=False), page)
    try:
        wait_until(lambda: page.state == RunState.INITIALIZED or worker.reap(), "the job is set up")
        yield worker, page
    finally:
        worker.kill()
        wait_until(worker.reap, "the child is gone")
        worker.close()


def test_a_job_waits_for_its_release(unreleased: tuple[Worker, StatsPage]) -> None:
    worker, page = unreleased
    time.sleep(0.1)
    assert (page.state, page.first_io_ns, worker.reap()) == (RunState.INITIALIZED, 0, None)
    page.release()
    assert wait_until(worker.reap, "the job has ended") == Exit(exit_status.OK)
    assert page.counter(Counter.IOS, READ) == MIB // 4096


@pytest.mark.parametrize("by", ["page", "signal"])
def test_a_job_can_be_stopped_before_its_release(unreleased: tuple[Worker, StatsPage], by: str) -> None:
    worker, page = unreleased
    if by == "page":
        page.request_stop()
    else:
        os.kill(worker.pid, signal.SIGTERM)
    assert wait_until(worker.reap, "the job has ended") == Exit(exit_status.OK)
    assert page.counter(Counter.IOS, READ) == 0


def group_of(pid: int) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def groups() -> Path:
    for place in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (place / "cgroup.controllers").exists():
            return place
    pytest.skip("no control groups of version 2 here")


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for a group that is gone after the test, whatever happened in it."""
    name = f"iovigil-test-{os.getpid()}/{request.node.name[:40]}"
    own = groups() / group_of(os.getpid()).lstrip("/")
    if not os.access(own, os.W_OK):
        pytest.skip("needs leave to make control groups")
    yield name
    for place in (own / name, own / name.partition("/")[0]):
        if place.exists():
            place.rmdir()


def place_of(group: str) -> Path:
    return groups() / group_of(os.getpid()).lstrip("/") / group


@pytest.mark.requires_root
def test_a_child_is_in_its_group_and_the_group_is_gone_after_it(path: Path, group: str) -> None:
    with running(path, **LONG, cgroup=group) as job:
        job.wait_for_ios(READ)
        assert group_of(job.pid).endswith(f"/{group}")
        job.stop()
        assert job.outcome().status == exit_status.OK
    assert not place_of(group).exists()
    assert not place_of(group).parent.exists()


@pytest.mark.requires_root
def test_the_last_job_of_a_group_removes_it(path: Path, group: str) -> None:
    with running(path, **LONG, cgroup=group) as first:
        first.wait_for_ios(READ)
        with running(path, **LONG, cgroup=group) as second:
            second.wait_for_ios(READ)
            first.stop()
            assert first.outcome().messages == ()
            assert group_of(second.pid).endswith(f"/{group}")
            second.stop()
            assert second.outcome().messages == ()
    assert not place_of(group).exists()


@pytest.mark.requires_root
@pytest.mark.parametrize("keeps", ["by option", "not ours"])
def test_a_group_stays_when_it_is_to_stay(path: Path, group: str, keeps: str) -> None:
    if keeps == "not ours":
        place_of(group).mkdir(parents=True)
    done = run_job(path, rw="read", number_ios=1, cgroup=group, cgroup_nodelete=int(keeps == "by option"))
    assert done.status == exit_status.OK, done.show()
    assert place_of(group).is_dir()


@pytest.mark.requires_root
def test_the_agent_discards_the_group_of_a_killed_child(path: Path, group: str) -> None:
    from iovigil.engines import cgroup

    with running(path, **LONG, cgroup=group) as job:
        job.wait_for_ios(READ)
        job.kill()
        job.outcome()
    assert place_of(group).exists()
    assert cgroup.discard(group) == ""
    assert not place_of(group).exists()


@pytest.mark.requires_root
def test_a_user_without_groups_of_its_own_is_told_what_gives_them(path: Path, group: str) -> None:
    done = run_job(path, rw="read", cgroup=group, uid=65534)
    assert done.status == exit_status.SETUP_FAILED
    assert done.page.text.endswith("Permission denied; systemd gives a service its own groups with Delegate=yes")


@pytest.mark.requires_root
def test_a_weight_needs_the_io_controller(path: Path, group: str) -> None:
    if "io" in (groups() / "cgroup.controllers").read_text().split():
        pytest.skip("version 2 has the io controller here")
    done = run_job(path, rw="read", cgroup=group, cgroup_weight=200)
    assert done.status == exit_status.SETUP_FAILED
    assert "cgroup_weight: the io controller is not in version 2's hierarchy here" in done.page.text
    assert not place_of(group).exists()


def scheduler(device: Path) -> str:
    text = Path(f"/sys/block/{device.name}/queue/scheduler").read_text()
    return text.partition("[")[2].partition("]")[0]


def other_scheduler(device: Path) -> str:
    words = Path(f"/sys/block/{device.name}/queue/scheduler").read_text().split()
    if not (others := [word for word in words if not word.startswith("[")]):
        pytest.skip("there is only one scheduler")
    return others[0]


@pytest.mark.requires_loop
def test_the_scheduler_is_switched_and_put_back(loop_device: Callable[..., Path]) -> None:
    device = loop_device(8 * MIB)
    before, wanted = scheduler(device), other_scheduler(device)
    with running(device, **LONG, ioscheduler=wanted) as first:
        first.wait_for_ios(READ)
        assert scheduler(device) == wanted
        with running(device, **LONG, ioscheduler=wanted) as second:
            second.wait_for_ios(READ)
            first.stop()
            assert first.outcome().messages == ()
            # The other job still needs it.
            assert scheduler(device) == wanted
            second.stop()
            assert second.outcome().messages == ()
    assert scheduler(device) == before


@pytest.mark.requires_loop
def test_what_a_killed_job_left_is_put_back_by_the_next(loop_device: Callable[..., Path]) -> None:
    device = loop_device(8 * MIB)
    before, wanted = scheduler(device), other_scheduler(device)
    with running(device, **LONG, ioscheduler=wanted) as job:
        job.wait_for_ios(READ)
        job.kill()
        job.outcome()
    assert scheduler(device) == wanted
    done = run_job(device, rw="read", number_ios=1, ioscheduler=wanted)
    assert done.status == exit_status.OK, done.show()
    assert scheduler(device) == before


@pytest.mark.requires_loop
def test_a_scheduler_that_the_kernel_has_not_is_refused(loop_device: Callable[..., Path]) -> None:
    device = loop_device(8 * MIB)
    before = scheduler(device)
    done = run_job(device, rw="read", ioscheduler="elevator")
    assert done.status == exit_status.SETUP_FAILED
    assert f"ioscheduler: {device.name} does not take elevator (Invalid argument): it has " in done.page.text
    assert scheduler(device) == before


def made_up_queue(root: Path, fd: int, scheduler: str = "") -> Path:
    """A machine whose disk, seen through its first partition, is behind the descriptor."""
    number = os.fstat(fd).st_dev
    partition = root / "sys/devices/disk/disk1"
    (partition.parent / "queue").mkdir(parents=True)
    partition.mkdir()
    (partition / "partition").write_text("1\n")
    (root / "sys/dev/block").mkdir(parents=True)
    (root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}").symlink_to(partition)
    attribute = partition.parent / "queue/scheduler"
    if scheduler:
        attribute.write_text(scheduler)
    return attribute


def test_a_disk_without_a_scheduler_is_left_alone(path: Path, tmp_path: Path) -> None:
    with path.open("rb") as file:
        made_up_queue(tmp_path, file.fileno())
        switched, notes = ioscheduler.switch("bfq", [file.fileno()], str(tmp_path))
        assert (switched, notes) == ([], ["ioscheduler: disk has no I/O scheduler: nothing was switched"])
        switched, notes = ioscheduler.switch("bfq", [file.fileno()], str(tmp_path / "nothing"))
        assert (switched, notes) == (
            [],
            ["ioscheduler: no single disk is behind the target: nothing was switched"],
        )


def test_the_scheduler_of_a_partition_is_that_of_its_disk(path: Path, tmp_path: Path) -> None:
    with path.open("rb") as file:
        attribute = made_up_queue(tmp_path, file.fileno(), "none [bfq]\n")
        (disk,), notes = ioscheduler.switch("bfq", [file.fileno(), file.fileno()], str(tmp_path))
        assert (disk.disk, notes) == ("disk", [])
        assert disk.restore() == ""
    assert attribute.read_text() == "none [bfq]\n"


def test_start_up_imports_none_of_it_for_a_job_that_needs_none() -> None:
    program = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import iovigil.engines.child; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    loaded = set(done.stdout.split())
    assert "iovigil.engines.child" in loaded
    optional = ("cgroup", "ioscheduler", "placement", "pre_read")
    assert not loaded & {f"iovigil.engines.{name}" for name in optional}
    assert not loaded & {"contextlib", "ctypes", "fcntl", "resource"}

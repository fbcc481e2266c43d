"""A child from spawn to end: what it costs, how it is stopped and killed, and what it does without io_uring."""

import asyncio
import errno
import marshal
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, KIB, MIB, READ, WRITE, data_file, job_options, run_job, running
from processes import wait_until

from iovigil.agent.config import DiskSettings
from iovigil.agent.ledger import Ledger, ProbeEntry
from iovigil.agent.supervisor import Supervisor
from iovigil.agent.worker import LAUNCHER
from iovigil.engines import exit_status
from iovigil.engines.stats import Counter, RunState

BLOCK = 4 * KIB
SIZE = MIB

engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return data_file(tmp_path / "data", SIZE)


def launcher_after(directory: Path, program: str) -> Path:
    """A launcher that does something to its process first, which the real one inherits."""
    script = directory / "launcher.py"
    script.write_text(
        f"{textwrap.dedent(program)}\nimport os, sys\n"
        f"os.execv(sys.executable, [sys.executable, '-I', '-S', {str(LAUNCHER)!r}, *sys.argv[1:]])\n"
    )
    return script


def test_the_first_io_comes_soon_after_the_spawn(path: Path) -> None:
    times_ms = []
    for _ in range(3):
        page = run_job(path, number_ios=1).page
        times_ms.append((page.first_io_ns - page.spawned_ns) / 1e6)
    # A quiet machine needs a tenth of that.
    assert min(times_ms) < 200


@engines
def test_a_child_is_small(path: Path, engine: str) -> None:
    done = run_job(path, rw="randread", ioengine=engine, iodepth=32)
    assert 0 < done.page.usage.max_rss_bytes < 40 * MIB


def test_a_child_holds_its_target_its_page_and_nothing_more(path: Path) -> None:
    with running(path, rw="read", time_based=1, runtime="10s", rate_iops=100) as job:
        job.wait_for_ios(READ)
        descriptors = Path(f"/proc/{job.pid}/fd")
        targets = [str(fd.readlink()) for fd in descriptors.iterdir()]
        assert len(targets) == 5
        assert str(path) in targets
        assert os.getsid(job.pid) == job.pid
        limits = Path(f"/proc/{job.pid}/limits").read_text()
        assert "Max core file size        0" in limits


@pytest.mark.parametrize(("direct", "is_set"), [(0, False), (1, True)])
def test_direct_means_o_direct(path: Path, direct: int, is_set: bool) -> None:
    with running(path, rw="read", time_based=1, runtime="10s", rate_iops=100, direct=direct) as job:
        job.wait_for_ios(READ)
        (fd,) = [fd.name for fd in Path(f"/proc/{job.pid}/fd").iterdir() if str(fd.readlink()) == str(path)]
        (flags,) = [
            int(line.split()[1], 8)
            for line in Path(f"/proc/{job.pid}/fdinfo/{fd}").read_text().splitlines()
            if line.startswith("flags")
        ]
        assert bool(flags & os.O_DIRECT) == is_set


def test_the_states_come_in_the_order_of_fios(path: Path) -> None:
    seen: list[RunState] = []
    with running(
        path, rw="randwrite", verify="crc32c", runtime="1200ms", ramp_time="200ms", size="120k", rate_iops="100,100"
    ) as job:
        while not job.has_ended():
            if not seen or seen[-1] != job.page.state:
                seen.append(job.page.state)
            time.sleep(0.002)
    major = [state for state in seen if state in (RunState.RAMP, RunState.RUNNING, RunState.VERIFYING)]
    assert major == [RunState.RAMP, RunState.RUNNING, RunState.VERIFYING]
    assert job.page.state == RunState.EXITED


def test_counters_move_while_the_job_runs(path: Path) -> None:
    with running(path, rw="randrw", time_based=1, runtime="10s", rate_iops="200,200") as job:
        job.wait_for_ios(READ)
        before = [job.page.counter(counter, ddir) for counter in (Counter.IOS, Counter.BYTES) for ddir in (READ, WRITE)]
        time.sleep(0.1)
        after = [job.page.counter(counter, ddir) for counter in (Counter.IOS, Counter.BYTES) for ddir in (READ, WRITE)]
        assert all(b > a for a, b in zip(before, after, strict=True))
        assert job.page.runtime_ns(READ) > 0.05e9


@engines
@pytest.mark.parametrize(
    "options",
    [{}, {"rate_iops": 1}, {"thinktime": "60s"}, {"rw": "randwrite", "verify": "crc32c", "size": "64k"}],
    ids=["busy", "paced", "thinking", "verifying"],
)
def test_sigterm_ends_a_job_within_a_second(path: Path, engine: str, options: dict[str, Any]) -> None:
    options = {"rw": "randread", "time_based": 1, "runtime": "60s", "iodepth": 4, **options}
    with running(path, ioengine=engine, **options) as job:
        job.wait_for_ios(WRITE if options["rw"] == "randwrite" else READ)
        start = time.monotonic()
        job.stop()
        done = job.outcome(5)
        assert time.monotonic() - start < 1
    assert done.status == 0, done.show()
    assert done.page.is_complete
    assert done.page.error == 0
    assert done.page.state == RunState.EXITED
    assert done.page.oldest_inflight_ns() == 0
    assert done.mismatches == {}


def test_the_stop_word_alone_ends_a_job_as_well(path: Path) -> None:
    with running(path, rw="randread", time_based=1, runtime="60s", rate_iops=1) as job:
        job.wait_for_ios(READ)
        job.page.request_stop()
        assert job.outcome(1).page.is_complete


@engines
@pytest.mark.parametrize("rw", ["randread", "randwrite"])
def test_a_killed_child_leaves_a_page_that_can_be_read(path: Path, engine: str, rw: str) -> None:
    ddir = READ if rw == "randread" else WRITE
    with running(path, rw=rw, time_based=1, runtime="60s", ioengine=engine, iodepth=8) as job:
        job.wait_for_ios(ddir, 100)
        job.kill()
        done = job.outcome(5)
    assert done.exit.signal == signal.SIGKILL
    assert done.ios(ddir) >= 100
    assert done.page.state == RunState.RUNNING
    assert not done.page.is_complete


def test_a_file_whose_writer_was_killed_has_whole_good_blocks(path: Path) -> None:
    with running(path, rw="write", verify="crc32c", bs="4k", rate_iops="0,500") as job:
        job.wait_for_ios(WRITE, 100)
        job.kill()
        written = job.outcome(5).ios(WRITE)
    done = run_job(path, rw="read", verify="crc32c", size=written * BLOCK)
    assert done.status == 0, done.show()


PARENT = """
import os, sys, time
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
from engine_runs import running
with running(Path(sys.argv[2]), rw="randread", time_based=1, runtime="60s", ioengine=sys.argv[3]) as job:
    job.wait_for_ios(0)
    print(job.pid, flush=True)
    time.sleep(60)
"""


@engines
def test_a_child_dies_with_its_agent(path: Path, engine: str) -> None:
    here = Path(__file__).parent
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(here), str(path), engine], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
    finally:
        parent.kill()
        parent.communicate(timeout=10)
    wait_until(lambda: state_of(pid) in ("", "Z"), "the child is gone", 2)


def state_of(pid: int) -> str:
    """The letter of a process's state, empty without a process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def refusing(call: int, error: int) -> str:
    """A program after which a system call fails with an errno."""
    return f"""
    import ctypes, struct
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    # Load the number of the system call; if it is the one: errno, else allow.
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, {call}), (0x06, 0, 0, 0x00050000 | {error}), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = Program(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP
"""


FORBID_IO_URING = refusing(425, errno.EPERM)  # io_uring_setup, everywhere
IO_SETUP = {"x86_64": 206, "aarch64": 0}


def test_a_host_that_forbids_io_uring_is_told_apart(path: Path, tmp_path: Path) -> None:
    launcher = launcher_after(tmp_path, FORBID_IO_URING)
    done = run_job(path, rw="randread", ioengine="io_uring", launcher=launcher)
    assert done.status == exit_status.ENGINE_UNAVAILABLE
    assert done.page.text == "io_uring is not to be had on this host: Operation not permitted"
    assert done.messages == (f"error: {done.page.text}",)
    assert not done.page.is_complete
    assert run_job(path, rw="randread", ioengine="psync", launcher=launcher).status == 0


@pytest.mark.skipif(os.uname().machine not in IO_SETUP, reason="the number of io_setup is not known here")
def test_a_host_without_room_for_more_asynchronous_io_says_what_to_change(path: Path, tmp_path: Path) -> None:
    launcher = launcher_after(tmp_path, refusing(IO_SETUP[os.uname().machine], errno.EAGAIN))
    done = run_job(path, rw="randread", ioengine="libaio", iodepth=7, launcher=launcher)
    assert done.status == exit_status.ENGINE_UNAVAILABLE
    most = Path("/proc/sys/fs/aio-max-nr").read_text().strip()
    assert f"of fs.aio-max-nr = {most} places " in done.page.text
    assert "and iodepth asks for 7; raise it with `sysctl fs.aio-max-nr=N`, or lower iodepth" in done.page.text


def test_the_agent_goes_on_with_the_next_engine_where_io_uring_is_forbidden(tmp_path: Path) -> None:
    options = job_options(rw="randread", ioengine="io_uring", number_ios=10, randrepeat=0)
    entry = ProbeEntry(
        disk="disk", probe="latency", options=options, interval_s=10, timeout_s=10, engine=options.ioengine
    )
    supervisor = Supervisor(Ledger(), 1, launcher=launcher_after(tmp_path, FORBID_IO_URING))
    disk = DiskSettings(name="disk", file=str(tmp_path / "probe"), size=SIZE)
    result = asyncio.run(asyncio.wait_for(supervisor.run(disk, entry), 20))
    assert result.is_success, result.message
    assert (result.engine, entry.engine, entry.fallbacks) == ("psync", "psync", 1)
    assert result.page.counter(Counter.IOS, READ) == 10


# Root may lock what it likes unless the capability is taken from it.
SCARCE_LOCKED_MEMORY = """
    import ctypes, resource
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    assert ctypes.CDLL(None).prctl(24, 14, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_IPC_LOCK
"""


@pytest.mark.requires_io_uring
@pytest.mark.requires_root
def test_without_memory_to_lock_io_uring_works_and_warns(path: Path, tmp_path: Path) -> None:
    launcher = launcher_after(tmp_path, SCARCE_LOCKED_MEMORY)
    done = run_job(path, rw="randread", ioengine="io_uring", iodepth=64, launcher=launcher)
    assert done.status == 0, done.show()
    assert done.bytes(READ) == SIZE
    warnings = [message for message in done.messages if message.startswith("warning: io_uring: ")]
    assert "warning: io_uring: buffers not registered: Cannot allocate memory; raise RLIMIT_MEMLOCK" in warnings


@pytest.mark.requires_io_uring
@pytest.mark.parametrize("rw", ["randread", "randwrite", "write"])
@pytest.mark.parametrize("iodepth", [64, 1000, 4096])
def test_all_depths_are_served(path: Path, rw: str, iodepth: int) -> None:
    done = run_job(path, rw=rw, ioengine="io_uring", iodepth=iodepth, bs=512, loops=3)
    assert done.status == 0, done.show()
    assert done.ios(READ if rw == "randread" else WRITE) == 3 * SIZE // 512
    assert done.page.oldest_inflight_ns() == 0


def test_a_job_without_target_and_size_is_told_what_to_set() -> None:
    done = run_job(None, ioengine="null", rw="read")
    assert done.status == exit_status.SETUP_FAILED
    assert done.messages == ("error: size: 0 bytes have no room for one block of 4096; set size",)
    assert run_job(None, ioengine="null", rw="read", size="1m").ios(READ) == 256


def test_the_limit_on_memory_is_obeyed_with_a_message(path: Path) -> None:
    options = job_options(rw="read", bs="1m", iodepth=256, ioengine="io_uring")
    done = run_job(path, options=options, limits={"memory_bytes": 200 * MIB})
    assert done.status == exit_status.SETUP_FAILED
    assert len(done.messages) == 1
    assert "Cannot allocate memory" in done.messages[0] or "out of memory" in done.messages[0]


def test_a_child_that_burns_more_cpu_than_allowed_is_killed() -> None:
    """The last line of defence against a loop that has lost its way."""
    done = run_job(
        None, ioengine="null", rw="read", size="1m", time_based=1, runtime="30s", limits={"cpu_s": 1}, deadline_s=10
    )
    assert done.exit.signal == signal.SIGKILL
    assert not done.page.is_complete


def test_the_clock_of_the_job_is_that_of_the_agent(path: Path) -> None:
    before = time.monotonic_ns()
    page = run_job(path).page
    assert before - 1_000_000 < page.first_io_ns < page.ended_ns < time.monotonic_ns() + 1_000_000
    assert page.epoch_ns >= page.first_io_ns - 1_000_000


def test_a_child_that_cannot_even_begin_says_so_in_one_line() -> None:
    order, page = os.memfd_create("order"), os.memfd_create("not-a-page")
    child = LAUNCHER.parent.parent / "engines" / "child.py"
    os.write(order, marshal.dumps({"parent_pid": os.getpid()}))
    ended = subprocess.run(
        [sys.executable, "-I", "-S", child, str(order), str(page), "-1"],
        pass_fds=(order, page), capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    os.close(order)
    os.close(page)
    assert ended.returncode == exit_status.JOB_FAILED
    assert ended.stderr.startswith("error: child: ValueError: stats page: 0 bytes, expected ")
    assert ended.stderr.count("\n") == 1

"""What every I/O engine owes the loop, asked of each directly: whatever is queued comes back once, with its result."""

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_io_uring import failing_writes

import iovigil
from iovigil.engines.options import JobOptions

READ, WRITE, TRIM, SYNC, DATASYNC, SYNC_RANGE = range(6)
COMPLETED, QUEUED, BUSY = range(3)
BLOCK = 4096
BLOCKS = 64
SOURCES = Path(iovigil.__file__).parent.parent

BUILD = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup
source, sources, build = sys.argv[1:]
setup(ext_modules=cythonize([Extension("engine_driver", [source])], include_path=[sources], build_dir=build,
                            compiler_directives={"language_level": 3}, quiet=True),
      script_args=["-q", "build_ext", "--build-lib", build, "--build-temp", build])
"""

requires_io_uring = pytest.mark.requires_io_uring
PLAIN = ("psync", "sync", "pvsync2")
QUEUEING: list[tuple[str, dict[str, Any]]] = [
    ("libaio", {}),
    ("libaio", {"userspace_reap": True}),
    ("posixaio", {}),
    ("io_uring", {}),
    ("io_uring", {"fixedbufs": False}),
    ("io_uring", {"registerfiles": False}),
    ("io_uring", {"nonvectored": False, "registerfiles": False}),
    ("io_uring", {"force_async": 3}),
    ("io_uring", {"sqthread_poll": True}),
    ("io_uring", {"sqthread_poll": True, "sqthread_poll_cpu": 0, "registerfiles": False}),
]


def engine_parameter(name: str, options: dict[str, Any]) -> Any:
    label = "-".join([name, *(f"{option}={int(value)}" for option, value in options.items())])
    return pytest.param(name, options, id=label, marks=requires_io_uring if name == "io_uring" else ())


queueing = pytest.mark.parametrize(("name", "options"), [engine_parameter(*one) for one in QUEUEING])
engines = pytest.mark.parametrize(
    ("name", "options"), [engine_parameter(name, {}) for name in PLAIN] + [engine_parameter(*one) for one in QUEUEING]
)


@pytest.fixture(scope="session")
def driver_class(tmp_path_factory: pytest.TempPathFactory) -> Any:
    build = tmp_path_factory.mktemp("engine_driver")
    # A copy: Cython names the module by where its source is among packages.
    source = build / "engine_driver.pyx"
    source.write_text(Path(__file__).with_name("engine_driver.pyx").read_text())
    done = subprocess.run(
        [sys.executable, "-c", BUILD, source, SOURCES, build], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (binary,) = build.glob("engine_driver.*.so")
    spec = spec_from_file_location("engine_driver", binary)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Driver


@pytest.fixture
def driver(driver_class: Any) -> Iterator[Callable[..., Any]]:
    """`driver(name, files, iodepth, **options)`: that engine, open on these (descriptor, size)."""
    made = []

    def make(name: str, files: list[tuple[int, int]], iodepth: int, bs: int = BLOCK, **options: Any) -> Any:
        native = JobOptions(ioengine=name, iodepth=iodepth, **options).native()
        regions = [(fd, size, 0, size) for fd, size in files]
        made.append(driver_class(import_module(f"iovigil.engines.io.{name}"), regions, iodepth, native, bs))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """`opened(content)`: a descriptor of a new file."""
    fds: list[int] = []

    def make(content: bytes = b"") -> int:
        path = tmp_path / f"data{len(fds)}"
        path.write_bytes(content)
        fds.append(os.open(path, os.O_RDWR))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


@contextlib.contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """A device over this file, for as long as the block lasts."""
    device = command("losetup", "--find", "--show", str(image))
    try:
        yield device
    finally:
        command("losetup", "--detach", device)


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def blocks(first: int = 0) -> bytes:
    """A file whose blocks all differ."""
    return b"".join((first + block).to_bytes(4, "little") * (BLOCK // 4) for block in range(BLOCKS))


def drain(engine: Any, wanted: int) -> list[int]:
    """Reap until so many have come back."""
    came: list[int] = []
    deadline = time.monotonic() + 10
    while len(came) < wanted:
        assert time.monotonic() < deadline, f"only {came} of {wanted} came back"
        came += engine.reap(1, 0, 1.0)
    return came


def do(engine: Any, *request: int) -> int:
    """One I/O from beginning to end, in slot 0: its result."""
    status = engine.queue(0, *request)
    assert status in (COMPLETED, QUEUED)
    if status == QUEUED:
        assert drain(engine, 1) == [0]
    return int(engine.result(0))


@engines
def test_what_is_written_is_what_is_read(
    driver: Callable[..., Any], opened: Callable[..., int], name: str, options: dict[str, Any]
) -> None:
    files = [opened(bytes(BLOCKS * BLOCK)), opened(bytes(BLOCKS * BLOCK))]
    engine = driver(name, [(fd, BLOCKS * BLOCK) for fd in files], 4, **options)
    for file in (1, 0):
        engine.fill(0, bytes([65 + file]) * BLOCK)
        assert do(engine, WRITE, (3 + file) * BLOCK, BLOCK, file) == BLOCK
    assert do(engine, SYNC, 0, 0) == 0
    assert do(engine, DATASYNC, 0, 0, 1) == 0
    for file, fd in enumerate(files):
        assert os.pread(fd, BLOCK, (3 + file) * BLOCK) == bytes([65 + file]) * BLOCK
        assert os.pread(fd, 2 * BLOCK, (4 + file) * BLOCK) == bytes(2 * BLOCK)
        os.pwrite(fd, b"else" * 1024, 7 * BLOCK)
        assert do(engine, READ, 7 * BLOCK, BLOCK, file) == BLOCK
        assert engine.content(0, BLOCK) == b"else" * 1024


@queueing
@pytest.mark.parametrize("iodepth", [1, 2, 32, 64])
def test_a_full_queue_comes_back_once_and_right(
    driver: Callable[..., Any], opened: Callable[..., int], name: str, options: dict[str, Any], iodepth: int
) -> None:
    files = [opened(blocks()), opened(blocks(1000))]
    engine = driver(name, [(fd, BLOCKS * BLOCK) for fd in files], iodepth, **options)
    assert not engine.is_sync
    for first in (0, 17):
        for slot in range(iodepth):
            block = (slot * 5 + first) % BLOCKS
            assert engine.queue(slot, READ, block * BLOCK, BLOCK, slot % 2) == QUEUED
        assert sorted(drain(engine, iodepth)) == list(range(iodepth))
        for slot in range(iodepth):
            block = (slot * 5 + first) % BLOCKS + 1000 * (slot % 2)
            assert engine.result(slot) == BLOCK
            assert engine.content(slot, BLOCK) == block.to_bytes(4, "little") * (BLOCK // 4)
    assert engine.reap(0) == []


@pytest.mark.parametrize(("name", "options"), [*(engine_parameter(*one) for one in QUEUEING), ("null", {})])
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_no_io_is_lost_however_it_is_reaped(
    driver_class: Any, name: str, options: dict[str, Any], data: st.DataObject
) -> None:
    iodepth = data.draw(st.integers(2, 16))
    fd = os.memfd_create("target")
    os.ftruncate(fd, BLOCKS * BLOCK)
    native = JobOptions(ioengine=name, iodepth=iodepth, **options).native()
    size = BLOCKS * BLOCK
    engine = driver_class(import_module(f"iovigil.engines.io.{name}"), [(fd, size, 0, size)], iodepth, native)
    try:
        free, in_flight = set(range(iodepth)), set[int]()
        for _ in range(15):
            for _ in range(data.draw(st.integers(0, len(free)))):
                slot = free.pop()
                ddir = data.draw(st.sampled_from([READ, READ, WRITE, SYNC]))
                assert engine.queue(slot, ddir, BLOCK * slot, BLOCK if ddir != SYNC else 0) == QUEUED
                in_flight.add(slot)
            most = data.draw(st.integers(0, iodepth))
            # More than there are, or more than may be taken, is not waited for.
            wanted = data.draw(st.integers(0, iodepth + 1))
            came = engine.reap(wanted, most, 5.0)
            assert len(set(came)) == len(came)
            assert in_flight.issuperset(came)
            assert len(came) >= min(wanted, most or iodepth, len(in_flight))
            assert not most or len(came) <= most
            in_flight -= set(came)
            free |= set(came)
        assert sorted(drain(engine, len(in_flight))) == sorted(in_flight)
    finally:
        engine.close()
        os.close(fd)


@queueing
def test_the_wait_for_an_io_that_hangs_has_an_end(
    driver: Callable[..., Any], name: str, options: dict[str, Any]
) -> None:
    """A pipe that nobody writes to is the cheapest disk that hangs."""
    if name != "io_uring":
        pytest.skip("io_submit itself waits for a pipe; aio_read needs an offset, which a pipe has not")
    out, into = os.pipe()
    try:
        engine = driver(name, [(out, 0)], 2, **options)
        engine.queue(0, READ, 0, BLOCK)
        start = time.monotonic()
        came = engine.reap(1, 0, 0.1)
        assert 0.09 < time.monotonic() - start < 1
        assert came == []
        os.write(into, b"x" * BLOCK)
        assert drain(engine, 1) == [0]
        assert engine.result(0) == BLOCK
    finally:
        os.close(out)
        os.close(into)


@requires_io_uring
@pytest.mark.parametrize("options", [{}, {"sqthread_poll": True}], ids=str)
def test_what_hangs_is_taken_back(driver: Callable[..., Any], options: dict[str, Any]) -> None:
    out, into = os.pipe()
    try:
        engine = driver("io_uring", [(out, 0)], 2, **options)
        engine.queue(0, READ, 0, BLOCK)
        assert engine.reap(0) == []
        assert engine.cancel(0) == 0
        assert drain(engine, 1) == [0]
        assert engine.result(0) == -errno.ECANCELED
    finally:
        os.close(out)
        os.close(into)


@pytest.mark.parametrize("name", ["libaio", "posixaio"])
def test_what_was_not_submitted_yet_is_taken_back_alone(
    driver: Callable[..., Any], opened: Callable[..., int], name: str
) -> None:
    engine = driver(name, [(opened(blocks()), BLOCKS * BLOCK)], 4)
    for slot in range(4):
        engine.queue(slot, READ, slot * BLOCK, BLOCK)
    assert engine.cancel(1) == 0
    assert sorted(drain(engine, 4)) == [0, 1, 2, 3]
    assert [engine.result(slot) for slot in range(4)] == [BLOCK, -errno.ECANCELED, BLOCK, BLOCK]


@engines
def test_an_io_that_the_kernel_refuses_fails_alone(
    driver: Callable[..., Any], tmp_path: Path, opened: Callable[..., int], name: str, options: dict[str, Any]
) -> None:
    """A file that is open for reading takes no writes."""
    (tmp_path / "read-only").write_bytes(bytes(BLOCK))
    read_only = os.open(tmp_path / "read-only", os.O_RDONLY)
    try:
        engine = driver(name, [(opened(blocks()), BLOCKS * BLOCK), (read_only, BLOCK)], 4, **options)
        statuses = [engine.queue(slot, WRITE, slot * BLOCK, BLOCK, int(slot == 1)) for slot in range(3)]
        drain(engine, statuses.count(QUEUED))
        assert [engine.result(slot) for slot in range(3)] == [BLOCK, -errno.EBADF, BLOCK]
    finally:
        os.close(read_only)


@engines
def test_the_end_of_a_file_is_a_short_read(
    driver: Callable[..., Any], opened: Callable[..., int], name: str, options: dict[str, Any]
) -> None:
    engine = driver(name, [(opened(bytes(BLOCK + 1000)), 2 * BLOCK)], 2, **options)
    assert do(engine, READ, BLOCK, BLOCK) == 1000
    assert do(engine, READ, 2 * BLOCK, BLOCK) == 0


@engines
def test_a_trim_of_a_file_punches_a_hole(
    driver: Callable[..., Any], opened: Callable[..., int], name: str, options: dict[str, Any]
) -> None:
    fd = opened(blocks())
    os.fsync(fd)
    before = os.fstat(fd)
    engine = driver(name, [(fd, BLOCKS * BLOCK)], 2, **options)
    assert do(engine, TRIM, 8 * BLOCK, 16 * BLOCK) == 16 * BLOCK
    assert os.pread(fd, BLOCKS * BLOCK, 0) == blocks()[: 8 * BLOCK] + bytes(16 * BLOCK) + blocks()[24 * BLOCK :]
    assert os.fstat(fd).st_size == before.st_size
    assert os.fstat(fd).st_blocks < before.st_blocks


@engines
def test_a_range_is_synced(
    driver: Callable[..., Any], opened: Callable[..., int], name: str, options: dict[str, Any]
) -> None:
    out, into = os.pipe()
    flags = (("wait_before", "write", "wait_after"), 8)
    try:
        engine = driver(name, [(opened(blocks()), BLOCKS * BLOCK), (out, 0)], 2, **options, sync_file_range=flags)
        assert do(engine, WRITE, 0, BLOCK) == BLOCK
        assert do(engine, SYNC_RANGE, 0, 2 * BLOCK) == 0
        assert do(engine, SYNC_RANGE, 0, 0) == 0
        # The call really is made: a pipe has no ranges.
        assert do(engine, SYNC_RANGE, 0, BLOCK, 1) == -errno.ESPIPE
    finally:
        os.close(out)
        os.close(into)


@pytest.mark.parametrize("name", ["libaio", "posixaio"])
def test_a_range_is_not_synced_before_what_was_queued_is_submitted(
    driver: Callable[..., Any], opened: Callable[..., int], name: str
) -> None:
    engine = driver(name, [(opened(blocks()), BLOCKS * BLOCK)], 2)
    assert engine.queue(0, WRITE, 0, BLOCK) == QUEUED
    assert engine.queue(1, SYNC_RANGE, 0, BLOCK) == BUSY
    assert drain(engine, 1) == [0]
    assert engine.queue(1, SYNC_RANGE, 0, BLOCK) == COMPLETED


@pytest.mark.requires_loop
@engines
def test_a_trim_of_a_device_discards(
    driver: Callable[..., Any], tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    image = tmp_path / "image"
    image.write_bytes(blocks())
    with loop_device(image) as device:
        fd = os.open(device, os.O_RDWR | os.O_DIRECT)
        try:
            engine = driver(name, [(fd, BLOCKS * BLOCK)], 2, **options)
            status = engine.queue(0, TRIM, 8 * BLOCK, 16 * BLOCK)
            # A command of the ring's own since Linux 6.12.
            if name == "io_uring" and tuple(map(int, platform.release().split(".")[:2])) >= (6, 12):
                assert status == QUEUED
            if status == QUEUED:
                assert drain(engine, 1) == [0]
            assert engine.result(0) == 16 * BLOCK
            # Beyond the device's end is an error, and no fall-back makes it good.
            assert do(engine, TRIM, BLOCKS * BLOCK, BLOCK) == -errno.EINVAL
        finally:
            os.close(fd)
    assert image.read_bytes() == blocks()[: 8 * BLOCK] + bytes(16 * BLOCK) + blocks()[24 * BLOCK :]


@pytest.mark.parametrize("name", ["libaio", "pvsync2", pytest.param("io_uring", marks=requires_io_uring)])
def test_an_io_that_may_not_wait_fails_where_it_would_have_to(
    driver: Callable[..., Any], opened: Callable[..., int], name: str
) -> None:
    fd = opened(blocks())
    engine = driver(name, [(fd, BLOCKS * BLOCK)], 2, nowait=True)
    assert do(engine, READ, 0, BLOCK) == BLOCK, "it is in the page cache"
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if (result := do(engine, READ, 32 * BLOCK, BLOCK)) == BLOCK:
        pytest.skip("the file system under the tests has no disk")
    assert result == -errno.EAGAIN
    assert "nowait=1" in engine.hint(errno.EAGAIN)


@pytest.mark.parametrize("name", ["pvsync2", pytest.param("io_uring", marks=requires_io_uring)])
def test_an_option_that_the_target_does_not_know_is_named(driver: Callable[..., Any], name: str) -> None:
    """A file in memory has nowhere to drop its pages to."""
    fd = os.memfd_create("target")
    try:
        engine = driver(name, [(fd, BLOCK)], 2, uncached=True)
        assert do(engine, WRITE, 0, BLOCK) == -errno.EOPNOTSUPP
        assert "uncached=1" in engine.hint(errno.EOPNOTSUPP)
        assert engine.hint(errno.EIO) == ""
    finally:
        os.close(fd)


@requires_io_uring
def test_polling_for_what_cannot_be_polled_is_explained(driver: Callable[..., Any], opened: Callable[..., int]) -> None:
    engine = driver("io_uring", [(opened(blocks()), BLOCKS * BLOCK)], 2, hipri=True)
    assert do(engine, READ, 0, BLOCK) == -errno.EOPNOTSUPP
    assert "hipri=1 needs direct=1" in engine.hint(errno.EOPNOTSUPP)
    # What no ring polls for goes by the plain call.
    assert do(engine, SYNC, 0, 0) == 0
    assert do(engine, TRIM, 0, BLOCK) == BLOCK


# Stands between libaio and the kernel: takes one to three I/Os at a time, and every now and then none.
GRUDGING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
long syscall(long number, ...) {
    static long (*real)(long, ...);
    static unsigned calls;
    __builtin_va_list rest;
    long argument[6];
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    __builtin_va_start(rest, number);
    for (int index = 0; index < 6; index++) argument[index] = __builtin_va_arg(rest, long);
    __builtin_va_end(rest);
    if (number == SYS_io_submit) {
        calls++;
        if (calls % 7 == 0) { errno = EAGAIN; return -1; }
        if (calls % 11 == 0) { errno = EINTR; return -1; }
        if (argument[1] > (long)(calls % 3 + 1)) argument[1] = calls % 3 + 1;
    }
    if (number == SYS_io_getevents && ++calls % 5 == 0) { errno = EINTR; return -1; }
    return real(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
"""

JOB = """
import os, sys
from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, StatsPage
fd = os.open(sys.argv[1], os.O_RDWR)
page = StatsPage.create()
options = JobOptions(ioengine="libaio", iodepth=16, rw="randwrite", verify="crc32c", fsync=9)
Job(options.native(), page, [(fd, os.fstat(fd).st_size)]).run()
print(*(page.counter(Counter.IOS, ddir) for ddir in (0, 1, 3)), page.oldest_inflight_ns(), page.text)
"""


def test_libaio_loses_nothing_to_a_kernel_that_takes_a_part(tmp_path: Path) -> None:
    (tmp_path / "grudging.c").write_text(GRUDGING)
    (tmp_path / "data").write_bytes(bytes(512 * BLOCK))
    shim = tmp_path / "grudging.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "grudging.c", "-ldl"], timeout=60, check=True)
    done = subprocess.run(
        [sys.executable, "-c", JOB, tmp_path / "data"],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.split() == ["512", "512", str(512 // 9), "0"], done.stdout + done.stderr


# Stands before the C library's threads: a completion that is to be signalled ends the process.
UNSIGNALLED = r"""
#define _GNU_SOURCE
#include <aio.h>
#include <dlfcn.h>
#include <stdlib.h>
int aio_read(struct aiocb *control) {
    static int (*real)(struct aiocb *);
    if (!real) real = (int (*)(struct aiocb *))dlsym(RTLD_NEXT, "aio_read");
    if (control->aio_sigevent.sigev_notify != SIGEV_NONE) abort();
    return real(control);
}
"""

READS = """
import os, sys
from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, StatsPage
fd = os.open(sys.argv[1], os.O_RDWR)
page = StatsPage.create()
Job(JobOptions(ioengine="posixaio", iodepth=16).native(), page, [(fd, os.fstat(fd).st_size)]).run()
print(page.counter(Counter.IOS, 0), page.text)
"""


def test_posixaio_has_nobody_signalled(tmp_path: Path) -> None:
    """Signal 0 would do no harm but for its three system calls for each I/O."""
    (tmp_path / "unsignalled.c").write_text(UNSIGNALLED)
    (tmp_path / "data").write_bytes(bytes(64 * BLOCK))
    shim = tmp_path / "unsignalled.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "unsignalled.c", "-ldl"], timeout=60, check=True)
    done = subprocess.run(
        [sys.executable, "-c", READS, tmp_path / "data"],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.split() == ["64"], f"{done.returncode} {done.stdout} {done.stderr}"


@pytest.mark.parametrize("wanted", [1, 3, 8])
def test_posixaio_waits_for_as_many_as_are_wanted(
    driver: Callable[..., Any], opened: Callable[..., int], wanted: int
) -> None:
    """Of one file they come in order, of two they may not."""
    for files in ([opened(blocks())], [opened(blocks()), opened(blocks())]):
        engine = driver("posixaio", [(fd, BLOCKS * BLOCK) for fd in files], 8)
        for slot in range(8):
            engine.queue(slot, READ, slot * BLOCK, BLOCK, slot % len(files))
        came: list[int] = []
        while len(came) < 8:
            taken = engine.reap(min(wanted, 8 - len(came)))
            assert len(taken) >= min(wanted, 8 - len(came))
            came += taken
        assert sorted(came) == list(range(8))


def test_a_random_job_on_a_mapping_reads_nothing_beside_its_blocks(
    driver: Callable[..., Any], opened: Callable[..., int]
) -> None:
    fd = opened(blocks())
    os.fsync(fd)
    engine = driver("mmap", [(fd, BLOCKS * BLOCK)], 1, rw="randread")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if cached_blocks(fd):
        pytest.skip("the file system under the tests has no disk")
    assert do(engine, READ, BLOCKS // 2 * BLOCK, BLOCK) == BLOCK
    assert cached_blocks(fd) == [BLOCKS // 2]


def cached_blocks(fd: int) -> list[int]:
    """Which blocks of a file are in the page cache, asked in a way that reads nothing."""
    pages = (ctypes.c_ubyte * BLOCKS)()
    with mmap.mmap(fd, BLOCKS * BLOCK) as mapped:
        start = (ctypes.c_char * len(mapped)).from_buffer(mapped)
        assert ctypes.CDLL(None).mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages) == 0
        del start
    return [block for block in range(BLOCKS) if pages[block] & 1]


@pytest.mark.parametrize(("name", "iodepth"), [("libaio", 1), ("libaio", 8), ("libaio", 1024), ("posixaio", 8)])
@pytest.mark.parametrize("fsync", [0, 8])
def test_writes_that_fail_end_a_job_of_any_depth(tmp_path: Path, name: str, iodepth: int, fsync: int) -> None:
    (_, writes, _, syncs), total, text, age_ns = failing_writes(
        tmp_path, 2000, ioengine=name, rw="randwrite", iodepth=iodepth, fsync=fsync
    )
    assert list(writes) == [str(errno.EFBIG)]
    assert 1 <= writes[str(errno.EFBIG)] == total <= iodepth
    assert syncs == {}
    assert text.endswith("File too large (EFBIG)")
    assert age_ns == 0


@pytest.mark.parametrize("most", [1, 3, 8, 100])
def test_null_gives_back_in_order_what_may_be_taken(driver: Callable[..., Any], most: int) -> None:
    engine = driver("null", [(-1, 0)], 8)
    for slot in range(8):
        assert engine.queue(slot, (READ, TRIM, SYNC)[slot % 3], 0, 0 if slot % 3 == 2 else BLOCK) == QUEUED
    came: list[int] = []
    while len(came) < 8:
        taken = engine.reap(1, most)
        assert len(taken) == min(most, 8 - len(came))
        came += taken
    assert came == list(range(8))
    assert [engine.result(slot) for slot in range(3)] == [BLOCK, BLOCK, 0]

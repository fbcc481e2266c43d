"""The memory of I/O buffers: of the kind that was asked for, aligned, and gone when its owner is."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import huge_pages
import pytest

import iovigil
from iovigil.engines.buffers import Buffers
from iovigil.engines.setup_error import SetupError

PAGE = 4096
HUGE = 2 << 20
SOURCE = Path(iovigil.__file__).parents[1]
SMALL_KINDS = ["malloc", "mmap", "mmapshared", "shm"]


def options(mem: str = "mmap", iomem_align: int = 0, hugepage_size: int = 0) -> dict[str, Any]:
    return {"mem": mem, "iomem_align": iomem_align, "hugepage_size": hugepage_size}


def address(buffers: Buffers) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffers.view()))


def refusal(asked: dict[str, Any], length: int = PAGE, count: int = 1) -> str:
    with pytest.raises(SetupError) as refused:
        Buffers(asked, length, count)
    return str(refused.value)


def mapping(place: int) -> str:
    """The line of /proc/self/maps for the memory at this address; empty if there is none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(bound, 16) for bound in line.split()[0].split("-"))
        if first <= place < last:
            return line
    return ""


def segments() -> list[str]:
    """Ids of the System V segments of this machine."""
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]


@pytest.mark.parametrize("mem", SMALL_KINDS)
@pytest.mark.parametrize("align", [0, 512, PAGE, 65536, HUGE])
@pytest.mark.parametrize(("length", "count"), [(512, 3), (PAGE, 1), (5000, 4)])
def test_every_buffer_is_aligned_and_writable(mem: str, align: int, length: int, count: int) -> None:
    buffers = Buffers(options(mem, align), length, count)
    assert buffers.stride >= length
    assert buffers.size == count * buffers.stride
    for index in range(count):
        assert (address(buffers) + index * buffers.stride) % max(align, PAGE) == 0
    # The last byte too is ours: a fault would end the tests.
    buffers.view()[-1] = 1
    buffers.view()[0] = 1


@pytest.mark.parametrize(
    ("mem", "sign"), [("mmap", " rw-p "), ("mmapshared", " rw-s "), ("shm", "/SYSV00000000"), ("malloc", " rw-p ")]
)
def test_the_kernel_shows_the_kind_of_memory_that_was_asked_for(mem: str, sign: str) -> None:
    buffers = Buffers(options(mem), PAGE, 300)
    assert sign in mapping(address(buffers))


@pytest.mark.parametrize("mem", ["mmap", "mmapshared", "shm"])
def test_memory_is_given_back_with_its_object(mem: str) -> None:
    buffers = Buffers(options(mem, iomem_align=HUGE), HUGE, 3)
    place = address(buffers)
    line = mapping(place)
    del buffers
    assert mapping(place) != line


@pytest.mark.parametrize(("mem", "sign"), [("mmaphuge", "/anon_hugepage"), ("shmhuge", "/SYSV00000000")])
@pytest.mark.parametrize("hugepage_size", [0, HUGE])
def test_huge_pages_are_huge(mem: str, sign: str, hugepage_size: int) -> None:
    with huge_pages.more(2):
        buffers = Buffers(options(mem, 0, hugepage_size), 4 * PAGE, 256)
        assert sign in mapping(address(buffers))
        buffers.view()[-1] = 1
        start = f"{address(buffers):x}-"
        smaps = Path("/proc/self/smaps").read_text()
        assert "KernelPageSize:     2048 kB" in smaps[smaps.index(start) :][:600]
        del buffers
    assert not segments_of_this_process()


def segments_of_this_process() -> list[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[4] == str(os.getpid())]


@pytest.mark.parametrize("mem", ["mmaphuge", "shmhuge"])
def test_too_few_huge_pages_are_counted(mem: str) -> None:
    text = refusal(options(mem), 1 << 40, 1)
    assert text.startswith(f"mem={mem}: needs 524288 huge pages of 2097152 bytes, and ")
    assert "vm.nr_hugepages" in text


@pytest.mark.parametrize("mem", ["mmaphuge", "shmhuge"])
def test_a_length_of_huge_pages_that_the_kernel_has_not_is_refused(mem: str) -> None:
    assert "huge pages of 16384 bytes are not to be had; this kernel has " in refusal(options(mem, 0, 16384))
    assert "hugepage_size: 3000000 is not a power of two" in refusal(options(mem, 0, 3_000_000))


def test_an_alignment_is_a_power_of_two() -> None:
    assert refusal(options(iomem_align=3 * PAGE)) == "iomem_align: 12288 is not a power of two"


@pytest.mark.parametrize("mem", SMALL_KINDS)
def test_more_than_there_can_be_is_refused(mem: str) -> None:
    assert "IO memory too large" in refusal(options(mem), 1 << 62, 4096)
    assert "IO memory too large" in refusal(options(mem), (1 << 64) - 1, (1 << 64) - 1)
    assert f"mem={mem}: " in refusal(options(mem), 1 << 46, 4)


def test_a_killed_process_leaves_no_shared_memory_behind() -> None:
    before = segments()
    program = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
from iovigil.engines.buffers import Buffers
buffers = Buffers({options("shm")}, 4096, 4)
print("ready", flush=True); sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        ours = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        assert [fields for fields in ours if fields[4] == str(child.pid)]
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    assert set(segments()) <= set(before)

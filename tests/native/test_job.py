"""The job's own door: every option has a native field, and what makes no sense is refused by name."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import iovigil
from iovigil.engines.io.base import EngineUnavailable
from iovigil.engines.job import Job
from iovigil.engines.job_options import native_names
from iovigil.engines.options import MAX_IODEPTH, SPECS, JobOptions
from iovigil.engines.setup_error import SetupError
from iovigil.engines.stats import Counter, RunState, StatsPage

READ, WRITE, SYNC = 0, 1, 3
ENGINES = Path(iovigil.__file__).parent / "engines"


def native(**changes: Any) -> dict[str, Any]:
    return JobOptions(**{"ioengine": "null", "size": 1 << 20, **changes}).native()


def run(**changes: Any) -> StatsPage:
    page = StatsPage.create()
    Job(native(**changes), page, []).run()
    return page


def refusal(options: dict[str, Any], target_size: int = 0) -> str:
    with pytest.raises(SetupError) as refused:
        Job(options, StatsPage.create(), [(-1, target_size)])
    return str(refused.value)


def test_every_option_of_the_loop_has_a_native_field() -> None:
    assert {name for name, spec in SPECS.items() if spec.used_by == "loop"} <= native_names()


@pytest.mark.parametrize("name", sorted(native().keys() & native_names()))
def test_an_option_that_is_not_given_is_named(name: str) -> None:
    options = native()
    del options[name]
    assert name in refusal(options)


def test_the_options_of_the_caller_stay_as_they_are() -> None:
    options = native()
    before = dict(options)
    Job(options, StatsPage.create(), [])
    assert options == before


@pytest.mark.parametrize("iodepth", [1, 2, 63, 64, 65, MAX_IODEPTH])
def test_all_depths_do_the_same_work(iodepth: int) -> None:
    page = run(iodepth=iodepth)
    assert page.counter(Counter.IOS, READ) == 256
    assert page.is_complete
    assert page.state == RunState.EXITED


def test_a_job_without_size_and_target_is_told_to_set_one() -> None:
    assert refusal(native(size=0)) == "size: 0 bytes have no room for one block of 4096; set size"


def test_a_region_beyond_the_target_is_refused() -> None:
    assert "beyond the target's" in refusal(native(offset=4096, size=1 << 20), target_size=1 << 20)


def test_the_region_is_what_is_left_behind_the_offset() -> None:
    page = StatsPage.create()
    Job(native(size=0, offset=10 * 4096), page, [(-1, 20 * 4096)]).run()
    assert page.counter(Counter.IOS, READ) == 10


def test_more_memory_than_there_can_be_is_refused() -> None:
    with pytest.raises((SetupError, MemoryError)):
        Job(native(iodepth=4096, bs=(1 << 30,) * 3, size=1 << 40), StatsPage.create(), [])


@pytest.mark.parametrize("bs", [1 << 23, 1 << 24, 1 << 30])
def test_filling_a_device_has_room_for_the_largest_blocks(bs: int) -> None:
    options = native(rw="write", bs=(bs,) * 3, fill_device=True, size=0, number_ios=2)
    page = StatsPage.create()
    Job(options, page, []).run()
    assert page.counter(Counter.IOS, WRITE) == 2


def test_an_engine_that_is_not_there_is_refused() -> None:
    with pytest.raises(OSError, match="ioengine=nosuchengine: there is no such engine"):
        Job(native(ioengine="nosuchengine"), StatsPage.create(), [])


@pytest.mark.requires_io_uring
def test_io_uring_opens_here() -> None:
    fd = os.memfd_create("target")
    os.ftruncate(fd, 1 << 20)
    page = StatsPage.create()
    try:
        Job(native(ioengine="io_uring", iodepth=8), page, [(fd, 1 << 20)]).run()
    except EngineUnavailable as reason:
        pytest.fail(str(reason))
    finally:
        os.close(fd)
    assert page.counter(Counter.BYTES, READ) == 1 << 20


def test_the_child_imports_neither_the_agent_nor_any_library() -> None:
    """Also a promise about its memory and its start."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.argv = ['child']\n"
        "import iovigil.engines.child, iovigil.engines.io.io_uring, iovigil.engines.io.psync\n"
        "print(*sorted(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, ENGINES.parent.parent],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout.split()
    assert "iovigil.engines.job" in found
    foreign = {name.partition(".")[0] for name in found} & {"yaml", "aiohttp", "prometheus_client", "msgspec", "json"}
    assert foreign == set()
    assert not [name for name in found if name.startswith("iovigil.agent")]

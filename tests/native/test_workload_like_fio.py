"""Where fio has a deterministic answer, the next I/O is fio's: its log of offsets beside our draws."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from iovigil.engines.options import JobOptions
from iovigil.engines.workload import Workload

pytestmark = pytest.mark.requires_fio

KIB, MIB = 1024, 1 << 20
Io = tuple[int, int, int]
"""Direction, offset, length."""


def by_fio(tmp_path: Path, *arguments: str, number: int = 1) -> list[Io]:
    """What its job of that number does, with fio's null engine."""
    command = ["fio", "--name=job", "--ioengine=null", "--write_iops_log=log", "--log_offset=1", *arguments]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30, capture_output=True)
    lines = [line.split(", ") for line in (tmp_path / f"log_iops.{number}.log").read_text().splitlines()]
    return [(int(line[2]), int(line[4]), int(line[3])) for line in lines]


def by_us(count: int, length: int, *, start: int = 0, number: int = 1, **options: Any) -> list[Io]:
    workload = Workload(JobOptions(**options).native(), [(start, length)], 1, number)
    return [(ddir, offset, length) for ddir, _, offset, length in workload.draw(count)]


def bs(length: int) -> dict[str, Any]:
    return {"bs": (length,) * 3}


def bsrange(least: int, most: int) -> dict[str, Any]:
    return {"bsrange": ((least, most),) * 3}


def bssplit(*split: tuple[int, int]) -> dict[str, Any]:
    return {"bssplit": (split,) * 3}


STRIDED: dict[str, Any] = {"zonemode": "strided", "zonesize": 16 * KIB, "zonerange": 16 * KIB}
TAUSWORTHE = {"random_generator": "tausworthe"}

# What fio and we are told, and the region.
IN_ORDER: dict[str, tuple[str, int, dict[str, Any]]] = {
    "in order": ("--rw=read --bs=4k --size=128k", 128 * KIB, {"rw": "read"}),
    "a size that is no multiple of bs": ("--rw=read --bs=4k --size=30k", 30 * KIB, {"rw": "read"}),
    "a stride": ("--rw=read:512k --bs=1m --size=128m", 128 * MIB, {"rw": f"read:{512 * KIB}", **bs(MIB)}),
    "a stride that divides the region": ("--rw=read:4k --bs=4k --size=64k", 64 * KIB, {"rw": "read:4096"}),
    "a stride that does not": ("--rw=read:3k --bs=4k --size=64k", 64 * KIB, {"rw": "read:3072"}),
    "a stride beyond the end": ("--rw=read:6k --bs=4k --size=64k", 64 * KIB, {"rw": "read:6144"}),
    "backwards": ("--rw=read:-8k --bs=4k --size=64k", 64 * KIB, {"rw": "read:-8192"}),
    "backwards with gaps": ("--rw=read:-12k --bs=4k --size=64k", 64 * KIB, {"rw": "read:-12288"}),
    "backwards, overlapping": (
        "--rw=read:-13k --bs=8k --size=64k",
        64 * KIB,
        {"rw": "read:-13312", **bs(8192)},
    ),
    "forwards, overlapping": ("--rw=read:-4k --bs=8k --size=64k", 64 * KIB, {"rw": "read:-4096", **bs(8192)}),
    "the same block": ("--rw=read:-4k --bs=4k --size=64k", 64 * KIB, {"rw": "read:-4096"}),
    "bsrange": ("--rw=read --bsrange=1k-16k --size=100k", 100 * KIB, {"rw": "read", **bsrange(1024, 16384)}),
    "bsrange to no multiple": ("--rw=read --bsrange=3k-10k --size=200k", 200 * KIB, bsrange(3072, 10240)),
    "bsrange that does not divide": ("--rw=read --bsrange=512-4096 --size=20000", 20_000, bsrange(512, 4096)),
    "bs_unaligned": (
        "--rw=read --bsrange=1k-5k --bs_unaligned=1 --size=400k",
        400 * KIB,
        {**bsrange(1024, 5120), "bs_unaligned": True},
    ),
    "bssplit": ("--rw=read --bssplit=4k/20:32k/80 --size=250k", 250 * KIB, bssplit((4096, 20), (32768, 80))),
    "bssplit of no multiples": (
        "--rw=read --bssplit=3k/50:8k/50 --size=100k",
        100 * KIB,
        bssplit((3072, 50), (8192, 50)),
    ),
    "a stride of lengths": (
        "--rw=read:4k --bsrange=1k-8k --size=64k",
        64 * KIB,
        {"rw": "read:4096", **bsrange(1024, 8192)},
    ),
    "zones": (
        "--rw=read --bs=4k --size=128k --zonemode=strided --zonesize=16k --zoneskip=16k",
        128 * KIB,
        {**STRIDED, "zoneskip": 16 * KIB},
    ),
    "zones in part": (
        "--rw=read --bs=4k --size=128k --zonemode=strided --zonesize=8k --zonerange=16k --zoneskip=16k",
        128 * KIB,
        {**STRIDED, "zonesize": 8 * KIB, "zoneskip": 16 * KIB},
    ),
    "zones twice": (
        "--rw=read --bs=4k --size=128k --zonemode=strided --zonesize=32k --zonerange=16k --zoneskip=16k",
        128 * KIB,
        {**STRIDED, "zonesize": 32 * KIB, "zoneskip": 16 * KIB},
    ),
    "zones, the last one cut": (
        "--rw=read --bs=4k --size=106k --zonemode=strided --zonesize=16k --zoneskip=8k",
        106 * KIB,
        {**STRIDED, "zoneskip": 8 * KIB},
    ),
    "trims and writes": ("--rw=trimwrite --bs=4k --size=64k", 64 * KIB, {"rw": "trimwrite"}),
}

AT_RANDOM: dict[str, tuple[str, int, dict[str, Any]]] = {
    "each block once": ("--bs=4k --size=1m", MIB, {}),
    "many blocks": ("--bs=512 --size=4m", 4 * MIB, bs(512)),
    "a size that is no multiple of bs": ("--bs=4k --size=30k", 30 * KIB, {}),
    "norandommap": ("--bs=4k --size=1g --io_size=1m --norandommap", 1 << 30, {"norandommap": True}),
    "bsrange": ("--bsrange=1k-16k --size=1m", MIB, bsrange(1024, 16384)),
    "bsrange to no multiple": (
        "--bsrange=3k-10k --size=200k --norandommap",
        200 * KIB,
        {**bsrange(3072, 10240), "norandommap": True},
    ),
    "bsrange that does not divide": ("--bsrange=512-4096 --size=20000", 20_000, bsrange(512, 4096)),
    "bsrange without a map": (
        "--bsrange=4k-16k --size=64k --io_size=1m --norandommap",
        64 * KIB,
        {**bsrange(4096, 16384), "norandommap": True},
    ),
    "bssplit": ("--bssplit=4k/50:32k/50 --size=1m", MIB, bssplit((4096, 50), (32768, 50))),
    "bssplit of no multiples": (
        "--bssplit=3k/50:8k/50 --size=100k",
        100 * KIB,
        bssplit((3072, 50), (8192, 50)),
    ),
    "blockalign above bs": ("--bs=4k --blockalign=16k --size=232k", 232 * KIB, {"blockalign": (16384,) * 3}),
    "blockalign below bs": ("--bs=4k --blockalign=512 --size=128k", 128 * KIB, {"blockalign": (512,) * 3}),
    "blockalign of bs": ("--bs=4k --blockalign=4k --size=128k", 128 * KIB, {"blockalign": (4096,) * 3}),
    "percentage_random": (
        "--bs=4k --size=1m --percentage_random=50",
        MIB,
        {"percentage_random": (50, 50, 50)},
    ),
    "percentage_random without a map": (
        "--bs=4k --size=1m --percentage_random=80 --norandommap",
        MIB,
        {"percentage_random": (80, 80, 80), "norandommap": True},
    ),
    "bs_is_seq_rand": (
        "--bs=4k,16k --bs_is_seq_rand=1 --percentage_random=50 --size=256k",
        256 * KIB,
        {"bs": (4096, 16384, 4096), "bs_is_seq_rand": True, "percentage_random": (50, 50, 50)},
    ),
    "runs": ("--bs=4k --size=128k --rw=randread:4", 128 * KIB, {"rw": "randread:4"}),
    "runs to the end": ("--bs=4k --size=1m --rw=randread:60", MIB, {"rw": "randread:60"}),
    "runs in one place": (
        "--bs=4k --size=1m --rw=randread:4 --rw_sequencer=identical",
        MIB,
        {"rw": "randread:4", "rw_sequencer": "identical"},
    ),
    "trims": ("--rw=randtrim --bs=4k --size=128k", 128 * KIB, {"rw": "randtrim"}),
    "trims and writes": ("--rw=randtrimwrite --bs=4k --size=128k", 128 * KIB, {"rw": "randtrimwrite"}),
    "zones": (
        "--bs=4k --size=1m --zonemode=strided --zonesize=16k --zoneskip=16k",
        MIB,
        {**STRIDED, "zoneskip": 16 * KIB},
    ),
    "zones in part": (
        "--bs=4k --size=1m --zonemode=strided --zonesize=16k --zonerange=64k",
        MIB,
        {**STRIDED, "zonerange": 64 * KIB},
    ),
    "zones twice": (
        "--bs=4k --size=128k --zonemode=strided --zonesize=32k --zonerange=16k",
        128 * KIB,
        {**STRIDED, "zonesize": 32 * KIB},
    ),
    "zones without a map": (
        "--bs=4k --size=1m --zonemode=strided --zonesize=16k --zoneskip=16k --norandommap",
        MIB,
        {**STRIDED, "zoneskip": 16 * KIB, "norandommap": True},
    ),
    "zones, the last one cut": (
        "--bs=4k --size=100k --zonemode=strided --zonesize=16k --zoneskip=8k",
        100 * KIB,
        {**STRIDED, "zoneskip": 8 * KIB},
    ),
    "allrandrepeat": (
        "--bsrange=4k-16k --size=1m --allrandrepeat=1",
        MIB,
        {**bsrange(4096, 16384), "allrandrepeat": True},
    ),
}


@pytest.mark.parametrize("case", IN_ORDER)
def test_in_order_we_go_where_fio_goes(case: str, tmp_path: Path) -> None:
    arguments, length, options = IN_ORDER[case]
    theirs = by_fio(tmp_path, *arguments.split())
    assert by_us(len(theirs), length, **options) == theirs


@pytest.mark.parametrize("case", AT_RANDOM)
def test_with_its_generator_we_go_where_fio_goes(case: str, tmp_path: Path) -> None:
    arguments, length, options = AT_RANDOM[case]
    theirs = by_fio(tmp_path, "--rw=randread", *arguments.split())
    assert by_us(len(theirs), length, **{"rw": "randread", **TAUSWORTHE, **options}) == theirs


def test_where_fio_has_no_more_we_have_no_more(tmp_path: Path) -> None:
    """87040 KiB of 128 MiB: the 86th I/O would end behind the region."""
    theirs = by_fio(tmp_path, "--rw=read:512k", "--bs=1m", "--size=128m")
    ours = by_us(1000, 128 * MIB, rw=f"read:{512 * KIB}", **bs(MIB))
    assert len(ours) == len(theirs)
    assert sum(length for _, _, length in ours) == 87040 * KIB


def test_the_second_job_goes_elsewhere_as_fios_does(tmp_path: Path) -> None:
    arguments = ["--rw=randread", "--bsrange=4k-16k", "--size=1m", "--numjobs=2"]
    theirs = by_fio(tmp_path, *arguments, number=2)
    options: dict[str, Any] = {"rw": "randread", **bsrange(4096, 16384), **TAUSWORTHE}
    assert by_us(len(theirs), MIB, number=2, **options) == theirs
    assert by_us(len(theirs), MIB, number=1, **options) != theirs


def test_the_region_may_begin_anywhere(tmp_path: Path) -> None:
    theirs = by_fio(tmp_path, "--rw=randread", "--bsrange=4k-16k", "--size=1m", "--offset=20k")
    options: dict[str, Any] = {"rw": "randread", **bsrange(4096, 16384), **TAUSWORTHE}
    assert by_us(len(theirs), MIB, start=20 * KIB, **options) == theirs


def test_mixed_jobs_go_on_in_each_direction_where_it_stood(tmp_path: Path) -> None:
    """Which direction comes next is drawn otherwise than by fio; where each goes is not."""
    theirs = by_fio(tmp_path, "--rw=rw:8k", "--bs=4k,16k", "--size=8m")
    ours = by_us(len(theirs), 8 * MIB, rw="rw:8192", bs=(4096, 16384, 4096))
    for ddir in (0, 1):
        their_own = [io for io in theirs if io[0] == ddir]
        our_own = [io for io in ours if io[0] == ddir]
        together = min(len(their_own), len(our_own))
        assert together > 100
        assert our_own[:together] == their_own[:together]


def files_by_fio(tmp_path: Path, *arguments: str) -> list[tuple[int, int]]:
    """File and offset of each I/O. Its null engine logs no files: four real ones, of 32 KiB."""
    command = ["fio", "--name=job", "--ioengine=psync", "--bs=4k", "--nrfiles=4", "--write_iolog=log", *arguments]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30, capture_output=True)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    return [(int(line[-4].rpartition(".")[2]), int(line[-2])) for line in lines if line[-3:-2] == ["read"]]


@pytest.mark.parametrize("rw", ["read", "randread"])
@pytest.mark.parametrize("service", ["roundrobin", "roundrobin:3", "sequential", "random", "random:3"])
def test_files_take_turns_as_fios_do(service: str, rw: str, tmp_path: Path) -> None:
    theirs = files_by_fio(tmp_path, f"--rw={rw}", "--size=128k", f"--file_service_type={service}")
    name, _, turn = service.partition(":")
    options = JobOptions(rw=rw, random_generator="tausworthe", file_service_type=(name, int(turn or 0)))
    ours = Workload(options.native(), [(0, 32 * KIB)] * 4).draw(1000)
    assert [(file, offset) for _, file, offset, _ in ours] == theirs

"""What a child is told, and for how long it may work."""

import marshal
import os

import pytest

from iovigil.agent import order
from iovigil.agent.config import DiskSettings, ScrubSettings
from iovigil.engines.options import JobOptions

FILE = DiskSettings(name="data0", file="/srv/data0/probe", size=1 << 30)
DEVICE = DiskSettings(name="nvme0", device="/dev/disk/by-id/nvme-x")
READ = JobOptions(rw="randread", runtime=5_000_000, iodepth=4, bs=(65536,) * 3)


def test_an_order_survives_marshal() -> None:
    told = order.order(FILE, READ, "psync", is_probe_file=True)
    assert marshal.loads(marshal.dumps(told)) == told
    assert told["parent_pid"] == os.getpid()


def test_the_engine_in_use_is_the_one_ordered() -> None:
    options = JobOptions(ioengine="io_uring")
    assert order.order(FILE, options, "psync", is_probe_file=True)["options"]["ioengine"] == "psync"


@pytest.mark.parametrize(
    ("disk", "is_probe_file", "kind", "size", "owns"),
    [
        (FILE, True, "file", 1 << 30, True),
        (FILE, False, "auto", 1 << 30, False),
        (DEVICE, True, "device", 0, False),
    ],
)
def test_the_target_is_named_with_its_kind(
    disk: DiskSettings, is_probe_file: bool, kind: str, size: int, owns: bool
) -> None:
    target = order.target(disk, READ, is_probe_file=is_probe_file)
    assert (target["kind"], target["size"], target["is_probe_file"]) == (kind, size, owns)
    assert target["path"] == disk.path


@pytest.mark.parametrize("engine", ["null", "net", "cpuio"])
def test_an_engine_without_a_target_is_told_none(engine: str) -> None:
    assert order.order(FILE, READ, engine, is_probe_file=True)["targets"] == []


def test_a_trim_changes_the_target_as_a_write_does() -> None:
    assert order.target(FILE, JobOptions(rw="randtrim"), is_probe_file=True)["write"]
    assert not order.target(FILE, JobOptions(rw="randread"), is_probe_file=True)["write"]


def test_a_job_that_reads_back_both_writes_and_reads() -> None:
    options = JobOptions(rw="randwrite", verify="crc32c")
    target = order.target(FILE, options, is_probe_file=True)
    assert (target["write"], target["read"]) == (True, True)
    plain = order.target(FILE, JobOptions(rw="write"), is_probe_file=True)
    assert (plain["write"], plain["read"]) == (True, False)


def test_the_limits_leave_room_for_buffers_and_for_all_of_the_time() -> None:
    limits = order.limits(READ, size_bytes=1 << 30, allowance_s=50.0)
    assert limits["memory_bytes"] == 4 * 65536 + (512 << 20)
    assert limits["cpu_s"] == 5 + 10 + 50 + 10


def test_the_limits_leave_room_for_the_blocks_that_are_being_checked() -> None:
    """A job of long blocks could not start: those beside the ones in flight had been left out."""
    options = JobOptions(rw="write", size=1 << 30, bs=(128 << 20,) * 3, verify="crc32c", verify_async=4)
    assert order.limits(options, size_bytes=1 << 30, allowance_s=0.0)["memory_bytes"] > (1 + 2 + 3 * 4) * (128 << 20)


def test_units_that_reads_and_writes_have_in_common_have_a_word_each() -> None:
    options = JobOptions(rw="randrw", verify="crc32c", bs=(768, 512, 512))
    assert order.write_log_bytes(options, 1 << 30) == (1 << 30) // 256 * 8


def test_a_verified_job_has_room_for_a_word_on_every_block_it_may_write() -> None:
    options = JobOptions(rw="randwrite", verify="crc32c", bs=(4096,) * 3)
    with_log = order.limits(options, size_bytes=1 << 40, allowance_s=0.0)["memory_bytes"]
    assert with_log - order.limits(options, size_bytes=0, allowance_s=0.0)["memory_bytes"] == (1 << 40) // 4096 * 8


def test_a_job_without_a_bound_in_time_has_none_on_its_cpu() -> None:
    options = JobOptions(rw="read", size=1 << 20)
    assert order.timeout_s(options) == 0
    assert order.limits(options, size_bytes=0, allowance_s=1.0)["cpu_s"] == 0


def test_what_is_only_verified_must_be_there() -> None:
    wanted = {
        rw: order.target(FILE, JobOptions(rw=rw, verify="crc32c"), is_probe_file=False)["must_exist"]
        for rw in ("read", "randread", "write")
    }
    assert wanted == {"read": True, "randread": True, "write": False}
    assert not order.target(FILE, JobOptions(rw="read"), is_probe_file=False)["must_exist"]


def test_a_scrub_is_told_its_pace_and_where_its_state_is() -> None:
    settings = ScrubSettings(n=10, period_s=86_400.0, every_s=599.5)
    options = JobOptions(rw="rw", rate=(20 << 20,) * 3)
    path = order.scrub_state_path("/var/lib/iovigil", "data0", "scrub")
    assert path == "/var/lib/iovigil/scrub/scrub@data0"
    scrub = order.scrub_order(settings, options, state_path=path, identity="serial=S1")
    told = order.order(FILE, options, "psync", is_probe_file=True, scrub=scrub)
    assert marshal.loads(marshal.dumps(told)) == told
    assert told["scrub"] == {
        "state_path": path,
        "identity": "serial=S1",
        "n": 10,
        "period_s": 86_400,
        "every_s": 600,
        "cycles": 0,
        "window_bytes": 40 << 20,
    }
    assert order.order(FILE, READ, "psync", is_probe_file=True)["scrub"] is None


@pytest.mark.parametrize(("rate", "window"), [(0, 64 << 20), (1 << 10, 1 << 20), (1 << 30, 64 << 20)])
def test_a_window_is_some_seconds_of_the_rate_within_limits(rate: int, window: int) -> None:
    assert order.window_bytes(JobOptions(rate=(rate,) * 3)) == window

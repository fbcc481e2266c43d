"""Disks that fail, lie and fill up under a running agent: each is told by name, place and kind, and comes back."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import MIB, RunningAgent, owner_of, running_agent
from fault_disk import FaultDisk, place_on_disk

pytestmark = [pytest.mark.requires_loop]

BLOCK = 4096
KIB = 1 << 10
VERIFY_BS = 64 * KIB
VERIFY_SIZE = 2 * MIB

READS = "{{rw: read, bs: 4k, size: 1MiB, runtime: 500ms, rate_iops: 800, direct: 1, ioengine: {engine}}}"
WRITES = "{{rw: write, bs: 4k, size: 1MiB, runtime: 500ms, rate_iops: 800, direct: 1, ioengine: {engine}}}"
VERIFIES = "{{rw: randwrite, bs: 64k, iodepth: 8, size: 2MiB, verify: crc32c, runtime: 600ms, direct: {direct}}}"

ONE_PROBE = """\
disks:
  - {{name: faulty, {target}}}
probes:
  probe:
    every: 1s
    job: {job}
"""
FULL = """\
disks:
  - {{name: full, file: {mountpoint}/probe, size: 16MiB}}
  - {{name: other, file: {directory}/other, size: 4MiB}}
probes:
  latency:
    every: 1s
    job: {{rw: randread, bs: 4k, runtime: 500ms, rate_iops: 200, direct: 1}}
"""


def one_probe(target: str, job: str, **details: object) -> str:
    return ONE_PROBE.format(target=target, job=job.format(**details))


def fails_and_recovers(agent: RunningAgent, fault_disk: FaultDisk, operation: str, text: str) -> None:
    """The disk, which was good and now gives EIO, is told of in all the places, and is good again when it is."""
    agent.wait_for("io_errors_total", operation=operation, error="EIO")
    agent.wait_for("run_failures_total", reason="io_error")
    assert agent.value("last_run_success") == 0
    assert f"probe on faulty failed (io_error): {text}: Input/output error (EIO)" in agent.wait_for_line("(io_error)")
    fault_disk.clear()
    agent.wait_for_success(disk="faulty")
    assert agent.value("run_failures_total") == agent.value("run_failures_total", reason="io_error")
    assert agent.value("last_run_success") == 1


@pytest.mark.requires_fuse
@pytest.mark.parametrize("engine", ["io_uring", "psync"])
def test_a_device_that_returns_eio_is_an_io_error_at_its_offset(
    tmp_path: Path, fault_disk: FaultDisk, engine: str
) -> None:
    device = fault_disk.as_loop_device()
    with running_agent(tmp_path, one_probe(f"device: {device}", READS, engine=engine)) as agent:
        agent.wait_for_success(disk="faulty")
        assert agent.values("io_errors_total", error="EIO") == [0]
        fault_disk.fail_reads(10 * BLOCK, BLOCK)
        fails_and_recovers(agent, fault_disk, "read", f"read at offset {10 * BLOCK}, length {BLOCK}")


@pytest.mark.requires_fuse
@pytest.mark.requires_mkfs
@pytest.mark.parametrize(("operation", "job"), [("read", READS), ("write", WRITES)], ids=["read", "write"])
def test_a_probe_file_on_a_disk_that_returns_eio_is_an_io_error_at_its_offset(
    tmp_path: Path, fault_disk: FaultDisk, faulty_ext4: Path, operation: str, job: str
) -> None:
    file = faulty_ext4 / "probe"
    with running_agent(tmp_path, one_probe(f"file: {file}, size: 1MiB", job, engine="io_uring")) as agent:
        agent.wait_for_success(disk="faulty")
        fail = fault_disk.fail_reads if operation == "read" else fault_disk.fail_writes
        fail(place_on_disk(file) + 10 * BLOCK, BLOCK)
        fails_and_recovers(agent, fault_disk, operation, f"{operation} at offset {10 * BLOCK}, length {BLOCK}")
    assert owner_of(file) == ("faulty", MIB)


@pytest.mark.requires_mkfs
def test_a_full_filesystem_is_refused_with_figures_and_used_once_there_is_room(
    tmp_path: Path, ext4_mount: Callable[..., Path]
) -> None:
    mountpoint = ext4_mount(64 * MIB)
    ballast = mountpoint / "ballast"
    space = os.statvfs(mountpoint)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - 8 * MIB)
    with running_agent(tmp_path, FULL.format(mountpoint=mountpoint, directory=tmp_path)) as agent:
        agent.wait_for("run_failures_total", disk="full", reason="refused")
        line = agent.wait_for_line("latency on full failed (refused)")
        assert f"no room for {mountpoint}/probe: 16.0 MiB needed, 8.0 MiB free, of which " in line
        assert line.endswith(" must stay free")
        assert [path.name for path in mountpoint.iterdir() if path.name != "lost+found"] == ["ballast"]
        assert agent.value("last_run_success", disk="full") == 0
        agent.wait_for_success(disk="other")
        assert agent.value("run_failures_total", disk="other") == 0

        ballast.unlink()
        agent.wait_for_success(disk="full")
        assert agent.value("last_run_success", disk="full") == 1
        assert agent.value("run_failures_total", disk="other") == 0
        assert not (mountpoint / "probe.partial").exists()
    assert owner_of(mountpoint / "probe") == ("full", 16 * MIB)


Verified = tuple[RunningAgent, int]


@pytest.fixture(params=[0, 1], ids=["buffered", "direct"])
def verified(
    request: pytest.FixtureRequest, tmp_path: Path, fault_disk: FaultDisk, faulty_ext4: Path
) -> Iterator[Verified]:
    """An agent whose verify probe was right once, and the place of the probe file on the fault disk."""
    file = faulty_ext4 / "probe"
    config = one_probe(f"file: {file}, size: 2MiB", VERIFIES, direct=request.param)
    with running_agent(tmp_path, config) as agent:
        agent.wait_for_success(disk="faulty")
        assert agent.value("verified_bytes_total") >= VERIFY_SIZE
        assert agent.value("verify_mismatches_total") == 0
        yield agent, place_on_disk(file)
        fault_disk.clear()
        agent.wait_for_success(disk="faulty")
        assert agent.value("run_failures_total") == agent.value("run_failures_total", reason="verify")
    assert owner_of(file) == ("faulty", VERIFY_SIZE)


@pytest.mark.requires_fuse
@pytest.mark.requires_mkfs
@pytest.mark.parametrize(("byte", "kind"), [(12_345, "checksum"), (30, "header")])
def test_one_flipped_bit_is_found_at_its_byte(verified: Verified, fault_disk: FaultDisk, byte: int, kind: str) -> None:
    agent, place = verified
    block = 5 * VERIFY_BS
    fault_disk.flip(place + block + byte, bit=6)
    agent.wait_for("verify_mismatches_total", kind=kind)
    agent.wait_for("run_failures_total", reason="verify")
    line = agent.wait_for_line("(verify)")
    said = f"data corruption: block with a wrong {kind} at offset {block}, length {VERIFY_BS}: "
    assert f"probe on faulty failed (verify): {said}" in line
    assert f"; first wrong byte {block + byte} (byte {byte} of the block)" in line
    assert agent.value("verify_mismatches_total") == agent.value("verify_mismatches_total", kind=kind)
    assert agent.value("io_errors_total") == 0


@pytest.mark.requires_fuse
@pytest.mark.requires_mkfs
@pytest.mark.parametrize("kind", ["stale", "zeroed"])
def test_lost_writes_are_found_and_told_from_zeros(verified: Verified, fault_disk: FaultDisk, kind: str) -> None:
    agent, place = verified
    block = place + 7 * VERIFY_BS
    fault_disk.drop_writes(block, VERIFY_BS)
    if kind == "zeroed":
        with fault_disk.backing.open("r+b") as backing:
            backing.seek(block)
            backing.write(bytes(VERIFY_BS))
    agent.wait_for("verify_mismatches_total", kind=kind)
    agent.wait_for("run_failures_total", reason="verify")
    assert agent.value("last_run_success") == 0
    said = f"data corruption: {kind} block at offset {7 * VERIFY_BS}, "
    assert f"probe on faulty failed (verify): {said}" in agent.wait_for_line("(verify)")

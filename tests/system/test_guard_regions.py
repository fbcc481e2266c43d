"""A region of a raw device, on loop devices made here: who may write there, and that nobody else loses a byte."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_runs import CLOCK, DEADLINE_S, Outcome, RunningJob, job_options
from loop import attached, command
from signs_of_others import SIGNS, device_size, mbr, put

from iovigil.agent import order
from iovigil.agent.config import DiskSettings, RegionSettings
from iovigil.agent.disks import guard, ownership, possession, signatures, sysfs
from iovigil.agent.disks import region as regions
from iovigil.agent.disks.ownership import Hardware, Ownership
from iovigil.agent.disks.refusal import Refused
from iovigil.agent.worker import Worker
from iovigil.engines import exit_status
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import StatsPage

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK = 64 * KIB
DEVICE_BYTES = 16 * MIB
REGION = (2 * MIB, 8 * MIB)
COMMAND = [sys.executable, "-c", "import sys; from iovigil.agent.cli import main; sys.exit(main())"]

MakeDevice = Callable[..., Path]

pytestmark = pytest.mark.requires_loop


def disk_of(device: Path, region: tuple[int, int] | None = REGION, name: str = "scrubbed") -> DiskSettings:
    declared = RegionSettings(*region) if region else None
    return DiskSettings(name=name, device=str(device), region=declared)


def run(disk: DiskSettings, **written: object) -> Outcome:
    """A probe's job on the disk, by the agent's own way: order, launcher, guard, child."""
    options = job_options(**{"rw": "randwrite", "bs": "4k", "ioengine": "psync", "direct": 1, **written})
    page = StatsPage.create()
    page.calibrate(CLOCK.source())
    page.release()
    worker = Worker.spawn(order.order(disk, options, options.ioengine, is_probe_file=True), page)
    try:
        return RunningJob(worker, page).outcome(DEADLINE_S)
    finally:
        worker.kill()
        worker.close()


def admit(disk: DiskSettings) -> guard.Target:
    options = JobOptions(rw="randwrite", ioengine="psync", direct=True)
    return guard.admit(order.target(disk, options, is_probe_file=True), options.native())


def digest(device: Path) -> str:
    """Of what is not zero in the file behind a loop device; what the device still holds in memory goes there first."""
    command("blockdev", "--flushbufs", device)
    backing = Path(sysfs.read(f"/sys/class/block/{device.name}/loop/backing_file"))
    state = hashlib.sha256(str(backing.stat().st_size).encode())
    with backing.open("rb") as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return state.hexdigest()
            at -= at % CHUNK
            data = os.pread(file.fileno(), CHUNK, at)
            if any(data):
                state.update(f"{at}".encode() + data)
            at += CHUNK


@pytest.fixture
def claimed(loop_device: MakeDevice) -> Path:
    """A device with some bytes of somebody's on both sides of a region that was claimed."""
    device = loop_device(DEVICE_BYTES)
    put(device, b"theirs" * 500, REGION[0] - 4096)
    put(device, b"theirs" * 500, sum(REGION))
    assert possession.claim("scrubbed", str(device), REGION)
    return device


def assert_refused(device: Path, words: str, disk: DiskSettings | None = None, **written: object) -> None:
    """By the guard in a child, and nothing on the device is changed by that."""
    before = digest(device)
    outcome = run(disk or disk_of(device), **written)
    assert outcome.exit.status == exit_status.TARGET_REFUSED, outcome.show()
    assert words in outcome.messages[-1]
    assert digest(device) == before


# What may be written


def test_a_claimed_region_is_written_and_nothing_beside_it(claimed: Path) -> None:
    before = claimed.read_bytes()
    outcome = run(disk_of(claimed), verify="crc32c", do_verify=1)
    assert outcome.exit.status == exit_status.OK, outcome.show()
    assert outcome.mismatches == {}
    command("blockdev", "--flushbufs", claimed)
    after = claimed.read_bytes()
    first, end = REGION[0] + ownership.BLOCK, sum(REGION)
    assert after[:first] == before[:first]
    assert after[end:] == before[end:]
    blocks = [after[at : at + 4096] for at in range(first, end, 4096)]
    assert all(any(block) for block in blocks), "every block of it was written once"
    # fio's headers tell the offset on the device: a block that a disk put elsewhere is known by it.
    offsets = [int.from_bytes(block[16:24], "little") for block in blocks]
    assert offsets == list(range(first, end, 4096))


@pytest.mark.parametrize(
    "written",
    [
        {"rw": "write", "bs": "64k"},
        {"rw": "randwrite", "bsrange": "4k-64k", "blockalign": "4k", "randrepeat": 0},
        {"rw": "randwrite", "bs": "8k", "offset": "50%", "size": "25%"},
        {"rw": "randwrite", "bs": "4k", "offset": "1m", "size": "2m", "io_size": "8m", "norandommap": 1},
        {"rw": "randwrite", "bs": "4k", "zonemode": "strided", "zonesize": "256k", "zoneskip": "256k"},
        {"rw": "randtrim", "bs": "4k"},
        {"rw": "trimwrite", "bs": "16k"},
        {"rw": "randrw", "bs": "4k", "direct": 0, "fsync": 64},
        {"rw": "randwrite", "bs": "4k", "ioengine": "libaio", "iodepth": 8},
        {"rw": "write", "bs": "1m", "time_based": 1, "runtime": "1s", "verify": "crc32c"},
        {"rw": "randwrite", "bs": "4k", "ioengine": "posixaio", "iodepth": 4},
        {"rw": "randwrite", "bs": "4k", "ioengine": "pvsync2"},
        {"rw": "randwrite", "bs": "4k", "ioengine": "sync", "random_distribution": "zipf:1.2"},
    ],
    ids=lambda written: " ".join(f"{name}={value}" for name, value in written.items()),
)
def test_no_kind_of_job_leaves_the_region(claimed: Path, written: dict[str, object]) -> None:
    before = claimed.read_bytes()
    outcome = run(disk_of(claimed), **written)
    assert outcome.exit.status == exit_status.OK, outcome.show()
    command("blockdev", "--flushbufs", claimed)
    after = claimed.read_bytes()
    first, end = REGION[0] + ownership.BLOCK, sum(REGION)
    assert (after[:first], after[end:]) == (before[:first], before[end:])


@pytest.mark.requires_io_uring
def test_io_uring_stays_in_the_region(claimed: Path) -> None:
    before = claimed.read_bytes()
    outcome = run(disk_of(claimed), ioengine="io_uring", iodepth=16, verify="crc32c")
    assert outcome.exit.status == exit_status.OK, outcome.show()
    command("blockdev", "--flushbufs", claimed)
    after = claimed.read_bytes()
    first, end = REGION[0] + ownership.BLOCK, sum(REGION)
    assert (after[:first], after[end:]) == (before[:first], before[end:])


def test_what_was_written_is_found_again_by_a_job_that_only_reads(claimed: Path) -> None:
    assert run(disk_of(claimed), verify="crc32c").exit.status == exit_status.OK
    before = digest(claimed)
    outcome = run(disk_of(claimed), rw="read", verify="crc32c")
    assert outcome.exit.status == exit_status.OK, outcome.show()
    assert outcome.mismatches == {}
    put(claimed, b"\xff", REGION[0] + ownership.BLOCK + 5 * 4096 + 100)
    assert run(disk_of(claimed), rw="read", verify="crc32c").mismatches
    put(claimed, b"theirs" * 500, sum(REGION))
    assert before != digest(claimed)


def test_a_job_that_only_reads_has_the_whole_device(claimed: Path) -> None:
    outcome = run(disk_of(claimed), rw="read", bs="1m")
    assert outcome.exit.status == exit_status.OK, outcome.show()
    assert outcome.page.counter(0, 0) >= 0
    target = guard.admit(
        order.target(disk_of(claimed), JobOptions(rw="read"), is_probe_file=True), JobOptions().native()
    )
    os.close(target.fd)
    assert (target.start, target.size, target.is_writable) == (0, DEVICE_BYTES, False)


def test_a_target_holds_the_device_against_all_others(claimed: Path) -> None:
    target = admit(disk_of(claimed))
    try:
        assert (target.start, target.size) == (REGION[0] + ownership.BLOCK, REGION[1] - ownership.BLOCK)
        with pytest.raises(OSError, match="busy"):
            os.open(claimed, os.O_RDWR | os.O_EXCL)
        assert subprocess.run(["mkfs.ext4", "-q", str(claimed)], capture_output=True, check=False).returncode != 0
        assert run(disk_of(claimed), rw="randread", time_based=1, runtime="1s").exit.status == exit_status.OK
    finally:
        os.close(target.fd)
    os.close(os.open(claimed, os.O_RDWR | os.O_EXCL))


def test_a_job_beyond_the_region_is_refused(claimed: Path) -> None:
    assert_refused(claimed, "reach beyond its end", offset="7m", size="2m")
    assert_refused(claimed, "reach beyond its end", size="8m")


# Who keeps out


def test_without_a_region_a_device_is_read_only_and_the_refusal_says_how(claimed: Path) -> None:
    assert_refused(claimed, "`iovigil claim`", disk_of(claimed, None))


def test_a_region_that_nobody_claimed_is_not_written(loop_device: MakeDevice) -> None:
    assert_refused(loop_device(DEVICE_BYTES), "it has no ownership header of iovigil; `iovigil claim scrubbed")


@pytest.mark.parametrize("name", SIGNS)
def test_what_others_put_on_a_device_keeps_jobs_and_claims_out(
    claimed: Path, loop_device: MakeDevice, name: str
) -> None:
    make, words = SIGNS[name]
    make(claimed)
    assert_refused(claimed, words)
    fresh = loop_device(DEVICE_BYTES)
    make(fresh)
    before = digest(fresh)
    with pytest.raises(Refused, match="is not written to: there is"):
        possession.claim("scrubbed", str(fresh), REGION)
    with pytest.raises(Refused, match="is not written to: there is"):
        possession.release("scrubbed", str(claimed), REGION)
    assert digest(fresh) == before


def test_a_label_of_bluestore_far_into_the_device_keeps_out(loop_device: MakeDevice) -> None:
    device = loop_device(GIB + 64 * MIB)
    possession.claim("scrubbed", str(device), REGION)
    put(device, b"bluestore block device\n", GIB)
    assert_refused(device, "BlueStore label at 0x40000000")


@pytest.mark.requires_mkfs
def test_a_filesystem_mounted_or_not_keeps_out(claimed: Path, tmp_path: Path) -> None:
    command("mkfs.ext4", "-q", "-F", claimed)
    put(claimed, header_for(claimed), REGION[0])  # as if the filesystem had not used that block
    assert_refused(claimed, "there is ext2, ext3 or ext4")
    with read_only_mount(claimed, tmp_path / "here"):
        assert_refused(claimed, f"mounted on {tmp_path}/here")


@pytest.mark.requires_mkfs
def test_a_mount_in_another_namespace_alone_keeps_out(claimed: Path, tmp_path: Path) -> None:
    command("mkfs.ext4", "-q", "-F", claimed)
    put(claimed, header_for(claimed), REGION[0])
    point = tmp_path / "there"
    point.mkdir()
    program = f"mount -o ro,noload {claimed} {point} && echo up && exec sleep 60"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", program], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"up\n"
            assert str(point) not in Path("/proc/self/mountinfo").read_text()
            assert_refused(claimed, f"mounted on {point} in the mount namespace of process {other.pid}")
            assert_refused_in_process(claimed, "mount namespace")
        finally:
            other.kill()
    wait_until_free(claimed)


@pytest.mark.requires_mkfs
def test_the_kernel_alone_keeps_out_of_a_mount_that_nobody_can_see(
    claimed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namespace without processes, or in which we may not look: the exclusive open remains."""
    command("mkfs.ext4", "-q", "-F", claimed)
    put(claimed, header_for(claimed), REGION[0])
    with read_only_mount(claimed, tmp_path / "here"):
        monkeypatch.setattr("iovigil.agent.disks.claims.signs", lambda *_: [])
        assert_refused_in_process(claimed, "the kernel refuses an exclusive open")


def test_swap_keeps_out_by_its_signature_and_in_use(claimed: Path) -> None:
    command("mkswap", claimed)
    assert_refused(claimed, "there is swap at 0xff6")
    try:
        command("swapon", claimed)
    except subprocess.CalledProcessError:
        pytest.skip("swapon is not allowed here")
    try:
        assert_refused(claimed, "used as swap")
    finally:
        command("swapoff", claimed)


def test_partitions_that_the_kernel_knows_keep_out_of_the_whole_disk(claimed: Path) -> None:
    mbr(claimed)
    command("partx", "--add", claimed)
    try:
        put(claimed, bytes(512), 0)  # the table is gone, and the kernel still has the partition
        assert_refused(claimed, f"has partitions {claimed.name}p1")
    finally:
        command("partx", "--delete", claimed)


def test_a_partition_may_have_a_region_and_its_disk_is_looked_at(loop_device: MakeDevice) -> None:
    device = loop_device(DEVICE_BYTES)
    entry = b"\0" * 4 + b"\x83\0\0\0" + (2048).to_bytes(4, "little") + (14 * 2048).to_bytes(4, "little")
    put(device, entry.ljust(64, b"\0") + b"\x55\xaa", 446)
    command("partx", "--add", device)
    part = device.with_name(f"{device.name}p1")
    try:
        before = device.read_bytes()
        assert possession.claim("scrubbed", str(part), REGION)
        outcome = run(disk_of(part), verify="crc32c")
        assert outcome.exit.status == exit_status.OK, outcome.show()
        command("blockdev", "--flushbufs", device)
        after = device.read_bytes()
        first, end = MIB + REGION[0], MIB + sum(REGION)
        assert (after[:first], after[end:]) == (before[:first], before[end:])
        SIGNS["lvm"][0](device)  # the table is stale: there is a volume over the whole disk
        kept = digest(device)
        refused = run(disk_of(part))
        assert refused.exit.status == exit_status.TARGET_REFUSED, refused.show()
        assert f"{device.name}, the whole disk: LVM2_member" in refused.messages[-1]
        assert digest(device) == kept
    finally:
        command("partx", "--delete", device)


def test_a_loop_device_over_the_device_keeps_out(claimed: Path) -> None:
    """The kernel takes it neither for a holder nor for a claim: what is on it may be mounted."""
    with attached(claimed) as upper:
        assert_refused(claimed, f"held by {upper.name}")
        assert_refused(claimed, "is a loop device over", disk_of(upper))


def test_the_same_file_by_another_loop_device_keeps_out(claimed: Path) -> None:
    """As a disk with two paths has two names."""
    with attached(Path(sysfs.read(f"/sys/class/block/{claimed.name}/loop/backing_file"))) as twin:
        assert_refused(claimed, f"is the same disk as {twin.name}")


@pytest.mark.skipif(shutil.which("dmsetup") is None, reason="dmsetup is not installed")
def test_a_device_mapped_onto_it_keeps_out(claimed: Path) -> None:
    name = f"iovigil-test-{os.getpid()}"
    table = f"0 2048 linear {claimed} 0"
    made = subprocess.run(["dmsetup", "create", name, "--table", table], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip("the kernel has no device mapper")
    try:
        assert_refused(claimed, "held by dm-")
    finally:
        command("dmsetup", "remove", name)


@pytest.mark.parametrize(
    ("flags", "words"),
    [(os.O_RDONLY | os.O_EXCL, "exclusive open"), (os.O_RDWR, "open for writing by process")],
    ids=["exclusive", "writer"],
)
def test_another_process_that_has_it_open_keeps_out(claimed: Path, flags: int, words: str) -> None:
    program = f"import os, sys, time; os.open(sys.argv[1], {flags}); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, str(claimed)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"up\n"
            assert_refused(claimed, words)
        finally:
            other.kill()


def test_a_process_that_has_it_open_for_a_moment_is_waited_for(claimed: Path) -> None:
    """As what asks a disk for its health."""
    program = "import os, sys, time; os.open(sys.argv[1], os.O_RDWR); print('up', flush=True); time.sleep(0.2)"
    with subprocess.Popen([sys.executable, "-I", "-c", program, str(claimed)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"up\n"
        os.close(admit(disk_of(claimed)).fd)


def test_another_run_on_the_region_keeps_out(claimed: Path) -> None:
    options = job_options(
        rw="randwrite", bs="4k", ioengine="psync", direct=1, time_based=1, runtime="30s", rate_iops=50
    )
    page = StatsPage.create()
    page.calibrate(CLOCK.source())
    page.release()
    worker = Worker.spawn(order.order(disk_of(claimed), options, "psync", is_probe_file=True), page)
    try:
        RunningJob(worker, page).wait_for_ios(1)
        second = run(disk_of(claimed))
        assert second.exit.status == exit_status.TARGET_REFUSED, second.show()
        for act in (possession.claim, possession.release):
            with pytest.raises(Refused, match="open for writing by process"):
                act("scrubbed", str(claimed), REGION)
    finally:
        worker.kill()
        worker.reap()
        worker.close()


def test_a_device_set_read_only_keeps_out(claimed: Path) -> None:
    command("blockdev", "--setro", claimed)
    try:
        assert_refused(claimed, "is set read-only")
    finally:
        command("blockdev", "--setrw", claimed)


# Whose header it is


def header_for(device: Path, **changes: object) -> bytes:
    backing = sysfs.read(f"/sys/class/block/{device.name}/loop/backing_file")
    values = {"disk": "scrubbed", "offset": REGION[0], "size": REGION[1], "serial": f"loop on {backing}", **changes}
    told = Hardware("", str(values["serial"]), int(str(values.get("device_bytes", device_size(device)))))
    block = Ownership(str(values["disk"]), int(str(values["offset"])), int(str(values["size"])), told, bytes(16))
    return ownership.pack(block)


def test_a_header_made_by_hand_is_as_good_as_a_claim(loop_device: MakeDevice) -> None:
    """What the next tests vary is what decides."""
    device = loop_device(DEVICE_BYTES)
    put(device, header_for(device), REGION[0])
    assert run(disk_of(device)).exit.status == exit_status.OK


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"disk": "other"}, "it is the region of disk other, not of scrubbed"),
        ({"serial": "S1"}, "was written for another device"),
        ({"serial": ""}, "was written for another device"),
        ({"device_bytes": 2 * DEVICE_BYTES}, "was written for another device"),
        ({"size": REGION[1] - MIB}, "it was claimed with offset="),
        ({"offset": REGION[0] + MIB}, "it was claimed with offset="),
    ],
)
def test_a_header_that_says_otherwise_keeps_out(
    loop_device: MakeDevice, changes: dict[str, object], words: str
) -> None:
    device = loop_device(DEVICE_BYTES)
    put(device, header_for(device, **changes), REGION[0])
    assert_refused(device, words)
    before = digest(device)
    for act in (possession.claim, possession.release):
        with pytest.raises(Refused):
            act("scrubbed", str(device), REGION)
    assert digest(device) == before


def test_a_header_copied_to_another_device_keeps_out(claimed: Path, loop_device: MakeDevice) -> None:
    other = loop_device(DEVICE_BYTES)
    put(other, claimed.read_bytes(), 0)
    assert_refused(other, "was copied to this one")


@pytest.mark.parametrize("at", [0, 20, 40, 300, 4091, 4095])
def test_a_damaged_header_keeps_out(claimed: Path, at: int) -> None:
    with claimed.open("rb") as file:
        file.seek(REGION[0] + at)
        byte = file.read(1)
    put(claimed, bytes([byte[0] ^ 0x10]), REGION[0] + at)
    assert_refused(claimed, "ownership header")


def test_a_header_of_a_later_version_is_nobodys_to_replace(claimed: Path) -> None:
    block = bytearray(header_for(claimed))
    block[16] = 2
    block[-4:] = zlib.crc32(bytes(block[:-4])).to_bytes(4, "little")
    put(claimed, bytes(block), REGION[0])
    assert_refused(claimed, "version 2")
    with pytest.raises(Refused, match="version 2"):
        possession.claim("scrubbed", str(claimed), REGION)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ((0, 8 * MIB), "first 1048576 bytes"),
        ((512 * KIB, 8 * MIB), "first 1048576 bytes"),
        ((2 * MIB, 14 * MIB), "backups of partition tables"),
        ((2 * MIB, 14 * MIB - 4096), "backups of partition tables"),
        ((2 * MIB, 1 << 40), "backups of partition tables"),
        ((DEVICE_BYTES * 4, MIB), "backups of partition tables"),
        ((2 * MIB + 512, 8 * MIB), "must be multiples of 4096"),
        ((2 * MIB, 8 * MIB - 512), "must be multiples of 4096"),
        ((2 * MIB, 4096), "must be multiples of 4096"),
        ((2 * MIB, 0), "must be multiples of 4096"),
        ((-4096, 8 * MIB), "must be multiples of 4096"),
    ],
)
def test_a_region_that_reaches_where_labels_stand_is_refused(
    loop_device: MakeDevice, region: tuple[int, int], words: str
) -> None:
    device = loop_device(DEVICE_BYTES)
    if 0 <= region[0] < DEVICE_BYTES:
        put(device, header_for(device, offset=max(region[0], 0), size=max(region[1], 0)), region[0])
    assert_refused(device, words, disk_of(device, region))
    before = digest(device)
    with pytest.raises(Refused, match=words):
        possession.claim("scrubbed", str(device), region)
    assert digest(device) == before


@pytest.mark.parametrize("ioengine", ["mmap", "sg", "splice"])
def test_an_engine_that_may_touch_more_than_it_is_told_is_refused(claimed: Path, ioengine: str) -> None:
    options = JobOptions(rw="write", ioengine=ioengine)
    before = digest(claimed)
    with pytest.raises(Refused, match=f"ioengine={ioengine} is not trusted with a region"):
        guard.admit(order.target(disk_of(claimed), options, is_probe_file=True), options.native())
    assert digest(claimed) == before


def test_without_wipefs_nobody_is_admitted(claimed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "PLACES", ("/nowhere",))
    assert_refused_in_process(claimed, "wipefs is missing")


@pytest.mark.parametrize(
    ("program", "words"),
    [("exit 1", "ended with status 1"), ("kill -9 $$", "status -9"), ("sleep 60", "has not told within 0.2 s")],
)
def test_a_tool_that_fails_or_hangs_is_no_permission(
    claimed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(signatures, "PLACES", (str(tmp_path),))
    monkeypatch.setattr(signatures, "PROBE_S", 0.2)
    (tmp_path / "wipefs").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{program}\n")
    (tmp_path / "wipefs").chmod(0o755)
    assert_refused_in_process(claimed, words)


def assert_refused_in_process(device: Path, words: str) -> None:
    before = digest(device)
    with pytest.raises(Refused, match=words):
        os.close(admit(disk_of(device)).fd)
    assert digest(device) == before


# Between check and use


@pytest.mark.slow
def test_a_link_that_changes_all_the_time_never_leads_to_the_wrong_device(
    claimed: Path, loop_device: MakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other device is a copy to the last byte, header and all: what differs is which device it is."""
    other = loop_device(DEVICE_BYTES)
    put(other, claimed.read_bytes(), 0)
    before = digest(other)
    link = tmp_path / "disk"
    link.symlink_to(claimed)
    program = """
import os, sys
link, *targets = sys.argv[1:]
while True:
    for target in targets:
        os.symlink(target, link + ".new")
        os.replace(link + ".new", link)
"""
    # Both devices are blank but for the header: what is left out only takes time.
    monkeypatch.setattr(signatures, "find", lambda *_: [])
    swapper = subprocess.Popen([sys.executable, "-I", "-S", "-c", program, link, other, claimed])
    admitted = refused = 0
    reasons = set()
    try:
        for count in range(1000):
            try:
                target = admit(disk_of(link))
            except Refused as reason:
                reasons.add("copied to this one" in str(reason))
                refused += 1
                continue
            try:
                assert os.fstat(target.fd).st_rdev == claimed.stat().st_rdev
                with os.fdopen(os.dup(target.fd), "r+b", buffering=0) as file:
                    fcntl.fcntl(file, fcntl.F_SETFL, 0)  # without O_DIRECT any buffer will do
                    os.pwrite(file.fileno(), count.to_bytes(8, "little") * 512, target.start)
                admitted += 1
            finally:
                os.close(target.fd)
    finally:
        swapper.kill()
        swapper.wait()
    assert digest(other) == before
    assert reasons == {True}
    assert admitted > 50
    assert refused > 50


def test_a_device_taken_away_while_it_is_looked_at_is_refused(claimed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number goes to the next that comes; the kernel's count of disks does not."""
    real = regions.check_owner

    def pulled(device: regions.Device, look: int, disk: str, declared: tuple[int, int]) -> Ownership:
        monkeypatch.setattr(regions.Device, "known_sequence", lambda _: "123456789")
        return real(device, look, disk, declared)

    monkeypatch.setattr(regions, "check_owner", pulled)
    assert_refused_in_process(claimed, "was unplugged while it was looked at")


# claim and release, as a user starts them


def configuration(directory: Path, device: Path, region: str = "{offset: 2MiB, size: 8MiB}", name: str = "d0") -> Path:
    path = directory / "agent.yaml"
    path.write_text(
        f"disks:\n  - {{name: {name}, device: {device}, region: {region}}}\n"
        "probes:\n  scrub: {every: 60s, job: {rw: randwrite, bs: 4k, verify: crc32c, runtime: 1s}}\n"
    )
    return path


def iovigil(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def test_claim_says_what_it_will_erase_and_wants_the_very_name(loop_device: MakeDevice, tmp_path: Path) -> None:
    device = loop_device(DEVICE_BYTES)
    put(device, b"mine", REGION[0])
    path = configuration(tmp_path, device)
    before = digest(device)
    for wrong in ("", "yes\n", "D0\n", "d0 \n", "d\n"):
        done = iovigil("claim", "d0", "--config", path, stdin=wrong)
        assert done.returncode == 1
        assert f"loop on {tmp_path}" in done.stdout
        assert "1 of 64 samples hold data" in done.stdout
        assert "not claimed" in done.stderr
    assert iovigil("claim", "d0", "--config", path, "--yes-erase", "d1").returncode == 1
    assert digest(device) == before
    done = iovigil("claim", "d0", "--config", path, stdin="d0\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "claimed: jobs may write to d0" in done.stdout
    kept = digest(device)
    assert kept != before
    again = iovigil("claim", "d0", "--config", path)
    assert (again.returncode, again.stdout) == (0, f"d0 is claimed already: {device}\n")
    assert digest(device) == kept


def test_from_claim_to_release(loop_device: MakeDevice, tmp_path: Path) -> None:
    device = loop_device(DEVICE_BYTES)
    path = configuration(tmp_path, device)
    disk = disk_of(device, name="d0")
    before = digest(device)
    assert "it has no ownership header" in iovigil("disks", path).stdout
    assert iovigil("claim", "d0", "--config", path, "--yes-erase", "d0").returncode == 0
    assert "writable: region of 8.0 MiB at 2.0 MiB: claimed, uuid" in iovigil("disks", path).stdout
    assert "d0: writable: region of 8.0 MiB at 2.0 MiB" in " ".join(iovigil("check-config", path).stdout.split())
    assert iovigil("release", "d0", "--config", path).returncode == 0
    assert digest(device) == before
    assert run(disk).exit.status == exit_status.TARGET_REFUSED
    again = iovigil("release", "d0", "--config", path)
    assert again.returncode == 1
    assert "it has no ownership header" in again.stderr


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("{name: d0, file: /tmp/x, size: 1MiB}", "is a probe file, which needs no claim"),
        ("{name: d0, device: /dev/loop99999}", "is a device without a region"),
        ("{name: d1, device: /dev/loop99999}", "has no disk d0: there are d1"),
        ("{name: d0, device: /dev/loop99999, region: {offset: 1g, size: 1g}}", "there is no device /dev/loop99999"),
        ("{name: d0, device: /dev/null, region: {offset: 1g, size: 1g}}", "is a character device"),
    ],
)
def test_what_cannot_be_claimed_is_said(tmp_path: Path, lines: str, words: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(f"disks: [{lines}]\nprobes:\n  r: {{every: 60s, job: {{rw: read, bs: 4k, runtime: 1s}}}}\n")
    for act in ("claim", "release"):
        done = iovigil(act, "d0", "--config", path)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@contextlib.contextmanager
def read_only_mount(device: Path, point: Path) -> Iterator[None]:
    """Without its journal being replayed: nothing but a job could change the device."""
    point.mkdir()
    command("mount", "-o", "ro,noload", device, point)
    try:
        yield
    finally:
        command("umount", point)


def wait_until_free(device: Path) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
        except OSError:
            assert time.monotonic() < end_s, f"{device} is still in use"
            time.sleep(0.01)

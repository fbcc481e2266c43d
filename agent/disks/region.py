"""Whether a region of a raw device is ours to write: every check that the guard makes, on descriptors it has opened."""

import fcntl
import os
import stat
import sys
import time

from iovigil.agent.disks import claims, hardware, ownership, signatures, sysfs
from iovigil.agent.disks.refusal import Refused

HEADER = ownership.BLOCK
# Whatever knows a disk by its first or last bytes stands there: partition tables and the backup of a GPT, RAID
# superblocks, the labels of ZFS and LVM, boot code.
MARGIN = 1 << 20
ALIGNMENT = 4096
PASSING_S = 1.0

BLKPBSZGET = 0x127B
BLKGETDISKSEQ = 0x80081280


class Device:
    """A block device that is pinned: what the kernel calls it, whatever a path may say by now."""

    __slots__ = ("name", "number", "path", "pin", "rdev", "root")

    def __init__(self, pin: int, path: str, root: str = "/") -> None:
        """Raises Refused when the kernel tells nothing of it: then nobody can say who else uses it."""
        self.pin = pin
        self.path = path
        self.root = root
        self.rdev = os.fstat(pin).st_rdev
        self.number = f"{os.major(self.rdev)}:{os.minor(self.rdev)}"
        self.name = sysfs.name_of(self.number, root)
        if not self.name:
            raise Refused(f"{path}: the kernel has no device {self.number} in /sys, so that nobody can say whose it is")

    def require_same(self, fd: int) -> None:
        """Raise Refused unless a descriptor is of this very device, which still is the one of that number."""
        status = os.fstat(fd)
        if not stat.S_ISBLK(status.st_mode) or status.st_rdev != self.rdev:
            raise Refused(f"{self.path} became another device while it was opened")
        if sysfs.name_of(self.number, self.root) != self.name or self.opened_sequence(fd) != self.known_sequence():
            raise Refused(f"{self.path} was unplugged while it was looked at")

    def opened_sequence(self, fd: int) -> str:
        """The kernel's count of disks, as it was when this one was attached: a number is given to many in turn."""
        if not self.known_sequence():
            return ""  # before Linux 5.15
        answer = bytearray(8)
        try:
            fcntl.ioctl(fd, BLKGETDISKSEQ, answer)
        except OSError:
            return self.known_sequence()  # the number of this request is another one on some architectures
        return str(int.from_bytes(answer, sys.byteorder))

    def known_sequence(self) -> str:
        return sysfs.read(f"{sysfs.directory(sysfs.whole_disk(self.name, self.root), self.root)}/diskseq")


def bytes_of_jobs(declared: tuple[int, int]) -> tuple[int, int]:
    """The first byte of a declared region that jobs may touch, and how many those are."""
    offset, size = declared
    return offset + HEADER, size - HEADER


def require_unused(device: Device) -> None:
    """Raise Refused at any sign, in /proc and /sys, of somebody who uses the device."""
    end_s = time.monotonic() + PASSING_S
    while not (reasons := claims.signs(device.name, device.root)):
        reasons = claims.writers(device.number, device.root)
        # What asks a disk for its health opens it for writing too, for a moment.
        if not reasons or time.monotonic() >= end_s:
            break
        time.sleep(0.02)
    if reasons:
        raise Refused(f"{device.path} is not written to: {'; '.join(reasons)}")


def require_nobody(device: Device, look: int) -> None:
    """Raise Refused at any sign of somebody, in use now or on the medium; the device is claimed, so that none comes.

    `look` is open for buffered reads.
    """
    # Who wrote before the claim is seen by his descriptor; this process is the one that is left out.
    require_unused(device)
    size = os.lseek(look, 0, os.SEEK_END)
    found = signatures.find(device.pin, look, size)
    whole = sysfs.whole_disk(device.name, device.root)
    if whole != device.name:
        found += [f"{whole}, the whole disk: {what}" for what in on_whole_disk(device, whole)]
    if found:
        raise Refused(f"{device.path} is not written to: there is {'; '.join(found)}")


def on_whole_disk(device: Device, whole: str) -> list[str]:
    """What stands on the disk beside its partition table: a stale table may lie inside a volume of somebody's."""
    path = sysfs.under(device.root, f"/dev/{whole.replace('!', '/')}")
    try:
        pin = os.open(path, os.O_PATH)
    except OSError as problem:
        raise Refused(f"{path}: {problem.strerror}; without it nobody can tell what is on the disk") from None
    try:
        status = os.fstat(pin)
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        if not stat.S_ISBLK(status.st_mode) or sysfs.name_of(number, device.root) != whole:
            raise Refused(f"{path} is not the disk {whole}: nobody can tell what is on that")
        return signatures.by_wipefs(pin, but_tables=True)
    finally:
        os.close(pin)


def check_place(device: Device, look: int, declared: tuple[int, int], logical_block: int) -> None:
    """Raise Refused unless a region lies on the device, away from its ends, on whole blocks of the medium."""
    offset, size = declared
    device_bytes = os.lseek(look, 0, os.SEEK_END)
    if device_bytes == 0:
        raise Refused(f"{device.path} has no medium: its size is 0")
    if device_bytes != sysfs.size_bytes(device.name, device.root):
        raise Refused(f"{device.path} has {device_bytes} bytes, and /sys says another number: it is changing")
    block = max(ALIGNMENT, logical_block, physical_block_size(look))
    if offset < 0 or size <= HEADER or offset % block or size % block or HEADER % logical_block:
        raise Refused(
            f"{device.path}: region offset={offset} size={size} must be multiples of {block}, with more than {HEADER}"
        )
    if offset < MARGIN:
        raise Refused(
            f"{device.path}: region offset={offset} reaches into the first {MARGIN} bytes, where partition tables and "
            "labels stand: it must begin behind them"
        )
    if offset + size > device_bytes - MARGIN:
        raise Refused(
            f"{device.path}: the region ends at {offset + size}, and must end {MARGIN} bytes before the device "
            f"does, at {device_bytes - MARGIN} or lower: backups of partition tables and labels stand there"
        )


def physical_block_size(fd: int) -> int:
    answer = bytearray(4)
    try:
        fcntl.ioctl(fd, BLKPBSZGET, answer)
    except OSError:
        return 1  # the number of this request is another one on some architectures
    return int.from_bytes(answer, sys.byteorder) or 1


def header(look: int, offset: int) -> bytes:
    """The block at the start of a region, as it is on the medium and not in this host's memory."""
    os.posix_fadvise(look, offset, HEADER, os.POSIX_FADV_DONTNEED)
    return os.pread(look, HEADER, offset)


def check_owner(device: Device, look: int, disk: str, declared: tuple[int, int]) -> ownership.Ownership:
    """What the region's header says. Raises Refused unless that is this disk, this device and this region."""
    offset, size = declared
    place = f"{device.path}, region at {offset}"
    try:
        owned = ownership.parse(header(look, offset))
    except ownership.OtherVersion as reason:
        raise Refused(f"{place}: {reason}") from None
    except ownership.NotOurs as reason:
        raise Refused(f"{place}: {reason}; `iovigil claim {disk} --config FILE` takes it, and erases it") from None
    if owned.disk != disk:
        raise Refused(f"{place}: it is the region of disk {owned.disk}, not of {disk}")
    found = hardware.read(device.name, device.root)
    if not found.is_known or owned.hardware != found:
        raise Refused(
            f"{place}: its ownership header was written for another device ({owned.hardware}) and was copied to this "
            f"one ({found}), or this one has changed"
        )
    if (owned.offset, owned.size) != (offset, size):
        raise Refused(
            f"{place}: it was claimed with offset={owned.offset} size={owned.size}, and the configuration says "
            f"offset={offset} size={size}: `iovigil release` it with the old configuration, then claim it anew"
        )
    return owned

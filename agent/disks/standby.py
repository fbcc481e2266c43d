"""Whether a disk is asleep, asked in ways that do not wake it; read light enough for the first half of a child."""

import array
import errno
import fcntl
import os
import struct

from iovigil.agent.disks import sysfs

SG_IO = 0x2285
SG_HEADER = "iiBBHIPPPIIiPBBBBHHiII0P"
FROM_DEVICE, NO_DATA = -3, -1
ANSWER_MS = 3000
SENSE_BYTES = 64

REQUEST_SENSE = bytes((0x03, 0, 0, 0, SENSE_BYTES, 0))
# CHECK POWER MODE by ATA PASS-THROUGH (16), without data; its answer comes as sense data (CK_COND).
CHECK_POWER_MODE = bytes((0x85, 3 << 1, 0x20, *([0] * 11), 0xE5, 0))
ATA_STANDBY = (0x00, 0x01, 0x40)  # standby_z, standby_y, the spindle of a drive with a cache in flash
NOT_READY = 0x02
# ASC and ASCQ of a unit in standby or stopped; in an idle condition the disk still turns.
SCSI_STANDBY = ((0x5E, 0x00), (0x5E, 0x02), (0x5E, 0x04), (0x5E, 0x09), (0x5E, 0x0A))
SCSI_STOPPED = ((0x04, 0x02), (0x04, 0x11))


class DoesNotSay(Exception):
    """A disk, or the system, does not tell whether it is asleep; the text says why."""


def asleep(name: str, root: str = "/") -> str:
    """Which of the disks below a device is asleep, in words; empty where none is, or none says so.

    It takes only one of an array to be woken.
    """
    for disk in disks_below(name, root):
        try:
            state = of_disk(disk, root)
        except DoesNotSay:
            continue
        if state:
            return f"{disk} is {state}"
    return ""


def disks_below(name: str, root: str = "/") -> list[str]:
    """The whole disks that a device is built on, itself where it is one."""
    found = []
    waiting = [sysfs.whole_disk(name, root)]
    for each in waiting:
        below = [sysfs.whole_disk(slave, root) for slave in sysfs.slaves(each, root)]
        waiting += [disk for disk in below if disk not in waiting]
        if not below:
            found.append(each)
    return found


def of_disk(disk: str, root: str = "/") -> str:
    """In what sleep a disk is; empty when it is awake, or of a kind that has none to be woken from.

    Raises DoesNotSay.
    """
    place = sysfs.directory(disk, root)
    # Asked by a command the kernel would wake it: this comes first.
    if sysfs.read(f"{place}/device/power/runtime_status") in ("suspended", "suspending"):
        return "suspended by the kernel"
    if not disk.startswith("sd") or not os.path.exists(f"{place}/device/vendor"):
        return ""  # NVMe drives and what is virtual answer whenever they are asked
    try:
        fd = os.open(sysfs.under(root, f"/dev/{disk}"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise DoesNotSay(f"/dev/{disk}: {problem.strerror}") from None
    try:
        return by_ata(fd) if sysfs.read(f"{place}/device/vendor") == "ATA" else by_scsi(fd)
    except OSError as problem:
        needed = ": it takes CAP_SYS_RAWIO" if problem.errno == errno.EPERM else ""
        raise DoesNotSay(f"/dev/{disk}: {problem.strerror}{needed}") from None
    finally:
        os.close(fd)


def by_ata(fd: int) -> str:
    sense, _ = command(fd, CHECK_POWER_MODE, 0)
    return "in standby" if power_mode(sense) in ATA_STANDBY else ""


def by_scsi(fd: int) -> str:
    # Of REQUEST SENSE the answer is in its data, whatever was wrong before.
    _, data = command(fd, REQUEST_SENSE, SENSE_BYTES)
    key, code = sense_code(data)
    if code in SCSI_STANDBY:
        return "in standby"
    return "stopped" if key == NOT_READY and code in SCSI_STOPPED else ""


def power_mode(sense: bytes) -> int:
    """The sector count with which an ATA disk answers. Raises OSError where there is no answer in it."""
    if sense[:1] in (b"\x72", b"\x73") and sense[8:9] == b"\x09":
        return sense[13]
    if sense[:1] in (b"\x70", b"\x71", b"\xf0", b"\xf1") and (sense[12], sense[13]) == (0x00, 0x1D):
        return sense[6]
    raise OSError(errno.ENODATA, "it does not answer CHECK POWER MODE")


def sense_code(data: bytes) -> tuple[int, tuple[int, int]]:
    """Sense key, and ASC with ASCQ."""
    if data[:1] in (b"\x72", b"\x73"):
        return data[1] & 0x0F, (data[2], data[3])
    return data[2] & 0x0F, (data[12], data[13])


def command(fd: int, cdb: bytes, length: int) -> tuple[bytes, bytes]:
    """Sense data and data of a SCSI command. Raises OSError."""
    blocks = [array.array("B", block) for block in (cdb, bytes(SENSE_BYTES), bytes(length or 1))]
    (cdb_at, cdb_size), (sense_at, sense_size), (data_at, _) = (block.buffer_info() for block in blocks)
    direction = FROM_DEVICE if length else NO_DATA
    # fmt: off
    header = bytearray(struct.pack(
        SG_HEADER, ord("S"), direction, cdb_size, sense_size, 0, length, data_at, cdb_at, sense_at,
        ANSWER_MS, 0, 0, 0, *([0] * 4), 0, 0, 0, 0, 0,
    ))
    # fmt: on
    fcntl.ioctl(fd, SG_IO, header)
    host_status = struct.unpack(SG_HEADER, header)[17]
    if host_status:
        raise OSError(errno.EIO, f"no answer (host status {host_status:#x})")
    return blocks[1].tobytes(), blocks[2].tobytes()

"""Takes a region of a raw device into possession and gives it up: the only writers of an ownership header."""

from __future__ import annotations

import os

from iovigil.agent.disks import guard, hardware, ownership, region
from iovigil.agent.disks.layout import readable
from iovigil.agent.disks.ownership import Ownership
from iovigil.agent.disks.refusal import Refused

SAMPLES = 64


def forecast(disk: str, path: str, declared: tuple[int, int], root: str = "/") -> str:
    """What the guard would say to a job that writes there, without writing. Raises Refused and OSError as it would."""
    owned = look_over(disk, path, declared, root, expects_header=True)
    assert owned is not None
    return f"region of {described(declared)}: claimed, uuid {ownership.spell_uuid(owned.uuid)}"


def prospect(disk: str, path: str, declared: tuple[int, int], root: str = "/") -> str:
    """What a claim would erase; nothing is written. Raises Refused and OSError where it would not be allowed."""
    if look_over(disk, path, declared, root, expects_header=False) is not None:
        return ""
    pin = guard.pinned_device(path)
    try:
        device = region.Device(pin, path, root)
        look = guard.reopened(pin, path, os.O_RDONLY)
        try:
            told = hardware.read(device.name, root)
            taken = samples_with_data(look, declared)
            is_begun = any(os.pread(look, region.MARGIN, 0))
        finally:
            os.close(look)
    finally:
        os.close(pin)
    contents = f"{taken} of {SAMPLES} samples hold data" if taken else f"all of {SAMPLES} samples are zero"
    # A database may use a whole device and leave no mark that anybody else knows.
    strange = "; what the device begins with is not blank, and no tool knows it" if is_begun else ""
    return f"{path} ({device.name}: {told}), region of {described(declared)}: {contents}{strange}"


def look_over(disk: str, path: str, declared: tuple[int, int], root: str, *, expects_header: bool) -> Ownership | None:
    """What the region's header says, None where it has none and need not; the device is claimed for a moment only."""
    pin = guard.pinned_device(path)
    try:
        device = region.Device(pin, path, root)
        look = guard.claimed(pin, device, os.O_RDONLY)
        try:
            return examine(device, look, disk, declared, expects_header=expects_header)
        finally:
            os.close(look)
    finally:
        os.close(pin)


def examine(
    device: region.Device, look: int, disk: str, declared: tuple[int, int], *, expects_header: bool
) -> Ownership | None:
    """Every check of the guard; without a header only where that is not expected. Raises Refused."""
    device.require_same(look)
    region.check_place(device, look, declared, guard.logical_block_size(look))
    owned = None
    if expects_header or has_header(look, declared[0]):
        owned = region.check_owner(device, look, disk, declared)
    region.require_nobody(device, look)
    return owned


def claim(disk: str, path: str, declared: tuple[int, int], root: str = "/") -> bool:
    """Write the ownership header, after every check of the guard but that for it; False where it is there already.

    Raises Refused, and OSError for what the system says.
    """
    pin = guard.pinned_device(path)
    try:
        device = region.Device(pin, path, root)
        fd = guard.claimed(pin, device, os.O_RDWR)
        try:
            if examine(device, fd, disk, declared, expects_header=False) is not None:
                return False
            told = hardware.read(device.name, root)
            if not told.is_known:
                raise Refused(
                    f"{path} tells neither a wwn nor a serial number: nothing would tell it from another disk of its "
                    "size; use a probe file"
                )
            offset, size = declared
            try:
                block = ownership.pack(Ownership(disk, offset, size, told, os.urandom(16)))
            except ValueError as reason:
                raise Refused(f"{path} cannot be claimed: {reason}") from None
            device.require_same(fd)
            put(fd, path, block, offset)
            return True
        finally:
            os.close(fd)
    finally:
        os.close(pin)


def release(disk: str, path: str, declared: tuple[int, int], root: str = "/") -> None:
    """Take the ownership header away, which must be that of this disk; the rest of the region stays as it is.

    The checks are the guard's: where somebody else came, what stands there may be his by now. Raises Refused, OSError.
    """
    pin = guard.pinned_device(path)
    try:
        device = region.Device(pin, path, root)
        fd = guard.claimed(pin, device, os.O_RDWR)
        try:
            examine(device, fd, disk, declared, expects_header=True)
            device.require_same(fd)
            put(fd, path, bytes(region.HEADER), declared[0])
        finally:
            os.close(fd)
    finally:
        os.close(pin)


def has_header(look: int, offset: int) -> bool:
    """Whether somebody's header stands there; a damaged one is nobody's, and a claim may replace it."""
    try:
        ownership.parse(region.header(look, offset))
    except ownership.OtherVersion:
        return True
    except ownership.NotOurs:
        return False
    return True


def put(fd: int, path: str, block: bytes, offset: int) -> None:
    """Write a block and read it back from the medium. Raises OSError, and Refused when something else came back."""
    if os.pwrite(fd, block, offset) != len(block):
        raise Refused(f"{path}: only a part of the ownership header could be written")
    os.fsync(fd)
    if region.header(fd, offset) != block:
        raise Refused(f"{path}: the ownership header reads back otherwise than it was written: look into the disk")


def samples_with_data(look: int, declared: tuple[int, int]) -> int:
    """How many blocks of those looked at, evenly over a region, are not zero."""
    offset, size = declared
    blocks = size // region.HEADER
    places = (offset + blocks * sample // SAMPLES * region.HEADER for sample in range(SAMPLES))
    return sum(any(os.pread(look, region.HEADER, place)) for place in places)


def described(declared: tuple[int, int]) -> str:
    offset, size = declared
    return f"{readable(size)} at {readable(offset)}"

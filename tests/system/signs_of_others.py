"""Puts onto a device what others put there, by hand: the bytes by which each of them knows a device as its own."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

KIB = 1 << 10
ZFS_LABEL = 256 * KIB


def put(device: Path, data: bytes, offset: int) -> None:
    with device.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()


def lvm(device: Path) -> None:
    body = struct.pack("<I8s32s", 32, b"LVM2 001", b"u" * 32).ljust(512 - 20, b"\0")
    put(device, b"LABELONE" + struct.pack("<Q", 1) + struct.pack("<I", lvm_crc(body)) + body, 512)


def lvm_crc(data: bytes) -> int:
    return ~zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) & 0xFFFFFFFF ^ 0xFFFFFFFF


def md(device: Path, minor: int) -> None:
    """A superblock of version 1.0, at the end, or 1.2, near the start."""
    size = device_size(device)
    sector = 8 if minor == 2 else (size // 512 - 16) & ~7
    head = struct.pack("<IIII16s32sQIIQII", 0xA92B4EFC, 1, 0, 0, b"m" * 16, b"name", 0, 1, 0, 0, 0, 2)
    block = bytearray(head.ljust(256, b"\0"))
    struct.pack_into("<QQQ", block, 128, 16384, size // 512 - 32768, sector)
    struct.pack_into("<I", block, 220, 0)
    total = sum(struct.unpack("<64I", block))
    struct.pack_into("<I", block, 216, (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF)
    put(device, bytes(block), sector * 512)


def md_0_90(device: Path) -> None:
    size = device_size(device)
    words = [0xA92B4EFC, 0, 90, 0, 0, 1, 0, 1, 0, 2, 2]
    put(device, struct.pack(f"<{len(words)}I", *words).ljust(4096, b"\0"), (size & ~0xFFFF) - 0x10000)


def zfs_uberblocks(device: Path) -> None:
    for slot in range(4):
        put(device, struct.pack("<QQ", 0xBAB10C, 5000), ZFS_LABEL // 2 + slot * KIB)


def zfs_one_uberblock_in_the_last_label(device: Path) -> None:
    put(device, struct.pack(">Q", 0xBAB10C), device_size(device) - ZFS_LABEL // 2 + 7 * KIB)


def zfs_names_in_the_third_label(device: Path) -> None:
    put(device, b"\x01\x01\0\0pool_guid", device_size(device) - 2 * ZFS_LABEL + 16 * KIB)


def mbr(device: Path) -> None:
    entry = struct.pack("<B3sB3sII", 0, b"\0" * 3, 0x83, b"\0" * 3, 2048, 4096)
    put(device, entry.ljust(64, b"\0") + b"\x55\xaa", 446)


def gpt_header(own: int, other: int) -> bytes:
    head = bytearray(
        struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, 34, 999, b"g" * 16, 2, 128, 128, 0
        )
    )
    struct.pack_into("<I", head, 16, zlib.crc32(head))
    return bytes(head)


def gpt(device: Path) -> None:
    put(device, gpt_header(1, device_size(device) // 512 - 1), 512)


def backup_gpt(device: Path) -> None:
    last = device_size(device) // 512 - 1
    put(device, gpt_header(last, 1), last * 512)


def gpt_of_4k_blocks(device: Path) -> None:
    put(device, gpt_header(1, 99), 4096)


def at(offset: int, data: bytes) -> Callable[[Path], None]:
    return lambda device: put(device, data, offset)


def device_size(device: Path) -> int:
    with device.open("rb") as file:
        return file.seek(0, 2)


SIGNS: Final[dict[str, tuple[Callable[[Path], None], str]]] = {
    "lvm": (lvm, "LVM2_member"),
    "md-1.2": (lambda device: md(device, 2), "linux_raid_member"),
    "md-1.0-at-the-end": (lambda device: md(device, 0), "linux_raid_member"),
    "md-0.90-at-the-end": (md_0_90, "linux_raid_member"),
    "zfs": (zfs_uberblocks, "ZFS label 0"),
    "zfs-one-uberblock": (zfs_one_uberblock_in_the_last_label, "ZFS label 3"),
    "zfs-names": (zfs_names_in_the_third_label, "ZFS label 2"),
    "bluestore": (at(0, b"bluestore block device\n"), "BlueStore label at 0x0"),
    "luks1": (at(0, b"LUKS\xba\xbe\0\x01".ljust(592, b"\0")), "LUKS at 0x0"),
    "luks2-second-header": (
        at(0x4000, b"SKUL\xba\xbe\0\x02" + struct.pack(">QQ", 0x4000, 3).ljust(504, b"\0")),
        "LUKS",
    ),
    "mbr": (mbr, "dos"),
    "gpt": (gpt, "GPT at 0x200"),
    "gpt-backup-alone": (backup_gpt, "GPT at 0x"),
    "gpt-4k": (gpt_of_4k_blocks, "GPT at 0x1000"),
    "bcachefs": (at(4096 + 24, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")), "bcachefs at 0x1018"),
    "btrfs": (at(0x10040, b"_BHRfS_M"), "btrfs"),
    "xfs": (at(0, b"XFSB" + struct.pack(">IQ", 4096, 16384)), "XFS at 0x0"),
    "damaged-ext4": (at(1080, b"\x53\xef"), "ext4 at 0x438"),
    "squashfs": (at(0, b"hsqs".ljust(28, b"\0") + struct.pack("<HH", 4, 0)), "squashfs"),
}
"""By name: what puts it there, and a word of the refusal."""

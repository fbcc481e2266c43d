"""The block at the start of a region of a raw device that says whose the region is: without it nothing is written."""

import struct
import zlib

BLOCK = 4096
MAGIC = b"iovigil region\x1a\0"
VERSION = 1
LONGEST_NAME = 255
LONGEST_IDENTITY = 1000

# magic, version, three lengths of text, uuid, offset and size of the region, size of the device, start of the
# partition, then the texts: name of the disk, WWN, serial number; zeros; CRC of all that.
HEAD = struct.Struct(f"<16sIHHHxx16sQQQQ{LONGEST_NAME}s{LONGEST_IDENTITY}s{LONGEST_IDENTITY}s")
CRC = struct.Struct("<I")


class NotOurs(ValueError):
    """The block is no valid ownership header; the text says in which way."""


class OtherVersion(NotOurs):
    """A later iovigil wrote it."""


class Hardware:
    """What tells a device from any other, and stays when it is plugged in elsewhere."""

    __slots__ = ("device_bytes", "partition_start", "serial", "wwn")

    def __init__(self, wwn: str, serial: str, device_bytes: int, partition_start: int = 0) -> None:
        self.wwn = wwn
        self.serial = serial
        self.device_bytes = device_bytes
        self.partition_start = partition_start
        """Bytes from the start of the disk; 0 for a whole disk."""

    @property
    def is_known(self) -> bool:
        return bool(self.wwn or self.serial)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hardware) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    @property
    def values(self) -> tuple[str, str, int, int]:
        return self.wwn, self.serial, self.device_bytes, self.partition_start

    def __str__(self) -> str:
        named = [f"wwn {self.wwn}"] if self.wwn else []
        named += [f"serial {self.serial}"] if self.serial else []
        place = f", a partition from {self.partition_start}" if self.partition_start else ""
        return f"{', '.join(named) or 'without wwn and serial'}, {self.device_bytes} bytes{place}"


class Ownership:
    """Whose a region is: what its header holds."""

    __slots__ = ("disk", "hardware", "offset", "size", "uuid")

    def __init__(self, disk: str, offset: int, size: int, hardware: Hardware, uuid: bytes) -> None:
        self.disk = disk
        self.offset = offset
        self.size = size
        """Bytes of the region, its header among them."""
        self.hardware = hardware
        self.uuid = uuid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ownership) and pack(self) == pack(other)

    def __hash__(self) -> int:
        return hash(self.uuid)


def pack(owned: Ownership) -> bytes:
    """The header. Raises ValueError for a text that does not fit."""
    texts = []
    for what, text, longest in (
        ("the disk's name", owned.disk, LONGEST_NAME),
        ("the device's WWN", owned.hardware.wwn, LONGEST_IDENTITY),
        ("the device's serial number", owned.hardware.serial, LONGEST_IDENTITY),
    ):
        texts.append(text.encode())
        if len(texts[-1]) > longest:
            raise ValueError(f"{what} is longer than {longest} bytes: {text}")
    head = HEAD.pack(
        MAGIC,
        VERSION,
        *map(len, texts),
        owned.uuid,
        owned.offset,
        owned.size,
        owned.hardware.device_bytes,
        owned.hardware.partition_start,
        *texts,
    ).ljust(BLOCK - CRC.size, b"\0")
    return head + CRC.pack(zlib.crc32(head))


def parse(block: bytes) -> Ownership:
    """What a header says. Raises NotOurs."""
    if len(block) != BLOCK or not block.startswith(MAGIC):
        raise NotOurs("it has no ownership header of iovigil")
    head = block[: -CRC.size]
    if CRC.unpack(block[-CRC.size :])[0] != zlib.crc32(head):
        raise NotOurs("its ownership header is damaged, perhaps by the disk: look into that first")
    _, version, *rest = HEAD.unpack_from(head)
    if version != VERSION:
        raise OtherVersion(f"its ownership header has version {version}, this iovigil knows version {VERSION}")
    name_length, wwn_length, serial_length, uuid, offset, size, device_bytes, partition_start, name, wwn, serial = rest
    hardware = Hardware(
        wwn[:wwn_length].decode(errors="replace"),
        serial[:serial_length].decode(errors="replace"),
        device_bytes,
        partition_start,
    )
    return Ownership(name[:name_length].decode(errors="replace"), offset, size, hardware, uuid)


def spell_uuid(uuid: bytes) -> str:
    text = uuid.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

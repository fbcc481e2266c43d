"""The block behind the last data of a probe file that says whose the file is: nothing without it is ever written."""

import struct
import zlib

BLOCK = 4096
MAGIC = b"iovigil probe\n\x1a\0"
VERSION = 1
LONGEST_NAME = 255

# magic, version, length of the disk's name, size of the data before the footer, name; zeros; CRC of all that.
HEAD = struct.Struct(f"<16sIIQ{LONGEST_NAME}s")
CRC = struct.Struct("<I")


class NotAFooter(ValueError):
    """The block is no valid footer; the text says in which way."""


def offset(size: int) -> int:
    """Where the footer of so many bytes of data stands: on a block of its own, which direct I/O to the data spares."""
    return -(-size // BLOCK) * BLOCK


def pack(disk: str, size: int) -> bytes:
    """The footer of this disk's file. Raises ValueError for a name that does not fit."""
    name = disk.encode()
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the disk's name is longer than {LONGEST_NAME} bytes: {disk}")
    head = HEAD.pack(MAGIC, VERSION, len(name), size, name).ljust(BLOCK - CRC.size, b"\0")
    return head + CRC.pack(zlib.crc32(head))


def parse(block: bytes) -> tuple[str, int]:
    """The disk's name and the size of its data. Raises NotAFooter."""
    if len(block) != BLOCK or not block.startswith(MAGIC):
        raise NotAFooter("it has no footer of iovigil")
    head = block[: -CRC.size]
    if CRC.unpack(block[-CRC.size :])[0] != zlib.crc32(head):
        raise NotAFooter("its footer is damaged, perhaps by the disk: look into that first")
    _, version, length, size, name = HEAD.unpack_from(head)
    if version != VERSION:
        raise NotAFooter(f"its footer has version {version}, this iovigil knows version {VERSION}")
    return name[:length].decode(), size

"""The kinds of value that a configuration holds: how each is written, read and described to an editor."""

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from iovigil.engines.options import SECOND_US
from iovigil.engines.quantities import parse_size, parse_time_us, quoted, spell_size, spell_time

LABEL: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
GLOB: Final = re.compile(r"[A-Za-z0-9_.:*?\[\]!-]{1,64}", re.ASCII)
ADDRESS: Final = re.compile(r"(?P<host>|[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):(?P<port>[0-9]{1,5})", re.ASCII)

FLAGS: Final[Mapping[str, bool]] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

# The disk's own footer, the blocks of direct I/O and a block of every probe have to find room.
SMALLEST_FILE: Final = 1 << 20
LARGEST_FILE: Final = 1 << 50
FILE_BLOCK: Final = 4096
SHORTEST_INTERVAL_US: Final = SECOND_US
LONGEST_INTERVAL_US: Final = 366 * 86_400 * SECOND_US


class Kind(NamedTuple):
    """How to read a value's text (ValueError says what is wrong with it), and its JSON schema."""

    read: Callable[[str], Any]
    schema: Mapping[str, Any]


def read_label(text: str) -> str:
    if not LABEL.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a name: 1 to 64 of the characters A-Z a-z 0-9 _ . : -")
    return text


def read_glob(text: str) -> str:
    if not GLOB.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a pattern of disk names, such as data*")
    return text


def read_address(text: str) -> str:
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{quoted(text)} is not an address: host:port, [v6]:port or :port")
    if int(match["port"]) > 65535:
        raise ValueError(f"port {match['port']} is not in 0..65535")
    return text


def read_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{quoted(text)} is not an absolute path: it has to begin with /")
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} has characters that cannot be printed")
    return "/" + posixpath.normpath(text).lstrip("/")


def read_file(text: str) -> str:
    path = read_path(text)
    if text.endswith("/"):
        raise ValueError(f"{quoted(text)} names a directory: give the probe file in it, such as {path}/.iovigil")
    if path.startswith("/dev/") and not path.startswith("/dev/shm/"):
        raise ValueError(f"{quoted(text)} is under /dev: give a block device as device, not as file")
    return path


def read_device(text: str) -> str:
    path = read_path(text)
    if not path.startswith("/dev/"):
        raise ValueError(f"{quoted(text)} is not under /dev: give a probe file as file, not as device")
    return path


def read_size(text: str) -> int:
    size = parse_size(text)
    if not SMALLEST_FILE <= size <= LARGEST_FILE:
        raise ValueError(f"{quoted(text)} is not in {spell_size(SMALLEST_FILE)}..{spell_size(LARGEST_FILE)}")
    if size % FILE_BLOCK:
        raise ValueError(f"{quoted(text)} is not a multiple of {spell_size(FILE_BLOCK)}")
    return size


def read_interval_s(text: str) -> float:
    interval_us = parse_time_us(text, SECOND_US)
    if not SHORTEST_INTERVAL_US <= interval_us <= LONGEST_INTERVAL_US:
        least, most = spell_time(SHORTEST_INTERVAL_US), spell_time(LONGEST_INTERVAL_US)
        raise ValueError(f"{quoted(text)} is not in {least}..{most}")
    return interval_us / SECOND_US


def read_flag(text: str) -> bool:
    if text not in FLAGS:
        raise ValueError(f"{quoted(text)} is not a flag: true or false")
    return FLAGS[text]


def whole(least: int, most: int) -> Kind:
    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
            raise ValueError(f"{quoted(text)} is not a whole number in {least}..{most}")
        if not least <= int(text) <= most:
            raise ValueError(f"{text} is not in {least}..{most}")
        return int(text)

    return Kind(read, {"type": "integer", "minimum": least, "maximum": most})


NAME: Final = Kind(read_label, {"type": "string", "pattern": f"^{LABEL.pattern}$"})
PATTERN: Final = Kind(read_glob, {"type": "string", "pattern": rf"^{GLOB.pattern}$"})
LISTEN: Final = Kind(read_address, {"type": "string", "examples": ["127.0.0.1:9942", "[::]:9942", ":9942"]})
DIRECTORY: Final = Kind(read_path, {"type": "string", "pattern": "^/"})
FILE: Final = Kind(read_file, {"type": "string", "pattern": "^/"})
DEVICE: Final = Kind(read_device, {"type": "string", "pattern": "^/dev/"})
SIZE: Final = Kind(read_size, {"type": ["integer", "string"], "examples": ["1GiB"]})
INTERVAL: Final = Kind(read_interval_s, {"type": ["number", "string"], "examples": ["30s", "10m", "1d"]})
FLAG: Final = Kind(read_flag, {"enum": [True, False, 0, 1, "yes", "no"]})

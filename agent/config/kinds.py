"""The kinds of value that a configuration holds: how each is written, read and described to an editor."""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from iovigil.agent.windows import WEEKDAYS, parse_days, parse_time_s, spell_time_of_day
from iovigil.engines.options import SECOND_US
from iovigil.engines.quantities import parse_size, parse_time_us, quoted, spell_size, spell_time
from iovigil.engines.spelling import FLAGS

LABEL: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
GLOB: Final = re.compile(r"[A-Za-z0-9_.:*?\[\]!-]{1,64}", re.ASCII)
ADDRESS: Final = re.compile(r"(?P<host>|[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):(?P<port>[0-9]{1,5})", re.ASCII)

HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
FIELD: Final = re.compile(r"\{([^{}]*)\}")
TELLING_FIELDS: Final = ("serial", "wwn", "by_id", "by_path", "mount", "kernel")
TEMPLATE_FIELDS: Final = (*TELLING_FIELDS, "model", "transport", "controller")
LONGEST_PATTERN: Final = 256
LONGEST_SOCKET: Final = 107
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
SECRET_NAME: Final = re.compile(r"authorization|token|secret|cookie|key|password", re.IGNORECASE)

# The disk's own footer, the blocks of direct I/O and a block of every probe have to find room.
SMALLEST_FILE: Final = 1 << 20
LARGEST_FILE: Final = 1 << 50
FILE_BLOCK: Final = 4096
SMALLEST_SHARE: Final = 0.1
# A child is Python, the stats page and its buffers: with less every run would end in the kernel's killing it.
SMALLEST_MEMORY: Final = 64 << 20
SLOWEST_THROUGHPUT: Final = 4096
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


def read_template(text: str) -> str:
    """A name with fields in braces, at least one of which no two disks share."""
    parts = FIELD.split(text)
    literal, fields = "".join(parts[::2]), parts[1::2]
    if unknown := [field for field in fields if field not in TEMPLATE_FIELDS]:
        raise ValueError(f"{quoted(text)}: there is no {{{unknown[0]}}}; there are {braced(TEMPLATE_FIELDS)}")
    if literal and not LABEL.fullmatch(literal[:64]):
        raise ValueError(f"{quoted(text)}: beside {{fields}} a name has only the characters A-Z a-z 0-9 _ . : -")
    if not set(fields) & set(TELLING_FIELDS):
        raise ValueError(f"{quoted(text)} would be the name of several disks: it needs one of {braced(TELLING_FIELDS)}")
    return text


def braced(fields: Iterable[str]) -> str:
    return ", ".join(f"{{{field}}}" for field in fields)


def read_fact_pattern(text: str) -> str:
    if not text or not text.isprintable() or len(text) > LONGEST_PATTERN:
        raise ValueError(f"{quoted(text)} is not a pattern such as WDC*: 1 to {LONGEST_PATTERN} printable characters")
    return text


def read_device_pattern(text: str) -> str:
    if not text.startswith("/dev/"):
        raise ValueError(f"{quoted(text)} is not under /dev: a device, or a link to it, such as /dev/nvme*n1")
    return read_fact_pattern(text)


def read_mount_pattern(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{quoted(text)} is not a pattern of mount points, such as /srv/*: it has to begin with /")
    return read_fact_pattern("/" + text.strip("/"))


def read_rotational(text: str) -> str:
    return "1" if read_flag(text) else "0"


def read_flag(text: str) -> bool:
    if text not in FLAGS:
        raise ValueError(f"{quoted(text)} is neither true nor false")
    return FLAGS[text]


def read_file_below(text: str) -> str:
    """The path of a file below some directory, which it does not leave."""
    if text.startswith("/") or not text.isprintable():
        raise ValueError(f"{quoted(text)} has to be relative to the mount point, such as .iovigil")
    path = posixpath.normpath(text)
    if text.endswith("/") or path == "." or path.split("/")[0] == "..":
        raise ValueError(f"{quoted(text)} is no file below the mount point")
    return path


def read_size(text: str) -> int:
    size = parse_size(text)
    if not SMALLEST_FILE <= size <= LARGEST_FILE:
        raise ValueError(f"{quoted(text)} is not in {spell_size(SMALLEST_FILE)}..{spell_size(LARGEST_FILE)}")
    if size % FILE_BLOCK:
        raise ValueError(f"{quoted(text)} is not a multiple of {spell_size(FILE_BLOCK)}")
    return size


def read_memory(text: str) -> int:
    size = parse_size(text)
    if not SMALLEST_MEMORY <= size <= LARGEST_FILE:
        raise ValueError(f"{quoted(text)} is not in {spell_size(SMALLEST_MEMORY)}..{spell_size(LARGEST_FILE)}")
    return size


def read_throughput(text: str) -> int:
    size = parse_size(text)
    if not SLOWEST_THROUGHPUT <= size <= LARGEST_FILE:
        raise ValueError(f"{quoted(text)} is not in {spell_size(SLOWEST_THROUGHPUT)}..{spell_size(LARGEST_FILE)}")
    return size


def read_interval_s(text: str) -> float:
    interval_us = parse_time_us(text, SECOND_US)
    if not SHORTEST_INTERVAL_US <= interval_us <= LONGEST_INTERVAL_US:
        least, most = spell_time(SHORTEST_INTERVAL_US), spell_time(LONGEST_INTERVAL_US)
        raise ValueError(f"{quoted(text)} is not in {least}..{most}")
    return interval_us / SECOND_US


def read_share(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%", text, re.ASCII)
    if match is None:
        raise ValueError(f"{quoted(text)} is not a share in per cent, such as 10%")
    share = float(match[1])
    if not SMALLEST_SHARE <= share <= 100:
        raise ValueError(f"{text} is not in {SMALLEST_SHARE:g}%..100%")
    return share


def read_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):  # a directory of zones, a path, a name that is none
        raise ValueError(
            f"{quoted(text)} is not a time zone that this host knows, such as Europe/Zurich or UTC: "
            "see timedatectl list-timezones (package tzdata)"
        ) from None
    return text


def read_days(text: str) -> str:
    days = parse_days(text)
    return text.lower().replace(" ", "") if len(days) < 7 else f"{WEEKDAYS[0]}-{WEEKDAYS[-1]}"


def read_time_of_day(text: str) -> str:
    return spell_time_of_day(parse_time_s(text))


def read_host_name(text: str) -> str:
    if not HOST_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not the name of a host, such as disks.example.org")
    return text.lower()


def read_socket(text: str) -> str:
    """The path of a Unix socket; empty for none."""
    if text == "none":
        return ""
    path = read_path(text)
    if len(path.encode()) > LONGEST_SOCKET:
        raise ValueError(f"{quoted(text)} is too long for a Unix socket: at most {LONGEST_SOCKET} bytes")
    return path


def read_endpoint(text: str) -> str:
    """The URL of a receiver, with its path and without a password."""
    example = "such as http://127.0.0.1:4318/v1/metrics, or Prometheus' http://host:9090/api/v1/otlp/v1/metrics"
    try:
        parts = urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a URL {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port or not text.isprintable():
        raise ValueError(f"{quoted(text)} is not a URL {example}")
    if "@" in parts.netloc:
        raise ValueError("has a password in it: give a header in headers_file")
    if parts.query or parts.fragment:
        raise ValueError("has more than a path, and may have a secret in it: give a header in headers_file")
    if parts.path in ("", "/"):
        raise ValueError(f"{quoted(text)} has no path: give the whole URL, {example}")
    return text


def read_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not HEADER_NAME.fullmatch(name.strip()) or not value.strip().isprintable():
        raise ValueError(f"{quoted(text)} is not a header such as X-Scope-OrgID: storage")
    return name.strip(), value.strip()


def read_open_header(text: str) -> str:
    name, value = read_header(text)
    if SECRET_NAME.search(name):
        raise ValueError(f"{name} is a secret, and this file is no place for one: give it in headers_file")
    return f"{name}: {value}"


def choice(*values: str) -> Kind:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"{quoted(text)} is not one of {', '.join(values)}")
        return text

    return Kind(read, {"enum": list(values)})


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
SOCKET: Final = Kind(read_socket, {"type": "string", "pattern": "^(/|none$)"})
ENDPOINT: Final = Kind(read_endpoint, {"type": "string", "pattern": "^https?://"})
HEADER: Final = Kind(read_open_header, {"type": "string", "pattern": "^[^:]+:"})
FILE: Final = Kind(read_file, {"type": "string", "pattern": "^/"})
DEVICE: Final = Kind(read_device, {"type": "string", "pattern": "^/dev/"})
TEMPLATE: Final = Kind(read_template, {"type": "string", "examples": ["{serial}", "{model}-{serial}", "{mount}"]})
FACT_PATTERN: Final = Kind(read_fact_pattern, {"type": ["string", "integer"]})
DEVICE_PATTERN: Final = Kind(read_device_pattern, {"type": "string", "pattern": "^/dev/"})
MOUNT_PATTERN: Final = Kind(read_mount_pattern, {"type": "string", "pattern": "^/"})
ROTATIONAL: Final = Kind(read_rotational, {"enum": [True, False, 0, 1]})
FILE_BELOW: Final = Kind(read_file_below, {"type": "string", "pattern": "^[^/]"})
SIZE: Final = Kind(read_size, {"type": ["integer", "string"], "examples": ["1GiB"]})
INTERVAL: Final = Kind(read_interval_s, {"type": ["number", "string"], "examples": ["30s", "10m", "1d"]})
PROBE_KIND: Final = choice("job", "scrub")
SHARE: Final = Kind(read_share, {"type": "string", "examples": ["10%"]})
ZONE: Final = Kind(read_zone, {"type": "string", "examples": ["Europe/Zurich", "UTC"]})
DAYS: Final = Kind(read_days, {"type": "string", "examples": ["mon-fri", "sat,sun"]})
TIME_OF_DAY: Final = Kind(read_time_of_day, {"type": "string", "examples": ["22:00"]})
PERCENT: Final = whole(0, 100)
FLAG: Final = Kind(read_flag, {"enum": [True, False, 0, 1, "yes", "no"]})
HOST: Final = Kind(read_host_name, {"type": "string", "pattern": f"^{HOST_NAME.pattern}$"})
MEMORY: Final = Kind(read_memory, {"type": ["integer", "string"], "examples": ["256MiB"]})
THROUGHPUT: Final = Kind(read_throughput, {"type": ["integer", "string"], "examples": ["20MiB"]})

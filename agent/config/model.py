"""A configuration, checked and frozen: the agent's settings, the disks and the probes."""

from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, get_origin

import msgspec
from msgspec import Meta

from iovigil.agent.config import kinds
from iovigil.agent.config.kinds import Kind
from iovigil.agent.disks import region
from iovigil.engines.options import JobOptions

PROBE_DEFAULTS: Final = JobOptions(time_based=True, ioengine="io_uring", randrepeat=False, verify_state_save=False)
"""What a probe's job is before the configuration says otherwise; the rest is as fio has it."""


def key(text: str, kind: Kind | None = None) -> Meta:
    """Describe a key of the configuration file; one without a kind has a structure, which `sections` reads."""
    return Meta(description=text, extra={"kind": kind})


class WebSettings(msgspec.Struct, frozen=True):
    """Who may ask the agent what."""

    enable_control: Annotated[
        bool,
        key("Whether POST /api/v1/pause, /resume and /run do what they say; else the API only tells.", kinds.FLAG),
    ] = False


class AgentSettings(msgspec.Struct, frozen=True):
    """Where the agent serves and what it may use."""

    listen: Annotated[str, key("Address that serves /metrics; :port is every address of the host.", kinds.LISTEN)] = (
        "127.0.0.1:9942"
    )
    state_directory: Annotated[
        str, key("The agent's own; its lock there keeps a second agent out.", kinds.DIRECTORY)
    ] = "/var/lib/iovigil"
    max_workers: Annotated[int, key("Most runs at the same time.", kinds.whole(1, 256))] = 4
    web: Annotated[WebSettings, key("Who may ask the agent what: a mapping, see `web`.")] = WebSettings()


class RegionSettings(msgspec.Struct, frozen=True):
    """The part of a block device that is the agent's to write; `iovigil claim` takes it, and erases what is there."""

    offset: Annotated[int, key("Where the region begins on the device: not in its first MiB.", kinds.SIZE)]
    size: Annotated[
        int,
        key(
            "Bytes of the region, which must end a MiB before the device does; its first 4 KiB say whose it is.",
            kinds.SIZE,
        ),
    ]


class DiskSettings(msgspec.Struct, frozen=True):
    """A probe file on a mounted filesystem, with its size, or a block device."""

    name: Annotated[str, key("Name of the disk: the `disk` label of its metrics.", kinds.NAME)]
    file: Annotated[
        str, key("Probe file on a mounted filesystem: created, owned and only ever written by the agent.", kinds.FILE)
    ] = ""
    device: Annotated[
        str, key("Block device, best by a link under /dev/disk/by-id; only read, but for a region.", kinds.DEVICE)
    ] = ""
    size: Annotated[int, key("Size of the probe file.", kinds.SIZE)] = 0
    region: Annotated[
        RegionSettings | None, key("The part of a device that the agent may write: a mapping of offset and size.")
    ] = None

    @property
    def path(self) -> str:
        return self.file or self.device

    @property
    def writable_bytes(self) -> int:
        """Bytes for jobs that write: of the probe file, or of the region less its header; 0 on other devices."""
        return self.region.size - region.HEADER if self.region else self.size


def works_in_region(options: JobOptions) -> bool:
    """Whether a job on a device with a region is about that: it writes there, or checks what was written. Any other
    reads the whole device."""
    return options.does_change or options.verify != "none"


class ProbeSettings(msgspec.Struct, frozen=True):
    """A job, the interval at which it starts and the disks it runs on."""

    name: str
    every_s: Annotated[float, key("Interval between planned starts.", kinds.INTERVAL)] = msgspec.field(name="every")
    options: Annotated[JobOptions, key("The job, in fio's options; time_based unless it says otherwise.")] = (
        msgspec.field(name="job")
    )
    disks: Annotated[tuple[str, ...], key("Names of the disks it runs on, or patterns of them.", kinds.PATTERN)] = (
        "*",
    )

    def covers(self, disk_name: str) -> bool:
        return any(fnmatchcase(disk_name, pattern) for pattern in self.disks)


class Assignment(msgspec.Struct, frozen=True):
    """One probe on one disk."""

    disk: DiskSettings
    probe: ProbeSettings


class Config(msgspec.Struct, frozen=True):
    """What the agent is to do."""

    source: str
    sha256: str
    """Digest of the file's text."""
    agent: AgentSettings
    disks: tuple[DiskSettings, ...]
    probes: tuple[ProbeSettings, ...]

    def assignments(self) -> tuple[Assignment, ...]:
        """Every probe on every disk that it covers, in the order of the file."""
        return tuple(Assignment(disk, probe) for disk in self.disks for probe in self.probes if probe.covers(disk.name))


class ConfigKey(msgspec.Struct, frozen=True):
    """What `key` said of a field of the settings above."""

    name: str
    """As the file spells it."""
    field: str
    text: str
    kind: Kind | None
    is_list: bool
    default: Any
    """msgspec.NODEFAULT when the file has to give it."""

    @property
    def is_required(self) -> bool:
        return self.default is msgspec.NODEFAULT


def keys_of(settings: type[msgspec.Struct]) -> tuple[ConfigKey, ...]:
    """Return the keys of a section, from the fields that `key` describes."""
    keys = []
    for field in msgspec.structs.fields(settings):
        for meta in getattr(field.type, "__metadata__", ()):
            text, kind = meta.description, meta.extra["kind"]
            is_list = get_origin(getattr(field.type, "__origin__", None)) is tuple
            keys.append(ConfigKey(field.encode_name, field.name, text, kind, is_list, field.default))
    return tuple(keys)

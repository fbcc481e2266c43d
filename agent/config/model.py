"""A configuration, checked and frozen: the agent's settings, the disks and the probes."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, TypeAlias, get_origin
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from iovigil.agent.bounds import Bounds
from iovigil.agent.config import kinds
from iovigil.agent.config.kinds import Kind
from iovigil.agent.disks import region
from iovigil.agent.windows import EVERY_DAY, Window, Windows, parse_days, parse_time_s
from iovigil.engines.options import JobOptions

DEFAULT_REWRITE: Final = 10.0
PROBE_DEFAULTS: Final = JobOptions(
    time_based=True,
    ioengine="io_uring",
    randrepeat=False,
    verify_state_save=False,
    # The disk belongs to others: last of best effort, where the scheduler goes by it. Not idle: what waits for others
    # without a bound measures them, and ends in its deadline.
    prioclass=2,
    prio=7,
    nice=5,
)
"""What a probe's job is before the configuration says otherwise; the rest is as fio has it."""


IOPS: Final = kinds.whole(1, 100_000_000)


def key(text: str, kind: Kind | None = None, *, takes_one: bool = False) -> Meta:
    """Describe a key of the configuration file; one without a kind has a structure, which `sections` reads.

    With `takes_one` a list of one value may be written as that value.
    """
    return Meta(description=text, extra={"kind": kind, "takes_one": takes_one})


class WebSettings(msgspec.Struct, frozen=True):
    """Who may ask the agent what."""

    config_file: Annotated[
        str,
        key("Web configuration in the format of Prometheus' exporters: TLS, passwords, headers.", kinds.DIRECTORY),
    ] = ""
    open_paths: Annotated[
        tuple[str, ...],
        key(
            "Paths that ask for neither password nor client certificate: for a load balancer or kubelet.",
            kinds.choice("/-/healthy", "/-/ready"),
        ),
    ] = ()
    enable_lifecycle: Annotated[
        bool, key("Whether POST /-/reload re-reads the configuration; SIGHUP always does.", kinds.FLAG)
    ] = True
    enable_control: Annotated[
        bool,
        key("Whether POST /api/v1/pause, /resume and /run do what they say; else the API only tells.", kinds.FLAG),
    ] = False
    host_names: Annotated[
        tuple[str, ...],
        key(
            "Names, beside addresses and the host's own, by which browsers may reach what changes something.",
            kinds.HOST,
        ),
    ] = ()


class PressureSettings(msgspec.Struct, frozen=True):
    """When starts wait for other I/O: /proc/pressure/io over 10 s, of the host; one disk that hangs is pressure too."""

    hold_some: Annotated[
        int,
        key("Per cent of the time in which a task waited for I/O from which on starts wait; 0: none.", kinds.PERCENT),
    ] = 80
    resume_some: Annotated[int, key("Below this they may start again.", kinds.PERCENT)] = 60
    hold_full: Annotated[
        int, key("The same of the time in which every task waited for I/O; 0: none.", kinds.PERCENT)
    ] = 30
    resume_full: Annotated[int, key("Below this they may start again.", kinds.PERCENT)] = 15
    cgroups: Annotated[
        tuple[str, ...],
        key("Directories of cgroups whose io.pressure counts too, such as /sys/fs/cgroup/db.slice.", kinds.DIRECTORY),
    ] = ()
    longest_s: Annotated[
        float, key("So long at most: pressure that goes on is what the probes are to see.", kinds.INTERVAL)
    ] = msgspec.field(name="longest", default=900.0)


Patterns: TypeAlias = tuple[str, ...]
WAKE: Final = (
    "Whether a disk in standby is woken for a probe; else it is left asleep, and the start counted as skipped."
)


class HistorySettings(msgspec.Struct, frozen=True):
    """How many runs are remembered; what is beyond any of these bounds is forgotten, the oldest first."""

    runs: Annotated[int, key("Successful runs of each probe on each disk.", kinds.whole(1, 1_000_000))] = 1000
    days: Annotated[int, key("Days for which a successful run is kept.", kinds.whole(1, 36_500))] = 30
    failures: Annotated[int, key("Failed runs of each probe on each disk.", kinds.whole(1, 1_000_000))] = 10_000
    failure_days: Annotated[int, key("Days for which a failed run is kept.", kinds.whole(1, 36_500))] = 366
    size: Annotated[
        int,
        key(
            "Of the database without baselines; where it would become larger, successes of any disk go first.",
            kinds.SIZE,
        ),
    ] = 256 << 20

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.runs, self.days, self.failures, self.failure_days, self.size)


class TextfileSettings(msgspec.Struct, frozen=True):
    """A file in the directory that node_exporter reads, where that is what is scraped: see [outputs.md](outputs.md)."""

    directory: Annotated[
        str,
        key(
            "What node_exporter has as --collector.textfile.directory; the agent's user writes there.", kinds.DIRECTORY
        ),
    ]
    every_s: Annotated[float, key("How often `iovigil.prom` is written there.", kinds.INTERVAL)] = msgspec.field(
        name="every", default=60.0
    )


class OtlpSettings(msgspec.Struct, frozen=True):
    """Where metrics are pushed by OpenTelemetry's OTLP over HTTP, with the extra `iovigil[otlp]`: see
    [outputs.md](outputs.md)."""

    endpoint: Annotated[str, key("The receiver's whole URL, such as http://127.0.0.1:4318/v1/metrics.", kinds.ENDPOINT)]
    every_s: Annotated[float, key("How often they are pushed.", kinds.INTERVAL)] = msgspec.field(
        name="every", default=60.0
    )
    timeout_s: Annotated[float, key("How long a push may take; what is left then is dropped.", kinds.INTERVAL)] = (
        msgspec.field(name="timeout", default=10.0)
    )
    headers: Annotated[
        tuple[str, ...], key("Headers that are no secret, such as `X-Scope-OrgID: storage`.", kinds.HEADER)
    ] = ()
    headers_file: Annotated[
        str, key("File with headers that are one, a line each; it is read at each push.", kinds.DIRECTORY)
    ] = ""
    ca_file: Annotated[str, key("PEM of who signed the receiver's certificate.", kinds.DIRECTORY)] = ""
    cert_file: Annotated[str, key("PEM of a client certificate.", kinds.DIRECTORY)] = ""
    key_file: Annotated[str, key("PEM of its key.", kinds.DIRECTORY)] = ""
    compression: Annotated[str, key("`gzip` or `none`.", kinds.choice("gzip", "none"))] = "gzip"
    instance: Annotated[
        str, key("What tells this agent from others (service.instance.id); the host's name if empty.", kinds.NAME)
    ] = ""


class LimitSettings(msgspec.Struct, frozen=True):
    """What the kernel holds a child to, in a control group of its own; where the agent may make none, nothing does."""

    riops: Annotated[int, key("Reads a second of its disk; without it, well above its own rates.", IOPS)] = 0
    wiops: Annotated[int, key("Writes a second, likewise.", IOPS)] = 0
    rbps: Annotated[int, key("Bytes read a second, likewise.", kinds.THROUGHPUT)] = 0
    wbps: Annotated[int, key("Bytes written a second, likewise.", kinds.THROUGHPUT)] = 0
    memory: Annotated[int, key("Memory; without it, what its job may need.", kinds.MEMORY)] = 0
    pids: Annotated[int, key("Threads; without it, what its job may need.", kinds.whole(8, 65_536))] = 0


class AgentSettings(msgspec.Struct, frozen=True):
    """Where the agent serves and what it may use."""

    listen: Annotated[
        tuple[str, ...],
        key(
            "Address that serves /metrics, or a list of them; :port is every address of the host. "
            "Sockets from systemd take their place.",
            kinds.LISTEN,
            takes_one=True,
        ),
    ] = ("127.0.0.1:9942",)
    control_socket: Annotated[
        str,
        key(
            "Unix socket for `iovigil pause` and the like, that only root and the agent's user can open; or `none`. "
            "It needs no agent.web.enable_control.",
            kinds.SOCKET,
        ),
    ] = "/run/iovigil/control.sock"
    state_directory: Annotated[
        str, key("The agent's own; its lock there keeps a second agent out.", kinds.DIRECTORY)
    ] = "/var/lib/iovigil"
    max_workers: Annotated[int, key("Most runs at the same time.", kinds.whole(1, 256))] = 4
    max_workers_per_controller: Annotated[
        int, key("Most of them on disks of one host adapter or NVMe controller; 0 is no bound.", kinds.whole(0, 256))
    ] = 0
    timezone: Annotated[
        str, key("Time zone of all windows, such as Europe/Zurich; the host's if empty.", kinds.ZONE)
    ] = ""
    blackout_file: Annotated[str, key("While it exists nothing starts; it holds for run now too.", kinds.DIRECTORY)] = (
        "/run/iovigil.blackout"
    )
    pressure: Annotated[
        PressureSettings | None, key("Whether starts wait while the host waits for I/O: a mapping, also an empty one.")
    ] = None
    history: Annotated[
        HistorySettings, key("What is remembered of runs: a mapping, in which anything may be left out.")
    ] = HistorySettings()
    web: Annotated[WebSettings, key("Who may ask the agent what: a mapping, see `web`.")] = WebSettings()
    textfile: Annotated[
        TextfileSettings | None, key("A file for node_exporter, with what a scrape has: a mapping, see `textfile`.")
    ] = None
    otlp: Annotated[OtlpSettings | None, key("Where metrics are pushed by OTLP: a mapping, see `otlp`.")] = None
    limits: Annotated[
        LimitSettings, key("What the kernel holds each child to, where its probe does not say: a mapping.")
    ] = LimitSettings()


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
    wake: Annotated[bool, key(WAKE, kinds.FLAG)] = False
    mount: str = ""
    """What has to be mounted for the file to be there, of a filesystem that was selected."""
    key: str = ""
    """What tells a selected device from any other, by whatever path."""

    @property
    def path(self) -> str:
        return self.file or self.device

    @property
    def place(self) -> str:
        """What the disk is the same by after a restart: what a selected one tells of itself, else the path."""
        return self.key or self.path

    @property
    def writable_bytes(self) -> int:
        """Bytes for jobs that write: of the probe file, or of the region less its header; 0 on other devices."""
        return self.region.size - region.HEADER if self.region else self.size


def fact(text: str, kind: Kind) -> Meta:
    return key(text, kind, takes_one=True)


class FactSettings(msgspec.Struct, frozen=True):
    """Patterns of what is known of a disk: `*`, `?` and `[a-z]`, in letters as they are. One pattern or a list of them,
    of which any may match; in those of paths `*` ends at a slash and `**` does not."""

    by_id: Annotated[Patterns, fact("Name of a link in /dev/disk/by-id.", kinds.FACT_PATTERN)] = ()
    by_path: Annotated[Patterns, fact("Name of a link in /dev/disk/by-path.", kinds.FACT_PATTERN)] = ()
    path: Annotated[
        Patterns,
        fact("Device, or any link to it; loop, zram, dm, md only by it or by transport.", kinds.DEVICE_PATTERN),
    ] = ()
    wwn: Annotated[Patterns, fact("World wide name, with or without 0x.", kinds.FACT_PATTERN)] = ()
    serial: Annotated[Patterns, fact("Serial number.", kinds.FACT_PATTERN)] = ()
    model: Annotated[Patterns, fact("Model.", kinds.FACT_PATTERN)] = ()
    transport: Annotated[Patterns, fact("sata, sas, nvme, usb, virtio, fc, iscsi, loop...", kinds.FACT_PATTERN)] = ()
    controller: Annotated[Patterns, fact("PCI address of the controller.", kinds.FACT_PATTERN)] = ()
    rotational: Annotated[Patterns, fact("true for hard disks, false for the rest.", kinds.ROTATIONAL)] = ()
    mount: Annotated[
        Patterns, fact("Mount point: with it filesystems are chosen, not disks.", kinds.MOUNT_PATTERN)
    ] = ()
    filesystem: Annotated[
        Patterns, fact("Type of the filesystem; network and memory filesystems only by it.", kinds.FACT_PATTERN)
    ] = ()

    def given(self) -> Iterator[tuple[str, Patterns]]:
        """The facts that are asked for."""
        return ((name, patterns) for name in self.__struct_fields__ if (patterns := getattr(self, name)))


class SelectorSettings(msgspec.Struct, frozen=True):
    """Every disk of the machine that matches; with `match.mount`, every mounted filesystem, with a probe file in it.
    Each is looked for all the time: one that is plugged in is watched, one that goes is reported absent. A disk with an
    entry of its own, or that an earlier entry selects, is left to that."""

    match: Annotated[FactSettings, key("What a disk has to be, in all that is given.")]
    name: Annotated[
        str,
        key(
            f"Name of each disk, from {kinds.braced(kinds.TEMPLATE_FIELDS)}; by default {{serial}} or {{mount}}.",
            kinds.TEMPLATE,
        ),
    ] = ""
    exclude: Annotated[FactSettings | None, key("Leaves out the disks of which any of this is true.")] = None
    file: Annotated[str, key("Probe file of each filesystem, relative to its mount point.", kinds.FILE_BELOW)] = ""
    size: Annotated[int, key("Size of the probe files.", kinds.SIZE)] = 0
    region: Annotated[
        RegionSettings | None, key("The part of each device that the agent may write: each is to be claimed.")
    ] = None
    forget_after_s: Annotated[
        float,
        key(
            "How long a disk that has gone is reported absent; one that is excluded is forgotten at once.",
            kinds.INTERVAL,
        ),
    ] = msgspec.field(default=30 * 86_400.0, name="forget_after")
    wake: Annotated[bool, key(WAKE, kinds.FLAG)] = False

    @property
    def selects_filesystems(self) -> bool:
        return bool(self.match.mount)

    @property
    def template(self) -> str:
        return self.name or ("{mount}" if self.selects_filesystems else "{serial}")


def works_in_region(options: JobOptions) -> bool:
    """Whether a job on a device with a region is about that: it writes there, or checks what was written. Any other
    reads the whole device."""
    return options.does_change or options.verify != "none"


class ScrubSettings(msgspec.Struct, frozen=True):
    """What a scrub is asked for."""

    n: int
    """Each cycle writes one block in so many."""
    period_s: float
    every_s: float

    @property
    def cycle_s(self) -> float:
        """How long a cycle takes: one interval less than the period, for a run may come so late."""
        return self.period_s - self.every_s


class WindowSettings(msgspec.Struct, frozen=True):
    """Starts that are planned outside of every window are skipped; a run that has begun goes on to its end."""

    from_: Annotated[str, key("When it opens, as 22:00.", kinds.TIME_OF_DAY)] = msgspec.field(name="from")
    to: Annotated[
        str, key("When it closes: on the day after where that is earlier. 24:00 ends the day.", kinds.TIME_OF_DAY)
    ]
    days: Annotated[str, key("On which days it opens: mon-fri, or sat,sun.", kinds.DAYS)] = EVERY_DAY


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
    windows: Annotated[
        tuple[WindowSettings, ...], key("When it may start: mappings of days, from and to; always without any.")
    ] = ()

    kind: Annotated[
        str,
        key(
            "`job`; or `scrub`: a job that owns the probe file or region, writes every block once and reads all of it "
            "again and again.",
            kinds.PROBE_KIND,
        ),
    ] = "job"
    period_s: Annotated[float, key("Of a scrub: every block is read again within this time.", kinds.INTERVAL)] = (
        msgspec.field(default=0.0, name="period")
    )
    rewrite: Annotated[
        float, key("Of a scrub: share of the blocks that each cycle writes anew; 10% when left out.", kinds.SHARE)
    ] = 0.0

    @property
    def scrub(self) -> ScrubSettings | None:
        """What makes it a scrub; None for a job."""
        if self.kind != "scrub":
            return None
        n = round(100 / (self.rewrite or DEFAULT_REWRITE))
        return ScrubSettings(n=n, period_s=self.period_s, every_s=self.every_s)

    limits: Annotated[LimitSettings, key("What the kernel holds each of its children to: a mapping.")] = LimitSettings()

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
    selectors: tuple[SelectorSettings, ...] = ()
    """What adds disks to those above, once it is known which the machine has."""
    lines: Mapping[str, tuple[int, str]] = {}
    """Line and key of each disk that has an entry of its own, by its name."""
    selector_lines: tuple[tuple[int, str], ...] = ()
    """Line and key of each entry that selects."""

    def windows_of(self, probe: ProbeSettings) -> Windows:
        """When this probe may start, by the clock of the agent's time zone."""
        zone = ZoneInfo(self.agent.timezone) if self.agent.timezone else None
        return Windows(
            tuple(
                Window(parse_days(each.days), parse_time_s(each.from_), parse_time_s(each.to)) for each in probe.windows
            ),
            zone if probe.windows else None,
        )

    def assignments(self) -> tuple[Assignment, ...]:
        """Every probe on every disk that it covers, in the order of the file."""
        return tuple(Assignment(disk, probe) for disk in self.disks for probe in self.probes if probe.covers(disk.name))

    def limits_of(self, probe: ProbeSettings) -> LimitSettings:
        """The limits of a probe: its own, and where it has none those of the agent."""
        names = LimitSettings.__struct_fields__
        return LimitSettings(
            **{name: getattr(probe.limits, name) or getattr(self.agent.limits, name) for name in names}
        )


class ConfigKey(msgspec.Struct, frozen=True):
    """What `key` said of a field of the settings above."""

    name: str
    """As the file spells it."""
    field: str
    text: str
    kind: Kind | None
    is_list: bool
    takes_one: bool
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
            text, kind, takes_one = meta.description, meta.extra["kind"], meta.extra["takes_one"]
            is_list = get_origin(getattr(field.type, "__origin__", None)) is tuple
            keys.append(ConfigKey(field.encode_name, field.name, text, kind, is_list, takes_one, field.default))
    return tuple(keys)

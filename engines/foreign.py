"""What fio has and iovigil has not: each option, value and I/O engine by its name, with the reason."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple


class Unsupported(NamedTuple):
    """An option of fio that is refused."""

    reason: str
    harmless: tuple[str, ...] = ()
    """Values, fio's own defaults, that ask for nothing that we do not do."""


ZONED: Final = "is for zoned block devices, which are not supported"
NOT_YET: Final = "is not supported yet"
OFF: Final = ("0",)

UNSUPPORTED: Final[Mapping[str, Unsupported]] = {
    "allow_mounted_write": Unsupported("has no place here: a device that is mounted is never written to", OFF),
    "atomic": Unsupported("is not supported: Linux writes atomically only where the device says so", OFF),
    "block_error_percentiles": Unsupported("is not supported: errors are counted by their number instead", OFF),
    "create_on_open": Unsupported("is not supported: files are laid out before the job starts", OFF),
    "dedupe_global": Unsupported("is not supported: jobs share no memory for contents", OFF),
    "dedupe_mode": Unsupported("is not supported: what repeats is an earlier block", ("repeat",)),
    "dedupe_working_set_percentage": Unsupported("belongs to dedupe_mode=working_set, which is not supported"),
    "file_append": Unsupported("is not supported: give the offset where the job is to begin", OFF),
    "io_submit_mode": Unsupported(
        "is inline: every job sends its own I/O. For rates that a slow device does not hold back give rate_iops, whose "
        "intended times are kept and reported",
        ("inline",),
    ),
    "kb_base": Unsupported("is 1024: sizes are always powers of 1024, however they are written", ("1024",)),
    "lockfile": Unsupported("is not supported: jobs share nothing to lock by", ("none",)),
    "log_alternate_epoch": Unsupported("is not supported: log_unix_epoch gives wall-clock times", OFF),
    "log_compression": Unsupported("is not supported: logs are written as they grow, not kept in memory", OFF),
    "log_prio": Unsupported(NOT_YET, OFF),
    "log_store_compressed": Unsupported("is not supported: compress the logs when the job is over", OFF),
    "merge_blktrace_file": Unsupported("is not supported: merge traces with fio, and replay the result"),
    "merge_blktrace_iters": Unsupported("belongs to merge_blktrace_file, which is not supported"),
    "merge_blktrace_scalars": Unsupported("belongs to merge_blktrace_file, which is not supported"),
    "opendir": Unsupported("is not supported: name the files with filename=a:b"),
    "profile": Unsupported("is not supported: write the job out"),
    "unlink_each_loop": Unsupported("is not supported: unlink removes the files when the job is over", OFF),
    "write_barrier": Unsupported("asks for what Linux no longer has: use fsync or fdatasync", OFF),
    "write_hint": Unsupported("is not supported", ("none",)),
    # Zoned block devices.
    "ignore_zone_limits": Unsupported(ZONED, OFF),
    "job_max_open_zones": Unsupported(ZONED, OFF),
    "max_open_zones": Unsupported(ZONED, OFF),
    "read_beyond_wp": Unsupported(ZONED, OFF),
    "recover_zbd_write_error": Unsupported(ZONED, OFF),
    "zone_reset_frequency": Unsupported(ZONED),
    "zone_reset_threshold": Unsupported(ZONED),
    "zonecapacity": Unsupported(ZONED, OFF),
    # Newer than 3.33.
    "dataplacement": Unsupported("is not supported: no data placement directives are sent"),
    "dp_scheme": Unsupported("is not supported: no data placement directives are sent"),
    "fdp": Unsupported("is not supported: no data placement directives are sent", OFF),
    "fdp_pli": Unsupported("is not supported: no data placement directives are sent"),
    "fdp_pli_select": Unsupported("is not supported: no data placement directives are sent"),
    "job_start_clock_id": Unsupported("is not supported: results carry the wall clock"),
    "num_range": Unsupported("is not supported: a trim is one range"),
    "plid_select": Unsupported("is not supported: no data placement directives are sent"),
    "plids": Unsupported("is not supported: no data placement directives are sent"),
    "ramp_size": Unsupported("is not supported: use ramp_time"),
    "spr_cache_size": Unsupported("belongs to sprandom, which is not supported"),
    "spr_num_regions": Unsupported("belongs to sprandom, which is not supported"),
    "spr_op": Unsupported("belongs to sprandom, which is not supported"),
    "sprandom": Unsupported("is not supported: precondition a drive with two loops of rw=randwrite", OFF),
    "thinkcycles": Unsupported("is not supported: use thinktime_spin"),
    # Older than 3.33.
    "flow_watermark": Unsupported("is gone from fio too: flow is a weight"),
    "ioprio": Unsupported("is no option of fio either: use prio and prioclass"),
    # Of engines that are ours too.
    "apptag": Unsupported("is for NVMe protection information, which is not supported"),
    "apptag_mask": Unsupported("is for NVMe protection information, which is not supported"),
    "cmd_type": Unsupported("is for ioengine=io_uring_cmd, which is not supported"),
    "cmdprio": Unsupported("is not supported: use prio for all I/O of the job"),
    "cmdprio_bssplit": Unsupported("is not supported: use prio for all I/O of the job"),
    "cmdprio_class": Unsupported("is not supported: use prioclass for all I/O of the job"),
    "cmdprio_hint": Unsupported("is not supported"),
    "cmdprio_percentage": Unsupported("is not supported: use prio for all I/O of the job"),
    "cpumode": Unsupported("is not supported: the CPU is kept busy in one way", ("noop",)),
    "deac": Unsupported("is for ioengine=io_uring_cmd, which is not supported", OFF),
    "interface": Unsupported("is for multicast, which is not supported"),
    "libaio_vectored": Unsupported("is not supported: one buffer is one I/O", OFF),
    "md_per_io_size": Unsupported("is for NVMe protection information, which is not supported", OFF),
    "mss": Unsupported("is not supported"),
    "pi_act": Unsupported("is for NVMe protection information, which is not supported"),
    "pi_chk": Unsupported("is for NVMe protection information, which is not supported"),
    "pingpong": Unsupported("is not supported: data goes one way", OFF),
    "protocol": Unsupported("is tcp", ("tcp",)),
    "proto": Unsupported("is tcp", ("tcp",)),
    "sg_write_mode": Unsupported("is not supported: writes are WRITE(10) or WRITE(16)", ("write",)),
    "stream_id": Unsupported("is not supported", OFF),
    "ttl": Unsupported("is for multicast, which is not supported"),
    "verify_mode": Unsupported("is for ioengine=io_uring_cmd, which is not supported"),
    "window_size": Unsupported("is not supported"),
    "write_mode": Unsupported("is for ioengine=io_uring_cmd, which is not supported", ("write",)),
}

WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "clocksource": "the TSC is read directly where the kernel itself keeps time by it, clock_gettime elsewhere",
    "create_fsync": "files that are laid out are always synced",
    "error_dump": "every error is counted, and the first ones are told",
    "fallocate": "files are laid out with their blocks written, so that reads reach the device",
    "gtod_cpu": "the TSC is read directly: no thread need keep the time",
    "log_alternate_epoch_clock_id": "it belongs to log_alternate_epoch, which is not supported",
    "log_compression_cpus": "it belongs to log_compression, which is not supported",
    "log_entries": "logs are written as they grow",
    "openfiles": "all files of a job stay open",
    "read_iolog_chunked": "a log is read as a whole before the job starts, 24 bytes an I/O",
    "significant_figures": "results for people have three digits or four; json has them all",
    "thp": "transparent huge pages are left to the system",
    "thread": "each job is a process of its own",
    "unique_filename": "it is for clients of a server",
    "unit_base": "results are in bytes",
    "verify_header_seed": "headers are checked against what the job itself wrote",
    "verify_write_sequence": "headers are checked against what the job itself wrote",
}

NETWORK_STORAGE: Final = "speaks to a storage service, which is no disk of this host: watch the service's own disks"
LIBRARY: Final = "needs a library of its own, which iovigil does not load"
METADATA: Final = "measures file metadata, not disks"
ENGINES: Final[Mapping[str, str]] = {
    "dev-dax": LIBRARY,
    "dfs": NETWORK_STORAGE,
    "dircreate": METADATA,
    "dirdelete": METADATA,
    "dirstat": METADATA,
    "e4defrag": "changes how files lie on ext4, which measures the filesystem and not the disk",
    "exec": "runs a program: start it beside the job",
    "external": "needs the path of the engine behind it: external:/opt/engines/mine.py",
    "falloc": METADATA,
    "filecreate": METADATA,
    "filedelete": METADATA,
    "fileoperations": METADATA,
    "filestat": METADATA,
    "ftruncate": METADATA,
    "gfapi": NETWORK_STORAGE,
    "gfapi_async": NETWORK_STORAGE,
    "guasi": "is for a library that is no longer made: use io_uring",
    "http": NETWORK_STORAGE,
    "ime_aio": NETWORK_STORAGE,
    "ime_psync": NETWORK_STORAGE,
    "ime_psyncv": NETWORK_STORAGE,
    "io_uring_cmd": "sends NVMe commands past the block layer and its safeguards: use io_uring on the block device",
    "libblkio": LIBRARY,
    "libcufile": LIBRARY,
    "libhdfs": NETWORK_STORAGE,
    "libiscsi": NETWORK_STORAGE,
    "libpmem": LIBRARY,
    "librpma_apm_client": LIBRARY,
    "librpma_apm_server": LIBRARY,
    "librpma_gpspm_client": LIBRARY,
    "librpma_gpspm_server": LIBRARY,
    "libzbc": ZONED,
    "mtd": "is for raw flash, which has no block device",
    "nbd": NETWORK_STORAGE,
    "netsplice": "is not supported: use net",
    "nfs": NETWORK_STORAGE,
    "null_blk": "is a kernel module, not an engine: make the device and name it",
    "pmemblk": LIBRARY,
    "rados": NETWORK_STORAGE,
    "rbd": NETWORK_STORAGE,
    "rdma": "needs an RDMA fabric, which is no disk: use net for the network",
    "skeleton_external": "is an example for writers of engines: ours are in docs/examples/engines",
    "solarisaio": "is for another system",
    "syslet-rw": "was never merged into Linux; use io_uring",
    "windowsaio": "is for another system",
    "xnvme": LIBRARY,
}

# Options that only engines of the list above have.
# fmt: off
OPTIONS_OF_ENGINES: Final[Mapping[str, Sequence[str]]] = {
    "dfs": ("cont", "object_class"),
    "e4defrag": ("donorname", "inplace"),
    "exec": ("arguments", "grace_time", "program", "std_redirect"),
    "filestat": ("stat_type",),
    "gfapi": ("brick", "single_instance", "volume"),
    "http": (
        "http_host", "http_mode", "http_pass", "http_s3_key", "http_s3_keyid", "http_s3_region",
        "http_s3_security_token", "http_s3_sse_customer_algorithm", "http_s3_sse_customer_key",
        "http_s3_storage_class", "http_swift_auth_token", "http_user", "http_verbose", "https",
    ),
    "libblkio": (
        "libblkio_driver", "libblkio_force_enable_completion_eventfd", "libblkio_num_entries", "libblkio_path",
        "libblkio_pre_connect_props", "libblkio_pre_start_props", "libblkio_queue_size", "libblkio_vectored",
        "libblkio_wait_mode", "libblkio_write_zeroes_on_trim",
    ),
    "libcufile": ("cuda_io", "gpu_dev_ids"),
    "libhdfs": ("chunk_size", "hdfsdirectory", "namenode"),
    "librpma_apm_client": ("busy_wait_polling", "direct_write_to_pmem", "serverip"),
    "mtd": ("skip_bad",),
    "nbd": ("uri",),
    "nfs": ("nfs_url",),
    "rados": ("busy_poll", "clientname", "clustername", "conf", "pool", "touch_objects"),
    "rbd": ("rbdname",),
    "rdma": ("bindname", "verb"),
    "xnvme": (
        "xnvme_admin", "xnvme_async", "xnvme_dev_nsid", "xnvme_dev_subnqn", "xnvme_iovec", "xnvme_mem", "xnvme_sync",
    ),
}
# fmt: on
ENGINE_OF: Final[Mapping[str, str]] = {name: engine for engine, names in OPTIONS_OF_ENGINES.items() for name in names}

VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "mem": {"cudamalloc": "is memory of a graphics card, which is not supported"},
    "rw": dict.fromkeys(("filecreate", "filestat", "filedelete"), METADATA),
    "zonemode": {"zbd": ZONED},
}  # fmt: skip


def reason_against(name: str) -> str | None:
    """Return why an option of fio is not taken, None when it is no such option; `name` has no dashes."""
    if name in UNSUPPORTED:
        return UNSUPPORTED[name].reason
    if name in WITHOUT_EFFECT:
        return f"has no effect here: {WITHOUT_EFFECT[name]}"
    if name in ENGINE_OF:
        engine = ENGINE_OF[name]
        return f"is for ioengine={engine}, which {ENGINES[engine]}"
    return None


def is_harmless(name: str, value: str) -> bool:
    """Whether an option that is refused asks, with this value, for nothing that we do not do."""
    return name in UNSUPPORTED and value in UNSUPPORTED[name].harmless

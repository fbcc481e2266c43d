"""The main job from end to end: real I/O, scraped every second by a real Prometheus, beside the real fio."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent_process import MIB, owner_of
from loop import attached, command, mounted
from scraping import Stack, scraped_agent

pytestmark = [
    pytest.mark.requires_loop,
    pytest.mark.requires_mkfs,
    pytest.mark.requires_prometheus,
    pytest.mark.slow,
]

NOISE = 0.35
ATTEMPTS = 3

FIRST_SET = {
    "iovigil_build_info",
    "iovigil_config_last_reload_successful",
    "iovigil_workers",
    "iovigil_disk_info",
    "iovigil_disk_present",
    "iovigil_disk_stuck",
    "iovigil_probe_info",
    "iovigil_interval_seconds",
    "iovigil_timeout_seconds",
    "iovigil_runs_total",
    "iovigil_run_failures_total",
    "iovigil_runs_skipped_total",
    "iovigil_run_in_progress",
    "iovigil_last_run_success",
    "iovigil_last_run_end_timestamp_seconds",
    "iovigil_oldest_inflight_io_seconds",
    "iovigil_verified_bytes_total",
    "iovigil_verify_mismatches_total",
    "iovigil_io_bytes_total",
    "iovigil_ios_total",
    "iovigil_io_errors_total",
    "iovigil_io_latency_seconds_bucket",
    "iovigil_io_latency_seconds_sum",
    "iovigil_io_latency_seconds_count",
    "iovigil_last_run_latency_seconds",
    "iovigil_last_run_bytes_per_second",
    "iovigil_last_run_ios_per_second",
}

# One read probe as fast as the device goes; the other two slow enough to leave it the machine.
CONFIG = """\
disks:
  - {{name: loop, device: {device}}}
  - {{name: data0, file: {mountpoint}/.iovigil, size: 16MiB}}
probes:
  throughput:
    every: 12s
    disks: [loop]
    job: {{rw: randread, bs: 64k, iodepth: 4, runtime: 7s, direct: 1}}
  latency:
    every: 6s
    disks: [data*]
    job: {{rw: randread, bs: 4k, iodepth: 1, runtime: 1s, rate_iops: 50, direct: 1}}
  integrity:
    every: 6s
    disks: [data*]
    job: {{rw: randwrite, bs: 64k, iodepth: 8, size: 8MiB, verify: crc32c, runtime: 1s, rate_iops: 50}}
"""
THROUGHPUT = 'iovigil_io_bytes_total{disk="loop", probe="throughput", operation="read"}'
IN_PROGRESS = 'iovigil_run_in_progress{disk="loop", probe="throughput"}'


@dataclass(frozen=True)
class Scraped:
    stack: Stack
    device: Path
    mountpoint: Path


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """An agent on a loop device and on a file on ext4; images in memory, where figures are steadier than on a disk."""
    directory = tmp_path_factory.mktemp("acceptance")
    with contextlib.ExitStack() as stack:
        images = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="iovigil-")))
        for name in ("device", "ext4"):
            with (images / name).open("wb") as file:
                for _ in range(64):
                    file.write(b"\xa5" * MIB)  # no holes: they would read faster than data
        device, filesystem = (stack.enter_context(attached(images / name)) for name in ("device", "ext4"))
        command("mkfs.ext4", "-q", "-F", "-m", "0", filesystem)
        mountpoint = stack.enter_context(mounted(filesystem, directory / "mount"))
        config = CONFIG.format(device=device, mountpoint=mountpoint)
        yield Scraped(stack.enter_context(scraped_agent(directory, config)), device, mountpoint)


def fio_bytes_per_second(device: Path, runtime_s: int = 3) -> float:
    """What the real fio reads with the options of the throughput probe."""
    ran = subprocess.run(
        [
            "fio", "--name=throughput", f"--filename={device}", "--readonly", "--ioengine=io_uring", "--rw=randread",
            "--bs=64k", "--iodepth=4", "--direct=1", "--time_based=1", f"--runtime={runtime_s}", "--randrepeat=0",
            "--output-format=json",
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return float(json.loads(ran.stdout)["jobs"][0]["read"]["bw_bytes"])


def prometheus_bytes_per_second(stack: Stack) -> float:
    """What PromQL says of the read throughput within one run that was in progress at every scrape of the window."""
    [series] = stack.wait_for(f"rate({THROUGHPUT}[4s]) and on (disk, probe) sum_over_time({IN_PROGRESS}[6s]) == 6")
    return float(series["value"][1])


@pytest.mark.requires_promtool
def test_the_first_set_of_metrics_is_there_and_promtool_has_nothing_to_say(scraped: Scraped) -> None:
    scraped.stack.wait_for("count(iovigil_last_run_success) == 3 and min(iovigil_last_run_success) == 1")
    text = scraped.stack.metrics()
    exported = {line.partition(" ")[0].partition("{")[0] for line in text.decode().splitlines()}
    assert FIRST_SET - exported == set()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_prometheus_sees_what_was_done_to_the_file_on_ext4(scraped: Scraped) -> None:
    stack = scraped.stack
    stack.wait_for('iovigil_verified_bytes_total{disk="data0", probe="integrity"} > 0')
    stack.wait_for('iovigil_io_bytes_total{disk="data0", probe="latency", operation="read"} > 0')
    assert stack.query("sum(iovigil_verify_mismatches_total) == 0")
    assert stack.query("sum(iovigil_run_failures_total) == 0")
    [info] = stack.query('iovigil_disk_info{disk="data0"}')
    assert info["metric"]["device"].startswith("loop")
    assert owner_of(scraped.mountpoint / ".iovigil") == ("data0", 16 * MIB)


@pytest.mark.requires_fio
@pytest.mark.requires_io_uring
def test_prometheus_and_fio_agree_on_the_throughput_of_a_device(scraped: Scraped) -> None:
    stack = scraped.stack
    for _ in range(ATTEMPTS):
        stack.wait_for(f"{IN_PROGRESS} == 1")
        stack.wait_for(f"{IN_PROGRESS} == 0")
        before = fio_bytes_per_second(scraped.device)
        ours = prometheus_bytes_per_second(stack)
        stack.wait_for(f"{IN_PROGRESS} == 0")
        after = fio_bytes_per_second(scraped.device)
        fio = (before + after) / 2
        print(
            f"read throughput: PromQL {ours / MIB:.0f} MiB/s; fio before {before / MIB:.0f}, after {after / MIB:.0f}; "
            f"ratio {ours / fio:.2f}"
        )
        # Where fio does not agree with itself the machine is too busy to compare anything.
        if max(before, after) < (1 + NOISE) * min(before, after):
            break
    assert ours == pytest.approx(fio, rel=NOISE)

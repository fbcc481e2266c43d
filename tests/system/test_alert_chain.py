"""From disks going bad to the person who is told: agent, scrapes, the shipped rules in a hurry, Alertmanager, webhook.

Six disks at once, so that each fault has healthy disks and other faults beside it.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import monitoring
import pytest
import quick_rules
import runbook
from alerting import Receiver, alertmanager, at_once, receiver
from fault_disk import FaultDisk, output_of, place_on_disk
from fault_disk import mounted as faulty
from loop import mounted as filesystem
from processes import started, wait_until
from scraping import JOB, Stack, scraped_agent

pytestmark = [
    pytest.mark.requires_prometheus,
    pytest.mark.requires_promtool,
    pytest.mark.requires_alertmanager,
    pytest.mark.requires_fuse,
    pytest.mark.requires_loop,
    pytest.mark.requires_mkfs,
    pytest.mark.requires_fio,
    pytest.mark.slow,
]

MIB = 1 << 20
SIZE = 32 * MIB
VERIFY_BS = 64 << 10
NAMES = ("slow", "flips", "fails", "hangs", "goes", "busy")

# Every request takes the disk so long: what the machine adds when it is loaded is little beside it.
REQUEST_S = 0.02
THROTTLE = Path("/sys/fs/cgroup/blkio/blkio.throttle.read_iops_device")
THROTTLED_IOPS = 2

# psync: a child that waits in pread for a block device does not end on SIGKILL. It continues the mapping `agent:`.
CONFIG = """\
  max_workers: 8
disks:
  - {{name: slow, device: {slow}}}
  - {{name: flips, file: {flips}/probe, size: 2MiB}}
  - {{name: fails, device: {fails}}}
  - {{name: hangs, device: {hangs}}}
  - {{name: goes, device: {goes}}}
  - {{name: busy, device: {busy}}}
probes:
  reads:
    every: 3s
    job: {{rw: randread, bs: 4k, runtime: 1s, rate_iops: 15, direct: 1, ioengine: psync}}
  integrity:
    every: 4s
    disks: [flips]
    job: {{rw: randwrite, bs: 64k, size: 1MiB, verify: crc32c, runtime: 2s, time_based: 0, rate_iops: 15, direct: 1}}
"""
PROBES_ON_DISKS = len(NAMES) + 1
HEALTHY_S = 8.0
SETTLED_S = 30.0


@dataclass(frozen=True)
class Expected:
    """What is to be told of a disk, how soon after its fault, and how soon after its repair that it is over."""

    alert: str
    severity: str
    fault_s: float
    repair_s: float
    labels: dict[str, str] = field(default_factory=dict)
    may_follow: frozenset[str] = frozenset()
    """What else may be told of it: the same trouble, seen by an alert that looks back longer."""


# A run that fails ends early. Inhibited while the fault goes on; their look-back may be the longer one.
OF_FAILED_RUNS = frozenset({"DiskProbeFailing", "DiskThroughputDrop", "DiskLatencyRegression"})

# Runs start every three or four seconds, and look-backs are ten to twenty; a child is given up eleven after its time.
EXPECTED = {
    "slow": Expected(
        "DiskVerySlowVsPeers",
        "critical",
        35,
        35,
        {"probe": "reads", "operation": "read", "model": "loop"},
        frozenset({"DiskLatencyRegression"}),
    ),
    "flips": Expected("DiskDataCorruption", "critical", 20, 40, may_follow=OF_FAILED_RUNS),
    "fails": Expected("DiskIOErrors", "critical", 15, 35, {"operation": "read"}, may_follow=OF_FAILED_RUNS),
    # Once they are back their last results are old until the next run.
    "hangs": Expected("DiskStuckIO", "critical", 45, 30, may_follow=OF_FAILED_RUNS | {"DiskProbeStale"}),
    "goes": Expected("DiskMissing", "critical", 15, 25, may_follow=OF_FAILED_RUNS | {"DiskProbeStale"}),
}


class Disks:
    """The six, good until told otherwise."""

    def __init__(self, stack: contextlib.ExitStack, directory: Path) -> None:
        self._faulty: dict[str, FaultDisk] = {}
        self.device: dict[str, Path] = {}
        for name in NAMES:
            (directory / name).mkdir()
            self._faulty[name] = stack.enter_context(faulty(directory / name, SIZE))
            self.device[name] = self._faulty[name].as_loop_device()
        # As udev names disks: by a link, which is the disk's whatever number the kernel gives it.
        self.link = Path(f"/dev/iovigil-test-{os.getpid()}")
        stack.enter_context(at_the_end('rm -f "$1"', self.link))
        self.link.symlink_to(self.device["goes"])
        output_of("mkfs.ext4", "-q", str(self.device["flips"]))
        self.mountpoint = stack.enter_context(filesystem(self.device["flips"], directory / "ext4"))
        self.heal_all()
        stack.callback(self._clear_all)
        stack.enter_context(at_the_end('echo "$1 0" >"$2"', number_of(self.device["slow"]), THROTTLE))

    @property
    def places(self) -> dict[str, Path]:
        return {**self.device, "goes": self.link, "flips": self.mountpoint}

    def break_all(self) -> None:
        throttle(self.device["slow"], THROTTLED_IOPS)
        self._faulty["flips"].flip(place_on_disk(self.mountpoint / "probe") + 5 * VERIFY_BS + 12_345, bit=6)
        self._faulty["fails"].fail_reads()
        self._faulty["hangs"].hang(operation="read")
        self.link.unlink()
        self._faulty["goes"].detach_loop_devices()

    def heal_all(self) -> None:
        self._clear_all()
        for disk in self._faulty.values():
            disk.delay(REQUEST_S)

    def repair_all(self) -> None:
        throttle(self.device["slow"], 0)
        self._faulty["hangs"].release()
        self.heal_all()
        self.link.symlink_to(self._faulty["goes"].as_loop_device())

    def _clear_all(self) -> None:
        for disk in self._faulty.values():
            with contextlib.suppress(OSError, ValueError):
                disk.clear()


@contextlib.contextmanager
def at_the_end(command: str, *arguments: str | Path) -> Iterator[None]:
    """Have the shell do this when the block is left, or this process killed: it is of the machine, not of the test."""
    script = f"cat >/dev/null; {command}"
    with subprocess.Popen(["sh", "-c", script, "sh", *arguments], stdin=subprocess.PIPE, start_new_session=True):
        yield


def throttle(device: Path, iops: int) -> None:
    """Let the device read so many times a second, for everybody; 0 is no bound."""
    THROTTLE.write_text(f"{number_of(device)} {iops}")


def number_of(device: Path) -> str:
    number = device.stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def busy_s(device: Path) -> float:
    """For how long the device has had something to do since it was made."""
    return int(Path(f"/sys/class/block/{device.name}/stat").read_text().split()[9]) / 1000


@contextlib.contextmanager
def foreign_load(device: Path, log: Path) -> Iterator[None]:
    """Somebody else's I/O on a disk, which keeps it at work without pushing anybody aside."""
    command = [
        "fio", "--name=foreign", f"--filename={device}", "--readonly", "--rw=randread", "--bs=64k", "--direct=1",
        "--ioengine=libaio", "--iodepth=4", "--rate_iops=120", "--time_based", "--runtime=300",
    ]  # fmt: skip
    with started(command, log=log):
        yield


@dataclass(frozen=True)
class Chain:
    stack: Stack
    disks: Disks
    told: Receiver
    fio_log: Path

    @property
    def target(self) -> dict[str, str]:
        return {"job": JOB, "instance": f"127.0.0.1:{self.stack.agent_port}"}


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    if not THROTTLE.exists():
        pytest.skip("needs the cgroups of version 1 that throttle block devices")
    with contextlib.ExitStack() as made:
        disks = Disks(made, tmp_path)
        told, webhook = made.enter_context(receiver())
        port = made.enter_context(alertmanager(tmp_path, at_once(webhook)))
        stack = made.enter_context(
            scraped_agent(
                tmp_path,
                CONFIG.format(**disks.places),
                rules=quick_rules.write(tmp_path / "rules.yml"),
                probes_with_past=PROBES_ON_DISKS,
                alertmanager_port=port,
            )
        )
        yield Chain(stack, disks, told, tmp_path / "fio.log")


def settle(chain: Chain) -> None:
    """Return when every probe is measured against its past and its peers. Raises NotReady."""
    measured = 'count(probe:iovigil_slowdown_vs_self:ratio1h{probe="reads"})'
    chain.stack.wait_for(f"{measured} == {len(NAMES)}")
    chain.stack.wait_for(f"count(probe_model:iovigil_slowdown_vs_peers:ratio1h{{probe='reads'}}) == {len(NAMES)}")


def assert_told(chain: Chain, since: float, limit_s: Callable[[Expected], float], *, is_resolved: bool) -> None:
    """Of each disk its alert, with all of its labels and in its time; the times are printed."""
    for name, expected in EXPECTED.items():
        at_least = {"alertname": expected.alert, "disk": name}
        one = chain.told.wait_for(limit_s(expected), is_resolved=is_resolved, since=since, **at_least)
        whole = {**chain.target, **at_least, "severity": expected.severity, **expected.labels}
        assert one.labels == whole
        assert one.annotations["runbook_url"].endswith(f"/docs/runbooks/{expected.alert}.md")
        took_s = one.at - since
        print(f"{name}: {expected.alert} {'resolved' if is_resolved else 'fired'} after {took_s:.1f} s")
        assert took_s <= limit_s(expected)


def assert_confirmed_by_the_runbook(chain: Chain) -> None:
    """What the page of an alert has one ask the agent shows something, while the disk is broken."""
    for name, expected in EXPECTED.items():
        for command in runbook.commands(expected.alert, DISK=name):
            if "/metrics" not in command:
                continue
            command = command.replace("AGENT:9942", chain.target["instance"])
            shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=False)
            assert f'disk="{name}"' in shown.stdout, command


def test_each_fault_is_told_of_in_its_time_and_its_repair_too_and_a_busy_disk_is_let_be(chain: Chain) -> None:
    settle(chain)
    with foreign_load(chain.disks.device["busy"], chain.fio_log):
        began, busy_before_s = time.monotonic(), busy_s(chain.disks.device["busy"])
        time.sleep(HEALTHY_S)
        assert [one.labels for one in chain.told.told()] == [], "nothing is wrong yet, and one disk is busy"

        chain.disks.break_all()
        assert_told(chain, time.monotonic(), lambda expected: expected.fault_s, is_resolved=False)
        for target in monitoring.targets():
            if target.title.endswith((", if any", "that fire")) or target.title == "Quarantines":
                shown = chain.stack.wait_for(target.expr)
                assert target.shown - {"probe"} <= shown[0]["metric"].keys(), str(target)

        assert_confirmed_by_the_runbook(chain)

        chain.disks.repair_all()
        assert_told(chain, time.monotonic(), lambda expected: expected.repair_s, is_resolved=True)

        share = (busy_s(chain.disks.device["busy"]) - busy_before_s) / (time.monotonic() - began)
        print(f"the busy disk was busy for {share:.0%} of {time.monotonic() - began:.0f} s")
        assert share > 0.5
    for one in chain.told.told():
        of_disk = EXPECTED.get(one.labels.get("disk", ""))
        assert of_disk is not None, f"{one.labels} is not about a disk that was broken"
        assert one.labels["alertname"] in {of_disk.alert, *of_disk.may_follow}
    wait_until(lambda: not chain.stack.query('ALERTS{alertstate="firing"}'), "all is quiet again", SETTLED_S)

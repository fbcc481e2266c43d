"""The groups of children, on made-up hosts: where they are made, what is in the order, what is said to be lacking."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from iovigil.agent import cgroups, child_group, config
from iovigil.agent.cgroups import Cgroups, io_max
from iovigil.agent.config import LimitSettings
from iovigil.engines.options import JobOptions
from iovigil.engines.setup_error import SetupError

UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_ALONE = "31 30 0:27 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
SERVICE = "/system.slice/iovigil.service"
NONE = LimitSettings()

CONFIG = """\
agent: {{limits: {{{of_agent}}}}}
disks: [{{name: d, file: /srv/d/probe, size: 64MiB}}]
probes: {{p: {{every: 1m, limits: {{{of_probe}}}, job: {{rw: randread, rate_iops: 100, runtime: 5s}}}}}}
"""


class Host:
    """A host whose process is in a group; what is written to a file of it replaces what was there."""

    def __init__(self, root: Path, own: str = SERVICE, mounts: str = UNIFIED) -> None:
        self.root = str(root)
        self.groups = root / "sys/fs/cgroup"
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mountinfo").write_text(mounts)
        (root / "proc/self/cgroup").write_text(f"0::{own}\n")

    def group(self, name: str, controllers: str = "", shares: str = "", *, is_ours: bool = False) -> Path:
        place = self.groups / name.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.procs").write_text("")
        (place / "cgroup.controllers").write_text(controllers)
        (place / "cgroup.subtree_control").write_text(shares)
        if is_ours:
            os.setxattr(place, "user.delegate", b"1")
        return place


def test_a_service_leaves_its_own_group_and_divides_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    service = host.group(SERVICE, "cpu io memory pids", "io memory pids", is_ours=True)
    main = host.group(f"{SERVICE}/main")
    found = cgroups.settle(host.root)
    assert found.path == str(service)
    assert (service / "cgroup.subtree_control").read_text().startswith("+pids")  # the last word written
    assert (main / "cgroup.procs").read_text() == "0"


def test_a_service_that_systemd_put_in_a_subgroup_stays_there(tmp_path: Path) -> None:
    host = Host(tmp_path, f"{SERVICE}/main")
    service = host.group(SERVICE, "cpu", "io memory pids", is_ours=True)
    main = host.group(f"{SERVICE}/main")
    found = cgroups.settle(host.root)
    assert (found.path, set(found.controllers)) == (str(service), {"io", "memory", "pids"})
    assert (main / "cgroup.procs").read_text() == ""


def test_what_a_killed_agent_left_is_removed_and_what_is_of_others_is_not(tmp_path: Path) -> None:
    host = Host(tmp_path, f"{SERVICE}/main")
    service = host.group(SERVICE, is_ours=True)
    host.group(f"{SERVICE}/main")
    (service / "job-d+p").mkdir()
    (service / "mine").mkdir()
    cgroups.settle(host.root)
    assert sorted(path.name for path in service.iterdir() if path.is_dir()) == ["main", "mine"]


def test_a_group_that_was_not_given_to_us_is_left_alone(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.group(SERVICE, "io", "io")
    if os.geteuid():
        pytest.skip("the group is this user's own")
    with pytest.raises(SetupError, match=r"is not ours to divide; systemd gives a service its group with Delegate=yes"):
        cgroups.settle(host.root)
    assert not (host.groups / SERVICE[1:] / "main").exists()


def says(host: Host, caplog: pytest.LogCaptureFixture, *, of_agent: str = "") -> tuple[Cgroups, list[tuple[int, str]]]:
    async def settled() -> Cgroups:
        groups = Cgroups(host.root)
        groups.adopt(config.parse(CONFIG.format(of_agent=of_agent, of_probe=""), "f.yml"))
        await groups.settle()
        return groups

    caplog.set_level(logging.INFO)
    return asyncio.run(settled()), [(record.levelno, record.getMessage()) for record in caplog.records]


def test_a_host_without_groups_is_said_once_and_runs_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    groups, said = says(Host(tmp_path, mounts=V1_ALONE), caplog)
    [(level, text)] = said
    assert level == logging.INFO
    assert "no control group for each child: cgroup: this host has no control groups of version 2" in text
    assert groups.order("d", "p", JobOptions(), 1 << 29) is None
    groups.discard("d", "p")  # nothing to do, and no loop to do it on
    assert asyncio.run(groups.kill("d", "p")) is False


def test_limits_that_cannot_be_kept_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, [(level, text)] = says(Host(tmp_path, mounts=V1_ALONE), caplog, of_agent="riops: 10")
    assert level == logging.WARNING
    assert text.endswith("limits of that kind are not kept")


def test_missing_controllers_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host = Host(tmp_path, f"{SERVICE}/main")
    host.group(SERVICE, "cpu", "pids", is_ours=True)
    groups, [(_, text)] = says(host, caplog)
    assert "lack the controllers io, memory" in text
    told = groups.order("d", "p", JobOptions(rate_iops=(10, 10, 10)), 1 << 29)
    assert told is not None
    assert (set(told["files"]), told["io"]) == ({"pids.max"}, "")


def delegated_host(tmp_path: Path) -> Host:
    host = Host(tmp_path, f"{SERVICE}/main")
    host.group(SERVICE, "", "io memory pids", is_ours=True)
    return host


def test_an_order_has_the_limits_of_the_probe_before_those_of_the_agent(tmp_path: Path) -> None:
    async def told() -> object:
        groups = Cgroups(delegated_host(tmp_path).root)
        text = CONFIG.format(of_agent="memory: 128MiB, riops: 7", of_probe="riops: 9, pids: 20")
        loaded = config.parse(text, "f.yml")
        groups.adopt(loaded)
        await groups.settle()
        return groups.order("d", "p", loaded.probes[0].options, 1 << 29)

    assert asyncio.run(told()) == {
        "path": f"{tmp_path}/sys/fs/cgroup{SERVICE}/job-d+p",
        "files": {"memory.max": str(128 << 20), "pids.max": "20"},
        "io": f"riops=9 rbps={4 << 20} wiops=400 wbps={4 << 20}",
    }


def test_the_group_of_a_child_that_has_gone_is_removed(tmp_path: Path) -> None:
    async def discarded() -> None:
        groups = Cgroups(delegated_host(tmp_path).root)
        await groups.settle()
        path = tmp_path / f"sys/fs/cgroup{SERVICE}/job-d+p"
        path.mkdir()
        groups.discard("d", "p")
        async with asyncio.timeout(5):
            while path.exists():
                await asyncio.sleep(0.01)

    asyncio.run(discarded())


def test_a_rate_of_a_job_gives_a_limit_that_it_does_not_meet() -> None:
    paced = JobOptions(rw="randread", bs=(4096,) * 3, rate_iops=(1000, 1000, 1000))
    assert io_max(paced, NONE).split()[:2] == ["riops=4000", f"rbps={4 * 1000 * 4096}"]


def test_ios_that_the_kernel_splits_count_for_each_part() -> None:
    long = JobOptions(rw="read", bs=(1 << 20,) * 3, rate=(100 << 20,) * 3)
    assert io_max(long, NONE).split()[:2] == [f"riops={4 * 100 * 16}", f"rbps={400 << 20}"]


def test_a_slow_job_has_room_for_what_the_filesystem_reads() -> None:
    assert io_max(JobOptions(rate_iops=(1, 1, 1)), NONE).startswith(f"riops=100 rbps={4 << 20}")


def test_without_a_rate_there_is_no_limit_but_those_that_are_set() -> None:
    assert io_max(JobOptions(), NONE) == ""
    assert io_max(JobOptions(), LimitSettings(wbps=5000)) == "wbps=5000"


def test_what_does_not_wait_for_a_rate_is_not_held_to_one() -> None:
    checked = JobOptions(rw="randwrite", verify="crc32c", verify_backlog=8, rate_iops=(1000, 1000, 1000))
    assert io_max(checked, NONE).split()[0] == "wiops=4000"
    trims = JobOptions(rw="randtrim", rate_iops=(1000, 1000, 1000))
    assert "w" not in io_max(trims, NONE)


def test_a_child_enters_its_group_before_it_writes_the_limits(tmp_path: Path) -> None:
    for name in ("cgroup.procs", "memory.max"):
        (tmp_path / name).write_text("")
    said = list(child_group.enter(str(tmp_path), {"memory.max": "1", "pids.max": "2"}))
    assert (tmp_path / "cgroup.procs").read_text() == "0"
    assert (tmp_path / "memory.max").read_text() == "1"
    assert said == ["cgroup: pids.max cannot be 2: No such file or directory"]


def test_a_group_that_cannot_be_entered_is_no_failure(tmp_path: Path) -> None:
    [text] = child_group.enter(str(tmp_path / "job"), {"memory.max": "1"})
    assert text.endswith("this run is without limits")


def test_the_limits_are_those_of_the_whole_disk(tmp_path: Path) -> None:
    disk = tmp_path / "sys/devices/sda"
    (disk / "sda1").mkdir(parents=True)
    (disk / "dev").write_text("8:0\n")
    (disk / "sda1/dev").write_text("8:1\n")
    (disk / "sda1/partition").write_text("1\n")
    names = tmp_path / "sys/class/block"
    names.mkdir(parents=True)
    (names / "sda").symlink_to(disk)
    (names / "sda1").symlink_to(disk / "sda1")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sda1").touch()
    (tmp_path / "io.max").write_text("")
    assert list(child_group.limit_io(str(tmp_path), "riops=10", ["/dev/sda1"], str(tmp_path))) == []
    assert (tmp_path / "io.max").read_text() == "8:0 riops=10"


@pytest.mark.parametrize(("in_flight", "is_limited"), [("0 0", True), ("1 0", False)])
def test_a_disk_that_stands_still_gets_no_limit(tmp_path: Path, in_flight: str, is_limited: bool) -> None:
    disk = tmp_path / "sys/class/block/sda"
    disk.mkdir(parents=True)
    for name, text in {"dev": "8:0", "inflight": in_flight, "stat": "9 0 0 0 9 0 0 0 1 0 0 9"}.items():
        (disk / name).write_text(text)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sda").touch()
    (tmp_path / "io.max").write_text("")
    said = list(child_group.limit_io(str(tmp_path), "riops=10", ["/dev/sda"], str(tmp_path)))
    assert ((tmp_path / "io.max").read_text() != "") is is_limited
    assert (said == []) is is_limited

"""Which control group a child's group is made in, on made-up hosts."""

import os
from pathlib import Path

import pytest

from iovigil.engines import cgroup
from iovigil.engines.setup_error import SetupError

UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "31 30 0:27 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
    "32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
SERVICE = "/system.slice/iovigil.service"


class Host:
    """A host whose process is in a group; `groups` is where version 2 is mounted."""

    def __init__(
        self, root: Path, own: str, mounts: str = UNIFIED, controllers: str = "cpu io memory", shares: str | None = None
    ) -> None:
        self.root = str(root)
        self.groups = root / ("sys/fs/cgroup/unified" if "unified" in mounts else "sys/fs/cgroup")
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mountinfo").write_text(mounts)
        (root / "proc/self/cgroup").write_text(f"9:blkio:/elsewhere\n0::{own}\n")
        self.group(own, shares)
        (self.groups / "cgroup.controllers").write_text(controllers)

    def group(self, name: str, shares: str | None = None, mark: str = "") -> Path:
        """A group that hands down these controllers; None: it may not, for it has processes."""
        place = self.groups / name.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        control = place / "cgroup.subtree_control"
        if shares is None:
            control.mkdir(exist_ok=True)  # nobody can write to it
        else:
            control.write_text(shares)
        if mark:
            os.setxattr(place, mark, b"1")
        return place

    def base(self, *, has_weight: bool) -> str:
        return cgroup.find("slow", has_weight, self.root)[1].removeprefix(str(self.groups))

    def refusal(self, *, has_weight: bool, name: str = "slow") -> str:
        with pytest.raises(SetupError) as refused:
            cgroup.find(name, has_weight, self.root)
        return str(refused.value)


def test_a_group_is_made_below_our_own(tmp_path: Path) -> None:
    assert Host(tmp_path, SERVICE).base(has_weight=False) == SERVICE


def test_on_a_hybrid_host_it_is_made_in_the_unified_tree(tmp_path: Path) -> None:
    host = Host(tmp_path, "/", HYBRID, "hugetlb")
    assert host.base(has_weight=False) == ""
    assert "version 1 may hold it" in host.refusal(has_weight=True)


def test_a_host_without_version_2_is_named(tmp_path: Path) -> None:
    host = Host(tmp_path, "/", HYBRID.replace("cgroup2", "cgroup"))
    assert "no control groups of version 2" in host.refusal(has_weight=False)


def test_a_weight_takes_a_group_that_can_share_the_controller_out(tmp_path: Path) -> None:
    host = Host(tmp_path, SERVICE, shares="cpu")
    assert host.base(has_weight=True) == SERVICE
    # What it did not share yet, it was asked to.
    assert (host.groups / SERVICE.lstrip("/") / "cgroup.subtree_control").read_text() == "+io"


@pytest.mark.parametrize("mark", ["user.delegate", ""])
def test_a_weight_goes_above_only_where_that_group_was_given_to_us(tmp_path: Path, mark: str) -> None:
    host = Host(tmp_path, f"{SERVICE}/main")
    host.group(SERVICE, shares="io", mark=mark)
    if mark:
        assert host.base(has_weight=True) == SERVICE
        assert host.base(has_weight=False) == f"{SERVICE}/main"
    else:
        assert "Delegate=io and DelegateSubgroup=main" in host.refusal(has_weight=True)


@pytest.mark.parametrize("name", ["", "/", "/top", "..", "a/../../b", "a//b", "./a"])
def test_a_name_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    assert "is no name of a group below our own" in Host(tmp_path, SERVICE).refusal(has_weight=False, name=name)


@pytest.mark.parametrize(("present", "weight"), [("io.weight", 10_000), ("io.bfq.weight", 1000)])
def test_a_weight_is_written_where_the_kernel_takes_one(tmp_path: Path, present: str, weight: int) -> None:
    (tmp_path / present).write_text("default 100")
    cgroup.set_weight(str(tmp_path), weight)
    assert (tmp_path / present).read_text() == f"default {weight}"


def test_a_weight_beyond_bfqs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "io.bfq.weight").write_text("default 100")
    with pytest.raises(SetupError, match="up to 1000, not 1001"):
        cgroup.set_weight(str(tmp_path), 1001)

"""Runs in the virtual machine: regions on a SCSI disk, a device mapper on it, a second path to it; answers as JSON."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iovigil.agent import order
from iovigil.agent.config import DiskSettings, RegionSettings
from iovigil.agent.disks import guard, hardware, possession, region
from iovigil.agent.disks.refusal import Refused
from iovigil.engines.options import JobOptions

MIB = 1 << 20
REGION = (2 * MIB, 8 * MIB)
PARAMETERS = Path("/sys/bus/pseudo/drivers/scsi_debug")
DEADLINE_S = 30.0


def said(act: Callable[..., Any], *arguments: Any) -> str:
    """What an act returns, or why it is refused."""
    try:
        return str(act(*arguments))
    except (Refused, OSError) as reason:
        return f"{type(reason).__name__}: {reason}"


def admit(device: str) -> guard.Target:
    disk = DiskSettings(name="d", device=device, region=RegionSettings(*REGION))
    options = JobOptions(rw="randwrite", ioengine="psync")
    return guard.admit(order.target(disk, options, is_probe_file=True), options.native())


def admitted(device: str) -> str:
    target = admit(device)
    os.close(target.fd)
    return f"{target.start} {target.size}"


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > end_s:
            raise TimeoutError(what)
        time.sleep(0.05)


def mapped() -> dict[str, str]:
    """A volume on the disk: its own name, and what that means for the disk."""
    table = "0 40960 linear /dev/sda 32768"
    subprocess.run(
        ["dmsetup", "create", "volume", "--uuid", "LVM-test", "--table", table], check=True, timeout=DEADLINE_S
    )
    try:
        found = {
            "disk below": said(admitted, "/dev/sda"),
            "claim of the volume": said(possession.claim, "d", "/dev/dm-0", REGION),
            "volume": said(admitted, "/dev/dm-0"),
            "hardware": str(hardware.read("dm-0")),
        }
        subprocess.run(
            ["dmsetup", "create", "upper", "--table", "0 2048 linear /dev/dm-0 0"], check=True, timeout=DEADLINE_S
        )
        found["volume below another"] = said(admitted, "/dev/dm-0")
        found["disk below both"] = said(admitted, "/dev/sda")
        subprocess.run(["dmsetup", "remove", "upper"], check=True, timeout=DEADLINE_S)
    finally:
        subprocess.run(["dmsetup", "remove", "volume"], check=True, timeout=DEADLINE_S)
    return found


def second_path() -> dict[str, str]:
    """The same disk once more, behind another host, which then goes again."""
    (PARAMETERS / "vpd_use_hostno").write_text("0")
    (PARAMETERS / "add_host").write_text("1")
    wait_for(lambda: Path("/dev/sdb").exists(), "sdb")
    found = {"first": said(admitted, "/dev/sda"), "second": said(admitted, "/dev/sdb")}
    (PARAMETERS / "add_host").write_text("-1")
    wait_for(lambda: not Path("/sys/block/sdb").exists(), "sdb to go")
    return {**found, "alone": said(admitted, "/dev/sda")}


def pulled() -> dict[str, str]:
    """The disk is taken away while it is open, and another gets its name."""
    target = admit("/dev/sda")
    pin = guard.pinned_device("/dev/sda")
    device = region.Device(pin, "/dev/sda")
    before = said(device.require_same, target.fd)
    Path("/sys/block/sda/device/delete").write_text("1")
    gone = said(device.require_same, target.fd)
    for host in Path("/sys/class/scsi_host").iterdir():
        (host / "scan").write_text("- - -")
    wait_for(lambda: bool(list(Path("/sys/block").glob("sd*"))), "the disk again")
    return {"before": before, "gone": gone, "another": said(device.require_same, target.fd)}


def main() -> dict[str, Any]:
    return {
        "hardware": str(hardware.read("sda")),
        "unclaimed": said(admitted, "/dev/sda"),
        "claim": said(possession.claim, "d", "/dev/sda", REGION),
        "admitted": said(admitted, "/dev/sda"),
        "mapped": mapped(),
        "second path": second_path(),
        "pulled": pulled(),
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)

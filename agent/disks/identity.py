"""What hardware a block device is: the labels of disk_info, from sysfs and udev's records. What is not known is ""."""

import os
import re
from pathlib import Path
from typing import Final

from iovigil.agent.disks import sysfs

LABELS: Final = ("device", "model", "serial", "wwn", "firmware", "transport", "rotational", "path")

# The first that is found in the device's place in the tree of devices, from the disk outwards.
TRANSPORTS: Final = (
    (r"/nvme\d+", "nvme"),
    (r"/usb\d+/", "usb"),
    (r"/ata\d+/", "sata"),
    (r"/(end_device|sas_device|expander)-", "sas"),
    (r"/session\d+/", "iscsi"),
    (r"/rport-", "fc"),
    (r"/mmc\d+", "mmc"),
    (r"/virtio\d+/", "virtio"),
)


def unknown() -> dict[str, str]:
    return dict.fromkeys(LABELS, "")


def read(name: str, root: str = "/", path: str = "") -> dict[str, str]:
    """The labels for a block device, whole or partition; `path` is how the configuration calls it, if it does.

    `device` is the whole disk, so that it joins with exporters that know no others. A device on top of exactly one
    disk (LUKS, a volume on one disk, multipath) has that disk's hardware; one on several has its own name for a model.
    """
    whole = sysfs.whole_disk(name, root)
    disk = hardware_behind(whole, root)
    udev = udev_properties(disk, root)
    links = udev_links(name, root)
    labels = {
        "device": whole,
        "model": model(disk, udev, root),
        "serial": serial(disk, udev, root),
        "wwn": wwn(disk, udev, root),
        "firmware": udev.get("ID_REVISION") or first(disk, root, "device/firmware_rev", "device/rev"),
        "transport": transport(disk, root),
        "rotational": first(disk, root, "queue/rotational"),
        "path": path or best_link(links) or f"/dev/{name.replace('!', '/')}",
    }
    return {label: labels[label] for label in LABELS}


def scheduler(name: str, root: str = "/") -> str:
    """The I/O scheduler in force; it stands in brackets among those that could be."""
    text = first(sysfs.whole_disk(name, root), root, "queue/scheduler")
    chosen = re.search(r"\[(.+?)\]", text)
    return chosen[1] if chosen else text


def hardware_behind(name: str, root: str) -> str:
    while below := sysfs.slaves(name, root):
        is_multipath = first(name, root, "dm/uuid").startswith("mpath-")
        disks = {sysfs.whole_disk(slave, root) for slave in below}
        if len(disks) > 1 and not is_multipath:
            return name
        name = min(disks)
    return name


def model(disk: str, udev: dict[str, str], root: str) -> str:
    # udev asked an ATA disk itself; the SCSI layer cuts its name off after 16 characters.
    exact = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), udev.get("ID_MODEL_ENC", "")).strip()
    own_name = first(disk, root, "dm/name") or (disk if sysfs.slaves(disk, root) else "")
    return exact or first(disk, root, "device/model", "device/name") or own_name


def serial(disk: str, udev: dict[str, str], root: str) -> str:
    # The unit's own answer to INQUIRY: four bytes of header, then the number.
    page = sysfs.read_bytes(f"{sysfs.directory(disk, root)}/device/vpd_pg80")[4:]
    own = page.decode("ascii", errors="ignore").strip("\0 ")
    named = first(disk, root, "device/serial", "serial")
    return own or named or udev.get("ID_SCSI_SERIAL", "") or udev.get("ID_SERIAL_SHORT", "")


def wwn(disk: str, udev: dict[str, str], root: str) -> str:
    found = udev.get("ID_WWN") or first(disk, root, "wwid", "device/wwid")
    if found.startswith("naa."):
        return "0x" + found.removeprefix("naa.")
    return "" if found.startswith("t10.") else found  # a T10 name is made from model and serial, not world wide


def transport(disk: str, root: str) -> str:
    place = os.path.realpath(sysfs.directory(disk, root)) + "/"
    if "/devices/virtual/block/" in place:
        return re.sub(r"[-\d].*", "", disk)  # loop, zram, dm, md
    return next((name for pattern, name in TRANSPORTS if re.search(pattern, place)), "")


def first(disk: str, root: str, *attributes: str) -> str:
    directory = sysfs.directory(disk, root)
    return next((text for attribute in attributes if (text := sysfs.read(f"{directory}/{attribute}"))), "")


def udev_record(name: str, root: str) -> list[str]:
    """The lines that udev keeps on a device, in a file on tmpfs; none where there is no udev."""
    number = first(name, root, "dev")
    try:
        return Path(sysfs.under(root, f"/run/udev/data/b{number}")).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def udev_properties(name: str, root: str) -> dict[str, str]:
    pairs = (line[2:].partition("=") for line in udev_record(name, root) if line.startswith("E:"))
    return {key: value for key, _, value in pairs}


def udev_links(name: str, root: str) -> list[str]:
    return sorted(f"/dev/{line[2:]}" for line in udev_record(name, root) if line.startswith("S:"))


def best_link(links: list[str]) -> str:
    """A name that stays with the disk when it changes its place: world wide if there is one."""
    by_id = [link for link in links if link.startswith("/dev/disk/by-id/")]
    lasting = [link for link in by_id if "/wwn-" in link or "/nvme-eui." in link or "/nvme-uuid." in link]
    return next(iter(lasting or by_id), "")

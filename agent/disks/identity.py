"""What hardware a block device is: the labels of disk_info, from sysfs and udev's records. What is not known is ""."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final

from iovigil.agent.disks import sysfs, udev

LABELS: Final = (
    "device",
    "model",
    "serial",
    "wwn",
    "firmware",
    "transport",
    "rotational",
    "size_bytes",
    "scheduler",
    "numa_node",
    "controller",
    "path",
)

DISKSEQ: Final = "diskseq"
"""No label: the kernel's number of this appearance of a device, which no other has until the next boot."""

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
    known = udev.record(disk, root)
    properties = known.properties
    links = known.links if disk == name else udev.record(name, root).links
    labels = {
        "device": whole,
        "model": model(disk, properties, root),
        "serial": serial(disk, properties, root),
        "wwn": wwn(disk, properties, root),
        "firmware": properties.get("ID_REVISION") or first(disk, root, "device/firmware_rev", "device/rev"),
        "transport": transport(disk, root),
        "rotational": first(disk, root, "queue/rotational"),
        "size_bytes": str(sysfs.size_bytes(whole, root) or ""),
        "scheduler": scheduler(disk, root),
        "numa_node": numa_node(disk, root),
        "controller": controller(disk, root),
        "path": path or best_link(links) or f"/dev/{name.replace('!', '/')}",
    }
    sequence = first(whole, root, DISKSEQ)
    return {label: labels[label] for label in LABELS} | ({DISKSEQ: sequence} if sequence else {})


def scheduler(name: str, root: str = "/") -> str:
    """The I/O scheduler in force; it stands in brackets among those that could be."""
    text = first(sysfs.whole_disk(name, root), root, "queue/scheduler")
    chosen = re.search(r"\[(.+?)\]", text)
    return chosen[1] if chosen else text


def key_of(labels: Mapping[str, str]) -> str:
    """What tells a disk from another one in its place, of these labels; empty where it has neither number."""
    return labels.get("wwn") or labels.get("serial") or ""


def hardware_behind(name: str, root: str) -> str:
    while below := sysfs.slaves(name, root):
        is_multipath = first(name, root, "dm/uuid").startswith("mpath-")
        disks = {sysfs.whole_disk(slave, root) for slave in below}
        if len(disks) > 1 and not is_multipath:
            return name
        name = min(disks)
    return name


def model(disk: str, properties: dict[str, str], root: str) -> str:
    # udev asked an ATA disk itself; the SCSI layer cuts its name off after 16 characters.
    exact = re.sub(
        r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), properties.get("ID_MODEL_ENC", "")
    ).strip()
    own_name = first(disk, root, "dm/name") or (disk if sysfs.slaves(disk, root) else "")
    return exact or first(disk, root, "device/model", "device/name") or own_name


def serial(disk: str, properties: dict[str, str], root: str) -> str:
    # The unit's own answer to INQUIRY: four bytes of header, then the number.
    page = sysfs.read_bytes(f"{sysfs.directory(disk, root)}/device/vpd_pg80")[4:]
    own = page.decode("ascii", errors="ignore").strip("\0 ")
    named = first(disk, root, "device/serial", "serial")
    return own or named or properties.get("ID_SCSI_SERIAL", "") or properties.get("ID_SERIAL_SHORT", "")


def wwn(disk: str, properties: dict[str, str], root: str) -> str:
    found = properties.get("ID_WWN") or first(disk, root, "wwid", "device/wwid")
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


def controller(disk: str, root: str = "/") -> str:
    """What the disk hangs on: the address of the last PCI function on the way to it, else its SCSI host."""
    place = os.path.realpath(sysfs.directory(disk, root))
    found = re.findall(r"/([0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(?=/)", place) or re.findall(
        r"/(host\d+)/", place
    )
    return found[-1] if found else ""


def numa_node(disk: str, root: str = "/") -> str:
    """The node whose memory is nearest to the disk; empty where the machine does not tell, or has one."""
    place = os.path.realpath(sysfs.directory(disk, root))
    top = os.path.realpath(sysfs.under(root, "/sys/devices"))
    while place.startswith(top + "/"):
        if (node := sysfs.read(f"{place}/numa_node")) and node != "-1":
            return node
        place = os.path.dirname(place)
    return ""


def best_link(links: Iterable[str]) -> str:
    """A name that stays with the disk when it changes its place: world wide if there is one."""
    by_id = [link for link in links if link.startswith("/dev/disk/by-id/")]
    lasting = [link for link in by_id if "/wwn-" in link or "/nvme-eui." in link or "/nvme-uuid." in link]
    return next(iter(lasting or by_id), "")

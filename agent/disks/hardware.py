"""What tells one block device from any other, read light enough for the first half of a child."""

from iovigil.agent.disks import sysfs
from iovigil.agent.disks.ownership import Hardware

SECTOR = 512  # what sysfs counts in, whatever the device's blocks are


def read(name: str, root: str = "/") -> Hardware:
    """The hardware of a device, whole or partition; what is built on others goes by the name it was given there."""
    whole = sysfs.whole_disk(name, root)
    wwn, serial = ids(whole, root)
    start = sysfs.read(f"{sysfs.directory(name, root)}/start") if whole != name else ""
    return Hardware(wwn, serial, sysfs.size_bytes(name, root), int(start) * SECTOR if start.isdecimal() else 0)


def ids(disk: str, root: str = "/") -> tuple[str, str]:
    """World wide name and serial number of a whole disk; empty where it tells none."""
    place = sysfs.directory(disk, root)
    if backing := sysfs.read(f"{place}/loop/backing_file"):
        return "", f"loop on {backing}"
    if sysfs.slaves(disk, root):
        # The hardware below is no answer: several volumes may lie on it.
        uuid = sysfs.read(f"{place}/dm/uuid") or sysfs.read(f"{place}/md/uuid")
        return (f"uuid {uuid}" if uuid else ""), ""
    # The unit's own answer to INQUIRY: four bytes of header, then the number.
    inquired = sysfs.read_bytes(f"{place}/device/vpd_pg80")[4:].decode("ascii", errors="ignore").strip("\0 ")
    udev = udev_properties(disk, root)
    wwn = first(place, "wwid", "device/wwid") or udev.get("ID_WWN", "")
    serial = inquired or first(place, "device/serial", "serial", "device/cid") or udev.get("ID_SERIAL_SHORT", "")
    return wwn, serial


def twins(name: str, root: str = "/") -> list[str]:
    """Other disks that tell the same names: most likely the same disk by another path, and in use there."""
    whole = sysfs.whole_disk(name, root)
    wwn, serial = ids(whole, root)
    if not wwn and not serial:
        return []
    others = {other: ids(other, root) for other in sysfs.names(root) if is_another_disk(other, whole, root)}
    return sorted(other for other, told in others.items() if (told[0] or told[1]) == (wwn or serial))


def is_another_disk(name: str, whole: str, root: str) -> bool:
    """Whether that is a disk that could be used: the paths that NVMe keeps hidden behind one disk cannot."""
    is_hidden = sysfs.read(f"{sysfs.directory(name, root)}/hidden") == "1"
    return sysfs.whole_disk(name, root) == name != whole and not is_hidden


def first(place: str, *attributes: str) -> str:
    return next((text for attribute in attributes if (text := sysfs.read(f"{place}/{attribute}"))), "")


def udev_properties(name: str, root: str) -> dict[str, str]:
    number = sysfs.read(f"{sysfs.directory(name, root)}/dev")
    record = sysfs.read_bytes(sysfs.under(root, f"/run/udev/data/b{number}")).decode(errors="replace")
    pairs = (line[2:].partition("=") for line in record.splitlines() if line.startswith("E:"))
    return {key: value for key, _, value in pairs}

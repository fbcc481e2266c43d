"""Runs in the virtual machine: an agent on SCSI disks and device mapper devices that go wrong; what it showed, as JSON.

Its arguments are the disks of the cases to try.
"""

import contextlib
import fcntl
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import device_mapper
from device_mapper import command, make_device, remove_device, sectors
from fault_benches import Bench, MakesBench, raw
from fault_cases import CASES, engines_by_fault
from fault_watch import Pace, all_benches, watch

PACE: Final = Pace(
    healthy_every_s=10, every_s=35, scrape_every_s=3.0, scrape_deadline_s=30.0, least_s=40.0, start_s=90.0
)
SCSI_DEBUG: Final = Path("/sys/bus/pseudo/drivers/scsi_debug")
READ_10: Final = "0x28"
TIMES_OUT, FAILS = 0, 2
FOR_EVER: Final = 1
MEDIUM_ERROR: Final = f"{FAILS} {FOR_EVER} {READ_10} 0 0 0x2 0x3 0x11 0x0"
DELAY_MS: Final = 200
QUICK_TIMEOUT_S: Final = 1
DEADLINE_S: Final = 30.0
MANY: Final = 1000
LINKS: Final = Path("/dev/test")
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class ScsiDisk:
    """One of scsi_debug's, known by its host number: it may come back under another name."""

    def __init__(self) -> None:
        before = hosts()
        (SCSI_DEBUG / "add_host").write_text("1")
        (self._host,) = hosts() - before
        self._wait(lambda: self.name)

    @property
    def name(self) -> str:
        """Of its device; empty if there is none."""
        return next((place.name for place in Path("/sys/class/block").glob("sd*") if self._is_ours(place)), "")

    def _is_ours(self, place: Path) -> bool:
        return f"/{self._host}/" in str(place.resolve())

    @property
    def device(self) -> Path:
        return Path("/dev", self.name)

    def inject(self, rule: str) -> None:
        """Tell the disk of an error to make, or with a `-` of one to make no more."""
        (Path("/sys/kernel/debug/scsi_debug") / self._address / "error").write_text(rule)

    @property
    def _address(self) -> str:
        return (Path("/sys/class/block") / self.name / "device").resolve().name

    def time_out_after(self, time_s: int) -> None:
        """Have the kernel wait so long for a command, and try it once."""
        (Path("/sys/class/block") / self.name / "device/timeout").write_text(str(time_s))
        (Path("/sys/class/scsi_disk") / self._address / "max_retries").write_text("0")

    def never_give_up(self) -> None:
        """Have the kernel use the disk however many of its commands time out."""
        (Path("/sys/class/scsi_disk") / self._address / "max_medium_access_timeouts").write_text(str(MANY))

    def delete(self) -> None:
        (Path("/sys/class/block") / self.name / "device/delete").write_text("1")

    def come_back(self) -> None:
        (Path("/sys/class/scsi_host") / self._host / "scan").write_text("- - -")
        self._wait(lambda: self.name)

    @staticmethod
    def _wait(condition: Callable[[], object]) -> None:
        until_s = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > until_s:
                raise TimeoutError("no disk of scsi_debug came")
            time.sleep(0.05)


def hosts() -> set[str]:
    return {place.name for place in Path("/sys/class/scsi_host").iterdir()}


def link(directory: Path, engine: str, device: Path) -> Path:
    """A link to the device that stays where it is when the device gets another name, as those of udev do."""
    place = LINKS / directory.name / engine
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(device)
    return place


@contextlib.contextmanager
def injected(
    directory: Path, engines: Sequence[str], rule: str, undoing: str, timeout_s: int | None = None
) -> Iterator[Bench]:
    disks = {engine: ScsiDisk() for engine in engines}
    for disk in disks.values():
        disk.never_give_up()
        if timeout_s is not None:
            disk.time_out_after(timeout_s)

    def breaks() -> None:
        for disk in disks.values():
            disk.inject(rule)

    def mends() -> None:
        for disk in disks.values():
            disk.inject(undoing)

    yield Bench(raw({engine: link(directory, engine, disk.device) for engine, disk in disks.items()}), breaks, mends)


@contextlib.contextmanager
def deleted(directory: Path, engines: Sequence[str]) -> Iterator[Bench]:
    disks = {engine: ScsiDisk() for engine in engines}

    def delete() -> None:
        for disk, place in zip(disks.values(), links.values(), strict=True):
            disk.delete()
            place.unlink()  # the next disk may get its name

    def bring_back() -> None:
        for engine, disk in disks.items():
            disk.come_back()
            link(directory, engine, disk.device)

    links = {engine: link(directory, engine, disk.device) for engine, disk in disks.items()}
    yield Bench(raw(links), delete, bring_back)


@contextlib.contextmanager
def mapped(
    directory: Path, engines: Sequence[str], breaks: Callable[[str, Path], None], mends: Callable[[str, Path], None]
) -> Iterator[Bench]:
    """Device mapper devices, each over a disk of its own."""
    disks = {f"{directory.name}-{engine}": ScsiDisk().device for engine in engines}
    devices = {name: make_device(name, table("linear", disk)) for name, disk in disks.items()}

    def each(act: Callable[[str, Path], None]) -> None:
        for name, disk in disks.items():
            act(name, disk)

    yield Bench(raw(dict(zip(engines, devices.values(), strict=True))), lambda: each(breaks), lambda: each(mends))
    for name in disks:
        remove_device(name)


def table(kind: str, disk: Path, more: str = "") -> str:
    return f"0 {sectors(disk)} {kind} {disk} 0{more}"


def switch(name: str, new: str) -> None:
    with device_mapper.switched(name, new):
        pass


def suspend(name: str, _disk: Path) -> None:
    command("dmsetup", "--noudevsync", "suspend", name)


def resume(name: str, _disk: Path) -> None:
    command("dmsetup", "--noudevsync", "resume", name)


BENCHES: Final[dict[str, MakesBench]] = {
    "medium": lambda place, engines: injected(place, engines, MEDIUM_ERROR, f"- {FAILS} {READ_10}"),
    "timeout": lambda place, engines: injected(
        place, engines, f"{TIMES_OUT} {FOR_EVER} {READ_10}", f"- {TIMES_OUT} {READ_10}", QUICK_TIMEOUT_S
    ),
    "silent": lambda place, engines: injected(
        place, engines, f"{TIMES_OUT} {FOR_EVER} {READ_10}", f"- {TIMES_OUT} {READ_10}"
    ),
    "deleted": deleted,
    "pulled": deleted,
    "suspended": lambda place, engines: mapped(place, engines, suspend, resume),
    "dm-delay": lambda place, engines: mapped(
        place,
        engines,
        lambda name, disk: switch(name, table("delay", disk, f" {DELAY_MS}")),
        lambda name, disk: switch(name, table("linear", disk)),
    ),
}


def bring_up_loopback() -> None:
    """The machine has no network, and the agent is asked over TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0)))
        (flags,) = struct.unpack_from("H", request, 16)
        struct.pack_into("H", request, 16, flags | IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, bytes(request))


def main() -> None:
    bring_up_loopback()
    subprocess.run(["mount", "-t", "tmpfs", "shm", "/dev/shm", "-o", "X-mount.mkdir"], check=True, timeout=DEADLINE_S)
    engines = engines_by_fault(case for case in CASES if case.disk in sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with all_benches(directory, engines, BENCHES) as benches:
            report = watch(directory, benches, f"device: {ScsiDisk().device}", PACE)
    print(report.to_json())


if __name__ == "__main__":
    main()

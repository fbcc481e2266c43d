"""Disks made to go wrong on this machine, one bench for each fault: loop devices over files and over FUSE."""

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import fault_disk
import throttle
from loop import MIB, attached, command, mounted

DISK_BYTES: Final = 16 * MIB
PROBE_FILE_MIB: Final = 4
DELAY_S: Final = 0.2
FEW_IOPS: Final = 5


@dataclass(frozen=True)
class Bench:
    """The disks that one fault is tried on, one for each I/O engine; good until `breaks`, and again after `mends`."""

    targets: dict[str, str]
    """What the configuration says of each disk."""
    breaks: Callable[[], object]
    mends: Callable[[], object]


MakesBench = Callable[[Path, Sequence[str]], contextlib.AbstractContextManager[Bench]]


@contextlib.contextmanager
def loops(directory: Path, engines: Sequence[str]) -> Iterator[dict[str, Path]]:
    with contextlib.ExitStack() as stack:
        devices = {}
        for engine in engines:
            image = directory / f"{engine}.img"
            with image.open("wb") as file:
                file.truncate(DISK_BYTES)
            devices[engine] = stack.enter_context(attached(image))
        yield devices


def raw(devices: dict[str, Path]) -> dict[str, str]:
    return {engine: f"device: {device}" for engine, device in devices.items()}


@contextlib.contextmanager
def slowed(directory: Path, engines: Sequence[str], most: int, of: str) -> Iterator[Bench]:
    with loops(directory, engines) as devices, contextlib.ExitStack() as stack:
        throttles = [stack.enter_context(throttle.throttled(device, most, of)) for device in devices.values()]
        yield Bench(raw(devices), every(each.shut for each in throttles), every(each.open for each in throttles))


def every(acts: Iterable[Callable[[], object]]) -> Callable[[], None]:
    known = list(acts)

    def act() -> None:
        for each in known:
            each()

    return act


@contextlib.contextmanager
def frozen(directory: Path, engines: Sequence[str]) -> Iterator[Bench]:
    with loops(directory, engines) as devices, contextlib.ExitStack() as stack:
        points = {}
        for engine, device in devices.items():
            command("mkfs.ext4", "-q", "-F", "-m", "0", device)
            points[engine] = stack.enter_context(mounted(device, directory / engine))

        def freeze() -> None:
            for point in points.values():
                command("fsfreeze", "--freeze", point)

        def thaw() -> None:
            for point in points.values():
                with contextlib.suppress(OSError, ValueError):
                    fault_disk.run_quietly("fsfreeze", "--unfreeze", str(point))

        targets = {engine: f"file: {point}/probe, size: {PROBE_FILE_MIB}MiB" for engine, point in points.items()}
        with undone(thaw):
            yield Bench(targets, freeze, thaw)


@contextlib.contextmanager
def served(directory: Path, engines: Sequence[str]) -> Iterator[tuple[fault_disk.FaultDisk, dict[str, Path]]]:
    """A fault disk, and a loop device for each engine over a part of it; links lead there, as those of udev would."""
    with fault_disk.mounted(directory, DISK_BYTES * len(engines)) as disk:
        yield disk, linked(directory, engines, disk)


def linked(directory: Path, engines: Sequence[str], disk: fault_disk.FaultDisk) -> dict[str, Path]:
    links = {}
    for number, engine in enumerate(engines):
        device = disk.as_loop_device(number * DISK_BYTES, DISK_BYTES)
        links[engine] = directory / f"by-engine-{engine}"
        fresh = directory / "fresh"
        fresh.symlink_to(device)
        fresh.replace(links[engine])
    return links


@contextlib.contextmanager
def ruled(directory: Path, engines: Sequence[str], breaks: Callable[[fault_disk.FaultDisk], None]) -> Iterator[Bench]:
    """Disks to which a rule of the fault disk is done."""
    with served(directory, engines) as (disk, links):
        yield Bench(raw(links), lambda: breaks(disk), disk.clear)


@contextlib.contextmanager
def stopped(directory: Path, engines: Sequence[str]) -> Iterator[Bench]:
    with served(directory, engines) as (disk, links):

        def go_on() -> None:
            disk.daemon.send_signal(signal.SIGCONT)

        with undone(go_on):
            yield Bench(raw(links), lambda: disk.daemon.send_signal(signal.SIGSTOP), go_on)


@contextlib.contextmanager
def dead(directory: Path, engines: Sequence[str]) -> Iterator[Bench]:
    with contextlib.ExitStack() as later, served(directory, engines) as (disk, links):

        def mount_anew() -> None:
            place = directory / "anew"
            place.mkdir()
            linked(directory, engines, later.enter_context(fault_disk.mounted(place, disk.size)))

        yield Bench(raw(links), disk.daemon.kill, mount_anew)


@contextlib.contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    try:
        yield
    finally:
        undo()


BENCHES: Final[dict[str, MakesBench]] = {
    "throttled": lambda place, engines: slowed(place, engines, FEW_IOPS, throttle.IOS),
    "trickle": lambda place, engines: slowed(place, engines, 1, throttle.BYTES),
    "delayed": lambda place, engines: ruled(place, engines, lambda disk: disk.delay(DELAY_S)),
    "eio": lambda place, engines: ruled(place, engines, lambda disk: disk.fail_reads()),
    "unanswered": lambda place, engines: ruled(place, engines, lambda disk: disk.hang(operation="read")),
    "midway": lambda place, engines: ruled(place, engines, lambda disk: disk.hang(operation="read")),
    "frozen": frozen,
    "stopped": stopped,
    "dead": dead,
}

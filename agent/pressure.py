"""I/O pressure of the host (PSI): whether new runs wait until other I/O has become less."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iovigil.agent.config import PressureSettings

LINE: Final = re.compile(r"^(some|full) avg10=([0-9]+(?:\.[0-9]+)?) ", re.MULTILINE | re.ASCII)


class PressureUnknown(Exception):
    """The kernel does not say; the text is which file, and why."""


@dataclass(frozen=True)
class Reading:
    """Per cent of the last 10 s in which some task, or every task, waited for I/O."""

    some: float = 0.0
    full: float = 0.0


def sources(settings: PressureSettings, root: str = "/") -> tuple[Path, ...]:
    """The files to read: that of the host, and those of the cgroups that are named."""
    return (
        Path(root, "proc/pressure/io"),
        *(Path(root, cgroup.lstrip("/"), "io.pressure") for cgroup in settings.cgroups),
    )


def read(files: Iterable[Path]) -> Reading:
    """The highest of each kind. Raises PressureUnknown; a cgroup that is not there has no pressure."""
    readings = []
    for number, file in enumerate(files):
        try:
            readings.append(parse(file.read_text()))
        except FileNotFoundError:
            if number == 0:
                raise PressureUnknown(f"{file} is not there: the kernel needs CONFIG_PSI, and psi=1") from None
        except (OSError, ValueError) as error:
            raise PressureUnknown(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    return Reading(max(each.some for each in readings), max(each.full for each in readings))


def parse(text: str) -> Reading:
    """Raises ValueError."""
    values = {kind: float(percent) for kind, percent in LINE.findall(text)}
    if "some" not in values:
        raise ValueError("has no line of some")
    return Reading(values["some"], values.get("full", 0.0))


class BackOff:
    """Holds from one threshold on, until both kinds are below the other; never longer than the longest at a time.

    Pressure that goes on for ever may be a disk that hangs: it must not blind the agent to it. After the longest time
    starts are let through until the pressure has once been low.
    """

    def __init__(self, settings: PressureSettings | None = None) -> None:
        self._settings = settings
        self._since_s: float | None = None

    def adopt(self, settings: PressureSettings | None) -> None:
        """Go by other thresholds; what holds goes on to hold until they say otherwise."""
        self._settings = settings
        if settings is None:
            self._since_s = None

    def note(self, reading: Reading, now_s: float) -> None:
        settings = self._settings
        if settings is None:
            return
        if self._since_s is None:
            if is_over(reading.some, settings.hold_some) or is_over(reading.full, settings.hold_full):
                self._since_s = now_s
        elif is_under(reading.some, settings.hold_some, settings.resume_some) and is_under(
            reading.full, settings.hold_full, settings.resume_full
        ):
            self._since_s = None

    def is_active(self, now_s: float) -> bool:
        if self._settings is None or self._since_s is None:
            return False
        return now_s - self._since_s < self._settings.longest_s


def is_over(percent: float, hold: int) -> bool:
    return hold > 0 and percent >= hold


def is_under(percent: float, hold: int, resume: int) -> bool:
    """Whether this kind lets starts through; one that is not looked at always does."""
    return hold == 0 or percent < resume or percent == 0

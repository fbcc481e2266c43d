"""How idle each CPU was during a run: fio's --idle-prof, measured by a child that fills what nobody else uses."""

import asyncio
import contextlib
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import iovigil

Mode = Literal["none", "system", "percpu", "calibrate"]

PROGRAM: Final = Path(iovigil.__file__).parent / "engines" / "idle_profile.py"
READY_S: Final = 20.0  # on a machine where every CPU is busy
END_S: Final = 20.0


class ProfileError(RuntimeError):
    """The profile is not to be had; the text says why."""


@dataclass(frozen=True)
class Idleness:
    """What a profile found, in per cent of the time that it ran."""

    cpus: tuple[tuple[int, float], ...]
    """(number, idle) of each CPU; none after a calibration alone."""
    units_us: tuple[float, ...]
    """Time of the unit of work on each CPU."""

    @property
    def system(self) -> float:
        return statistics.fmean(idle for _, idle in self.cpus) if self.cpus else 0.0

    @property
    def unit_mean_us(self) -> float:
        return statistics.fmean(self.units_us)

    @property
    def unit_stddev_us(self) -> float:
        return statistics.stdev(self.units_us) if len(self.units_us) > 1 else 0.0

    def document(self, mode: Mode) -> dict[str, Any]:
        """For `cpu_idleness` of fio's JSON."""
        cpus = {f"cpu-{cpu}": idle for cpu, idle in self.cpus} if mode == "percpu" else {}
        return {
            "system": self.system,
            **cpus,
            "unit_mean": self.unit_mean_us,
            "unit_stddev": self.unit_stddev_us,
        }

    def lines(self, mode: Mode) -> Iterator[str]:
        """As fio's normal output has it, heading included."""
        yield "CPU idleness:"
        if mode != "calibrate":
            yield f"  system: {self.system:.2f}%"
        if mode == "percpu":
            yield f"  percpu: {', '.join(f'{idle:.2f}%' for _, idle in self.cpus)}"
        yield f"  unit work: mean={self.unit_mean_us:.2f}us, stddev={self.unit_stddev_us:.2f}"


class IdleProfile:
    """A running profile. Call `start` before the jobs, `begin` when they are released, `end` when they are over."""

    def __init__(self, process: asyncio.subprocess.Process, units_us: tuple[float, ...]) -> None:
        self._process = process
        self.units_us = units_us

    @classmethod
    async def start(cls) -> "IdleProfile":
        """Start and calibrate. Raises ProfileError."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(PROGRAM), str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={},
                start_new_session=True,  # Ctrl-C is for us to act on
            )  # fmt: skip
        except OSError as problem:
            raise ProfileError(f"--idle-prof: {problem.strerror}") from None
        try:
            async with asyncio.timeout(READY_S):
                assert process.stdout is not None
                word, *units = (await process.stdout.readline()).decode().split() or [""]
        except BaseException as problem:
            await kill(process)
            if isinstance(problem, TimeoutError):
                raise ProfileError(f"--idle-prof: calibration took longer than {READY_S:g} s") from None
            raise
        if word != "ready":
            raise ProfileError(f"--idle-prof: {await last_words(process)}")
        return cls(process, tuple(map(float, units)))

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self) -> None:
        """Measure from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def end(self) -> Idleness:
        """Stop, and tell what was found. Raises ProfileError."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                output, _ = await self._process.communicate()
        except TimeoutError:
            await kill(self._process)
            raise ProfileError("--idle-prof: the profile did not end") from None
        if self._process.returncode:
            raise ProfileError(f"--idle-prof: the profile ended with status {self._process.returncode}")
        found = [line.split() for line in output.decode().splitlines()]
        return Idleness(tuple((int(cpu), 100 * float(idle)) for cpu, idle, _ in found), self.units_us)

    async def close(self) -> None:
        """End it, whatever it has found; for a run that was given up."""
        await kill(self._process)


async def calibrate() -> Idleness:
    """The unit of work alone: --idle-prof=calibrate. Raises ProfileError."""
    profile = await IdleProfile.start()
    return await profile.end()


async def kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await process.communicate()


async def last_words(process: asyncio.subprocess.Process) -> str:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            _, errors = await process.communicate()
            return errors.decode(errors="replace").strip().removeprefix("error: ") or "the profile ended at once"
    await kill(process)
    return "the profile did not start"

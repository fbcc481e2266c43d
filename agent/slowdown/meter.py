"""Meter: takes the kernel's counters at both ends of each run, beside the loop."""

import asyncio
import time
from typing import Final

from iovigil.agent.aside import Lane, Taken
from iovigil.agent.slowdown import foreign_load
from iovigil.agent.slowdown.foreign_load import Counters, ForeignLoad, Own

LOOK_S: Final = 1.0
LOOKS: Final = 16
"""At a time. sysfs may wait for a driver that is busy with an error."""

Look = tuple[float, dict[str, Counters]]
Key = tuple[str, str]


class Meter:
    """What is not read in time is not known."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._lane = Lane(LOOKS)
        self._begun: dict[Key, asyncio.Task[Look | None]] = {}

    def begin(self, key: Key, device: str) -> None:
        """A run of this probe is about to start."""
        if (before := self._begun.pop(key, None)) is not None:
            before.cancel()
        if device:
            self._begun[key] = asyncio.get_running_loop().create_task(self._look(device))

    async def end(self, key: Key, device: str, own: Own, rotational: str) -> ForeignLoad | None:
        """What others did meanwhile; None where that is not known. What has no device is nobody else's."""
        begun = self._begun.pop(key, None)
        if not device:
            return ForeignLoad()
        before = await begun if begun is not None else None
        after = await self._look(device)
        if before is None or after is None:
            return None
        return foreign_load.between(before[1], after[1], after[0] - before[0], own, rotational)

    async def _look(self, device: str) -> Look | None:
        try:
            return await self._lane.call(lambda: (time.monotonic(), foreign_load.look(device, self._root)), LOOK_S)
        except (OSError, TimeoutError, Taken):
            return None

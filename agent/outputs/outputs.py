"""Keeps the ways out equal to the configuration: begins what is new in it, ends what is gone."""

import asyncio
from collections.abc import Callable
from typing import Final

from iovigil.agent import metrics
from iovigil.agent.config import AgentSettings, OtlpSettings, TextfileSettings
from iovigil.agent.ledger import Ledger
from iovigil.agent.outputs.otlp import Otlp
from iovigil.agent.outputs.output import Output
from iovigil.agent.outputs.textfile import Render, Textfile

NAMES: Final = ("textfile", "otlp")
"""Of the ways out, in `agent` and in the ledger."""
CLOSE_S: Final = 5.0


class Outputs:
    """Used on the event loop's thread; each way out is a task of its own."""

    def __init__(self, shown: Callable[[], Ledger], render: Render = metrics.render) -> None:
        """`shown` gives the ledger that a scrape is answered from, `render` the body that it gets."""
        self._render = render
        self._shown = shown
        self._settings: dict[str, object] = {}
        self._outputs: dict[str, Output] = {}
        self._runs: dict[Output, asyncio.Task[None]] = {}
        self._changes: dict[str, asyncio.Task[None]] = {}
        """The last one of each way out, which waits for those before it."""

    def adopt(self, agent: AgentSettings) -> None:
        """Go by these from now on."""
        ledger = self._shown()
        for name in NAMES:
            settings = getattr(agent, name)
            getattr(ledger, name).is_on = settings is not None
            if settings == self._settings.get(name):
                continue
            self._settings[name] = settings
            old, new = self._outputs.pop(name, None), None
            if settings is not None:
                new = self._outputs[name] = self._output(settings)
            work = self._change(self._changes.get(name), old, new)
            self._changes[name] = asyncio.get_running_loop().create_task(work, name=f"change {name}")

    def _output(self, settings: object) -> Output:
        if isinstance(settings, TextfileSettings):
            return Textfile(settings, self._shown, self._render)
        assert isinstance(settings, OtlpSettings)
        return Otlp(settings, self._shown)

    async def _change(self, before: asyncio.Task[None] | None, old: Output | None, new: Output | None) -> None:
        # One after the other, for both may write to the same file; and each to its end, or a file would stay behind.
        if before is not None:
            await asyncio.wait([before])
        if old is not None:
            await self._end(old, CLOSE_S)
        if new is not None:
            self._runs[new] = asyncio.get_running_loop().create_task(new.run(), name=new.name)

    async def close(self, deadline_s: float) -> None:
        """End all of them, for as long as an ending agent has time."""
        changes = list(self._changes.values())
        if changes:
            await asyncio.wait(changes, timeout=deadline_s)
        for change in changes:
            change.cancel()
        await asyncio.gather(*(self._end(output, deadline_s) for output in self._outputs.values()))

    async def _end(self, output: Output, deadline_s: float) -> None:
        if (task := self._runs.pop(output, None)) is not None:
            task.cancel()
            await asyncio.wait([task], timeout=deadline_s)
        await output.close(deadline_s)

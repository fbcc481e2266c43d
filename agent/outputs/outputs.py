"""Keeps the ways out equal to the configuration: begins what is new in it, ends what is gone."""

import asyncio
import contextlib
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
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._outputs: dict[str, Output] = {}

    def adopt(self, agent: AgentSettings) -> None:
        """Go by these from now on."""
        ledger = self._shown()
        for name in NAMES:
            settings = getattr(agent, name)
            getattr(ledger, name).is_on = settings is not None
            if settings == self._settings.get(name):
                continue
            self._settings[name] = settings
            before = (self._outputs.pop(name, None), self._tasks.pop(name, None))
            if settings is not None:
                self._outputs[name] = self._output(settings)
            work = self._change(*before, self._outputs.get(name))
            self._tasks[name] = asyncio.get_running_loop().create_task(work, name=name)

    def _output(self, settings: object) -> Output:
        if isinstance(settings, TextfileSettings):
            return Textfile(settings, self._shown, self._render)
        assert isinstance(settings, OtlpSettings)
        return Otlp(settings, self._shown)

    async def _change(self, old: Output | None, task: asyncio.Task[None] | None, new: Output | None) -> None:
        # One after the other: both may write to the same file.
        await end(old, task, CLOSE_S)
        if new is not None:
            await new.run()

    async def close(self, deadline_s: float) -> None:
        """End all of them, for as long as an ending agent has time."""
        await asyncio.gather(*(end(self._outputs.get(name), task, deadline_s) for name, task in self._tasks.items()))
        self._tasks.clear()


async def end(output: Output | None, task: asyncio.Task[None] | None, deadline_s: float) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    if output is not None:
        await output.close(deadline_s)

"""Pushes what a scrape would be told to a receiver of OpenTelemetry's OTLP over HTTP, for hosts that nobody scrapes."""

import dataclasses
import importlib
import itertools
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from iovigil.agent.aside import Taken
from iovigil.agent.config import OtlpSettings
from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics.exposition import FAMILIES, OF_AGENT, collect
from iovigil.agent.output_account import OutputAccount
from iovigil.agent.outputs.output import Failed, Output

DISKS_AT_A_TIME: Final = 6
"""In one request: collecting and encoding more than that would hold up the event loop, and cost memory."""
LONGEST_PAUSE_S: Final = 900.0
OF_THE_AGENT: Final = {family.name for group in OF_AGENT for family in FAMILIES[group]}


class Otlp(Output):
    """What cannot be pushed in time is dropped, not queued: the next push has it, for counters go on."""

    def __init__(self, settings: OtlpSettings, shown: Callable[[], Ledger]) -> None:
        """`shown` gives the ledger that a scrape is answered from."""
        super().__init__(f"OTLP to {settings.endpoint}", settings.every_s)
        self._settings = settings
        self._shown = shown
        self._failures = 0
        self._pusher: Any = None

    def account(self) -> OutputAccount:
        return self._shown().otlp

    def pause_s(self) -> float:
        """Longer, and longer again, while nobody takes it."""
        every_s = self._settings.every_s
        return min(every_s * (1 << min(self._failures, 10)), max(every_s, LONGEST_PAUSE_S))

    async def put(self) -> None:
        self._failures += 1
        ledger = self._shown()
        since_unix = ledger.counting_since_unix
        end_s = time.monotonic() + self._settings.timeout_s
        for part in parts(ledger):
            await self._push(part, since_unix, end_s - time.monotonic())
        self._failures = 0

    async def _push(self, part: list[Metric], since_unix: float, left_s: float) -> None:
        if left_s <= 0:
            raise Failed(f"the receiver did not take it all within {self._settings.timeout_s:g} s")
        now_unix = time.time()
        try:
            refusal = await self.lane.call(lambda: self._send(part, since_unix, now_unix, left_s), left_s + 0.5)
        except Taken:
            raise Failed("an earlier push has not come back") from None
        except TimeoutError:
            raise Failed(f"no answer within {self._settings.timeout_s:g} s") from None
        except OSError as error:
            text = error.strerror or str(error)
            raise Failed(f"{error.filename}: {text}" if error.filename else text) from None
        if refusal:
            raise Failed(refusal)

    def _send(self, part: list[Metric], since_unix: float, now_unix: float, left_s: float) -> str:
        """Blocks. Returns what is wrong; raises OSError."""
        if self._pusher is None:
            module: ModuleType = importlib.import_module("iovigil.agent.outputs.otlp_push")  # the extra, and slow
            self._pusher = module.Pusher(self._settings)
        return str(self._pusher.push(part, since_unix, now_unix, left_s))

    async def close(self, deadline_s: float) -> None:  # noqa: ARG002 (it takes none)
        if self._pusher is not None:
            self._pusher.close()


def parts(ledger: Ledger) -> Iterator[list[Metric]]:
    """All samples of the ledger, some disks at a time; each part is of the moment at which it is asked for."""
    yield sampled(dataclasses.replace(ledger, disks={}, probes={}))
    names = iter(list(ledger.disks))
    while some := set(itertools.islice(names, DISKS_AT_A_TIME)):
        part = dataclasses.replace(
            ledger,
            disks={name: disk for name, disk in ledger.disks.items() if name in some},
            probes={key: entry for key, entry in ledger.probes.items() if key[0] in some},
        )
        yield [metric for metric in sampled(part) if name_of(metric) not in OF_THE_AGENT]


def sampled(ledger: Ledger) -> list[Metric]:
    return [metric for metric in collect(ledger).collect() if metric.samples]


def name_of(metric: Metric) -> str:
    """The name as in the text format."""
    return f"{metric.name}_total" if metric.type == "counter" else str(metric.name)

"""Rendering: the text of a scrape in one format, of which only what has changed is written anew.

The text is prometheus-client's. It renders the lines of a family about one subject when their labels are seen for the
first time; after that other values are put into the same lines, and only if they are others.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.formats import Format
from iovigil.agent.metrics.scrape import Samples, Scrape, Series

written: Final = functools.lru_cache(1024)(floatToGoString)
"""A value as the text has it. Most buckets of a distribution hold what the one before does."""


class Subject(NamedTuple):
    """What samples are about: the agent, a disk, or a probe on a disk."""

    key: tuple[str, ...]
    families: tuple[Family, ...]
    state: object
    """All that the samples are made of, by value; None where nothing tells whether they have changed."""
    fill: Callable[[Scrape], None]


@dataclass(slots=True)
class Block:
    """The lines of one family about one subject."""

    series: Sequence[Series] = ()
    values: Sequence[float] = ()
    template: str = ""
    text: bytes = b""


@dataclass(slots=True)
class Part:
    """All that was said about one subject."""

    state: object = None
    blocks: dict[Family, Block] = field(default_factory=dict)
    texts: list[bytes] = field(default_factory=list)
    """Of the subject's families, in their order; empty where one has no samples."""


class Rendering:
    """One format. Nobody tells it what has changed: it sees that itself."""

    def __init__(self, form: Format, levels: Sequence[tuple[Family, ...]]) -> None:
        """`levels` are the families by kind of subject, in the order of the text."""
        self._form = form
        self._levels = levels
        self._headers = {family: self._lines(family, Samples()) for families in levels for family in families}
        self._parts: Mapping[tuple[str, ...], Part] = {}

    def render(self, subjects: Iterable[Subject]) -> bytes:
        parts: dict[tuple[str, ...], Part] = {}
        by_level: dict[tuple[Family, ...], list[Part]] = {families: [] for families in self._levels}
        for subject in subjects:
            part = parts[subject.key] = self._parts.get(subject.key) or Part()
            by_level[subject.families].append(part)
            self._look(part, subject)
        self._parts = parts  # what is on the books no more is forgotten here
        text: list[bytes] = []
        for families, level in by_level.items():
            of_each = zip(*[part.texts for part in level], strict=True) if level else [()] * len(families)
            for family, texts in zip(families, of_each, strict=True):
                text.append(self._headers[family].encode())
                text += texts
        text.append(self._form.end.encode())
        return b"".join(text)

    def prepare(self, subject: Subject) -> None:
        """Have this one ready for the next scrape, if it was in the last."""
        if (part := self._parts.get(subject.key)) is not None:
            self._look(part, subject)

    def _look(self, part: Part, subject: Subject) -> None:
        if subject.state is not None and part.state == subject.state:
            return
        scrape = Scrape(subject.families)
        subject.fill(scrape)
        for family, samples in scrape.samples.items():
            if samples.series:
                self._put(part.blocks.setdefault(family, Block()), family, samples)
            else:
                part.blocks.pop(family, None)
        part.texts = [part.blocks[family].text if family in part.blocks else b"" for family in subject.families]
        # Last: if anything above fails, the next scrape tries it again.
        part.state = subject.state

    def _put(self, block: Block, family: Family, samples: Samples) -> None:
        if block.series != samples.series:
            block.template = self._template(family, samples)
            block.series = samples.series
        elif block.values == samples.values:
            return
        block.text = (block.template % tuple(map(written, samples.values))).encode()
        block.values = samples.values

    def _template(self, family: Family, samples: Samples) -> str:
        """The lines of these series with a %s for each value."""
        lines = self._lines(family, samples).removeprefix(self._headers[family])
        # No other separator than \n: labels may hold what Unicode takes for the end of a line.
        return "".join(line.rpartition(" ")[0].replace("%", "%%") + " %s\n" for line in lines.split("\n")[:-1])

    def _lines(self, family: Family, samples: Samples) -> str:
        return self._form.encode(One(family, samples)).decode().removesuffix(self._form.end)


@dataclass(frozen=True)
class One:
    """prometheus-client's Collector interface to the samples of one family."""

    family: Family
    samples: Samples

    def collect(self) -> list[Metric]:
        return [self.samples.model(self.family)]

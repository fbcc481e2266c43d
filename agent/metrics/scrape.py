"""Scrape: the samples of metric families while they are being filled in."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from iovigil.agent.metrics.family import Family, MetricFamily


class Series(NamedTuple):
    """What a value, or a distribution, is of."""

    labels: tuple[str, ...]
    bounds: tuple[str, ...] = ()
    """Upper bounds of a distribution's buckets, the last one +Inf."""


class Samples:
    """Samples of one family."""

    __slots__ = ("series", "values")

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.values: list[float] = []
        """One for each line of the text, in its order: a distribution has its buckets, count and sum."""

    def model(self, family: Family) -> MetricFamily:
        """The family with these samples, in prometheus-client's model."""
        metric = family.empty()
        values = iter(self.values)
        for labels, bounds in self.series:
            if isinstance(metric, HistogramMetricFamily):
                buckets = [(bound, next(values)) for bound in bounds]
                next(values)  # the count is that of the last bucket
                metric.add_metric(labels, buckets, next(values))
            else:
                metric.add_metric(labels, next(values))
        return metric


class Scrape:
    """Collects samples; what it held vanishes with it, so a removed disk leaves nothing behind."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.samples = {family: Samples() for family in families}

    def add(self, family: Family, value: float, *labels: str) -> None:
        assert family.kind != "histogram", family.name
        samples = self.samples[family]
        samples.series.append(Series(labels))
        samples.values.append(value)

    def add_histogram(
        self, family: Family, buckets: Sequence[tuple[str, float]], sum_value: float, *labels: str
    ) -> None:
        """Add a distribution; `buckets` are (upper bound, samples up to it), the last one +Inf."""
        assert family.kind == "histogram", family.name
        samples = self.samples[family]
        bounds, counts = zip(*buckets, strict=True)
        samples.series.append(Series(labels, bounds))
        samples.values += (*counts, counts[-1], sum_value)

    def collect(self) -> Iterator[Metric]:
        """prometheus-client's Collector interface."""
        for family, samples in self.samples.items():
            yield samples.model(family)

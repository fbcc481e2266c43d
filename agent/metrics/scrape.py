"""Scrape: the metric families of one scrape while they are being filled."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from iovigil.agent.metrics.family import Family, MetricFamily


class Scrape:
    """Collects samples; what it held vanishes with it, so a removed disk leaves nothing behind."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.metrics: dict[Family, MetricFamily] = {family: family.empty() for family in families}

    def add(self, family: Family, value: float, *labels: str) -> None:
        metric = self.metrics[family]
        assert not isinstance(metric, HistogramMetricFamily), family.name
        metric.add_metric(labels, value)

    def add_histogram(
        self, family: Family, buckets: Sequence[tuple[str, float]], sum_value: float, *labels: str
    ) -> None:
        """Add a distribution; `buckets` are (upper bound, samples up to it), the last one +Inf."""
        metric = self.metrics[family]
        assert isinstance(metric, HistogramMetricFamily), family.name
        metric.add_metric(labels, buckets, sum_value)

    def collect(self) -> Iterator[Metric]:
        """prometheus-client's Collector interface."""
        yield from self.metrics.values()

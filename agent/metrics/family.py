"""Family: everything that is said about a metric, once; the exposition and docs/metrics.md follow from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Kind = Literal["gauge", "counter", "histogram"]
MetricFamily = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily

MODELS: Mapping[Kind, type[MetricFamily]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}


# eq=False: a family is its own identity, and hashing it costs nothing in the tens of thousands of lookups of a scrape.
@dataclass(frozen=True, eq=False, slots=True)
class Family:
    """Declaration of one metric family."""

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()
    unit: str = "1"
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The values a label may take, where they are known beforehand."""

    def empty(self) -> MetricFamily:
        """The family in prometheus-client's model, without samples."""
        return MODELS[self.kind](self.name, self.help, labels=self.labels, unit=self.exposed_unit)

    @property
    def exposed_unit(self) -> str:
        """Unit for OpenMetrics, which wants it at the end of the name; prometheus-client would append it there."""
        return self.unit if self.name.removesuffix("_total").endswith(f"_{self.unit}") else ""


def families_in(namespace: Mapping[str, object]) -> tuple[Family, ...]:
    """The families declared in a module, in order; call with `vars(module)`."""
    return tuple(value for value in namespace.values() if isinstance(value, Family))


def names(values: Iterable[object]) -> tuple[str, ...]:
    """Label values of an enumeration of strings."""
    return tuple(str(value) for value in values)

"""A metric of prometheus-client in the data model of OpenTelemetry, of which Prometheus makes the same name again."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

# In UCUM, and none else: of unit 1 Prometheus would make a ratio, and of others a suffix that our names have not got.
UNITS: Final = {"seconds": "s", "bytes": "By", "ratio": "1"}
CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


class Moment(NamedTuple):
    """What every point of a push has in common."""

    since_ns: int
    """When counting began."""
    now_ns: int


def metric_of(metric: Metric, moment: Moment) -> OtlpMetric:
    name, unit, text = metric.name, UNITS.get(metric.unit, ""), metric.documentation
    match metric.type:
        case "counter":
            points = list(numbers(metric, moment, moment.since_ns))
            total = Sum(points, aggregation_temporality=CUMULATIVE, is_monotonic=True)
            return OtlpMetric(f"{name}_total", text, unit, total)
        case "histogram":
            return OtlpMetric(name, text, unit, Histogram(list(distributions(metric, moment)), CUMULATIVE))
    return OtlpMetric(name, text, unit, Gauge(list(numbers(metric, moment, 0))))


def numbers(metric: Metric, moment: Moment, since_ns: int) -> Iterator[NumberDataPoint]:
    for sample in metric.samples:
        yield NumberDataPoint(sample.labels, since_ns, moment.now_ns, plain(sample.value))


def distributions(metric: Metric, moment: Moment) -> Iterator[HistogramDataPoint]:
    """A point for each series: its samples come in a row, the buckets first, each with what is below it."""
    buckets: list[Sample] = []
    count = 0
    for sample in metric.samples:
        if sample.name.endswith("_bucket"):
            buckets.append(sample)
        elif sample.name.endswith("_count"):
            count = round(sample.value)
        else:
            below = [round(each.value) for each in buckets]
            yield HistogramDataPoint(
                attributes={name: value for name, value in buckets[0].labels.items() if name != "le"},
                start_time_unix_nano=moment.since_ns,
                time_unix_nano=moment.now_ns,
                count=count,
                sum=sample.value,
                bucket_counts=[high - low for low, high in zip([0, *below], below, strict=False)],
                explicit_bounds=[float(each.labels["le"]) for each in buckets[:-1]],
                min=None,  # type: ignore[arg-type] # left out of what is sent
                max=None,  # type: ignore[arg-type]
            )
            buckets = []


def plain(value: float) -> float:
    """A truth as a number."""
    return int(value) if isinstance(value, bool) else value

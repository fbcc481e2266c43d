"""One request after another to a receiver of OTLP, by OpenTelemetry's own exporter; needs the extra `otlp`."""

import logging
import os
from pathlib import Path
from typing import Final

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric

import iovigil
from iovigil.agent.config import OtlpSettings
from iovigil.agent.config.kinds import read_header
from iovigil.agent.outputs import otlp_model

LOGGER: Final = "opentelemetry"
LONGEST_REASON: Final = 300
MOST_HEADERS_BYTES: Final = 64 * 1024


class LastWords(logging.Handler):
    """Keeps what the exporter logs, which is the only place where it says what went wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._said = [*self._said[-1:], record.getMessage()]

    def take(self) -> str:
        said, self._said = self._said, []
        return " ".join(said)[:LONGEST_REASON]


class Pusher:
    """Used by one thread at a time. It blocks, as long as it is told at most."""

    def __init__(self, settings: OtlpSettings) -> None:
        self._settings = settings
        self._exporter: OTLPMetricExporter | None = None
        self._headers: dict[str, str] = {}
        host = os.uname().nodename
        self._resource = Resource.create(
            {
                "service.name": "iovigil",
                "service.version": iovigil.__version__,
                "service.instance.id": settings.instance or host,
                "host.name": host,
            }
        )
        self._scope = InstrumentationScope("iovigil", iovigil.__version__)
        self._last_words = LastWords()

    def push(self, metrics: list[Metric], since_unix: float, now_unix: float, deadline_s: float) -> str:
        """Send these; what went wrong, or nothing. Raises OSError where the file of headers cannot be read."""
        exporter = self._exporter_now(deadline_s)
        moment = otlp_model.Moment(since_ns=round(since_unix * 1e9), now_ns=round(now_unix * 1e9))
        scope = ScopeMetrics(self._scope, [otlp_model.metric_of(metric, moment) for metric in metrics], "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        logger = logging.getLogger(LOGGER)
        logger.propagate = False
        logger.addHandler(self._last_words)
        try:
            outcome = exporter.export(data, timeout_millis=deadline_s * 1e3)
        finally:
            logger.removeHandler(self._last_words)
        said = self._last_words.take()
        return "" if outcome is MetricExportResult.SUCCESS else said or "the receiver did not take it"

    def _exporter_now(self, deadline_s: float) -> OTLPMetricExporter:
        """The exporter with the headers that the file has now, so that a token may be changed under way."""
        headers = dict(read_header(text) for text in self._settings.headers)
        if self._settings.headers_file:
            headers |= read_headers(Path(self._settings.headers_file))
        if self._exporter is None or headers != self._headers:
            self.close()
            self._headers = headers
            self._exporter = OTLPMetricExporter(
                endpoint=self._settings.endpoint,
                certificate_file=self._settings.ca_file or None,
                client_certificate_file=self._settings.cert_file or None,
                client_key_file=self._settings.key_file or None,
                headers=headers,
                timeout=min(deadline_s, self._settings.timeout_s),
                compression=Compression.Gzip if self._settings.compression == "gzip" else Compression.NoCompression,
            )
        return self._exporter

    def close(self) -> None:
        """Also while it pushes: a retry that waits is given up."""
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.shutdown()


def read_headers(path: Path) -> dict[str, str]:
    """The headers of a file, a line `Name: value` each. Raises OSError, with nothing of what is in it."""
    with path.open("rb") as file:
        content = file.read(MOST_HEADERS_BYTES)
    headers = {}
    for number, line in enumerate(content.decode("latin-1").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, value = read_header(line)
        except ValueError:
            raise OSError(0, f"{path}:{number}: is no header such as Authorization: Bearer TOKEN") from None
        headers[name] = value
    return headers

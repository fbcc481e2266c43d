"""A receiver of OTLP over HTTP, which keeps what it is sent and answers as it is told."""

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

NUMBERS = ("as_int", "as_double")
Points = dict[tuple[str, frozenset[tuple[str, str]]], Any]


class Receiver:
    def __init__(self) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.delay_s = 0.0
        self.url = ""

    def metrics(self) -> Iterator[Any]:
        for request in self.requests:
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    yield from scope.metrics

    def points(self) -> Points:
        """Every data point, by its metric's name and its attributes. No two are the same."""
        found: Points = {}
        for metric in self.metrics():
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                key = metric.name, frozenset((each.key, each.value.string_value) for each in point.attributes)
                assert key not in found, key
                found[key] = point
        return found

    def resource(self) -> dict[str, str]:
        [resource] = self.requests[0].resource_metrics
        return {each.key: each.value.string_value for each in resource.resource.attributes}


def value_of(point: Any) -> float:
    return float(getattr(point, point.WhichOneof("value")))


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    taken = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            time.sleep(taken.delay_s)
            if taken.status == 200:
                taken.requests.append(ExportMetricsServiceRequest.FromString(body))
            taken.headers.append({name.lower(): value for name, value in self.headers.items()})
            with contextlib.suppress(OSError):
                self.send_response(taken.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    taken.url = f"http://127.0.0.1:{server.server_address[1]}/v1/metrics"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)

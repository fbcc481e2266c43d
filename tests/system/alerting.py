"""Debian's Alertmanager with our file, and a receiver that remembers what it is told."""

import contextlib
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import monitoring
import yaml
from processes import free_port, started, wait_until
from scraping import HTTP_DEADLINE_S, get

SHIPPED = monitoring.ROOT / "grafana" / "alertmanager" / "iovigil.yml"
TEMPLATES = Path("/usr/share/prometheus/alertmanager/default.tmpl")
UNPACKED = Path(sys.executable).parents[1] / "share"
"""Where packaging/setup-dev.sh puts what the package has in /usr/share."""


@dataclass(frozen=True)
class Told:
    """One alert of one message, when it came."""

    at: float
    is_resolved: bool
    labels: dict[str, str]
    annotations: dict[str, str]


class Receiver:
    """What a person would have been told, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: list[Told] = []

    def take(self, message: dict[str, Any]) -> None:
        with self._lock:
            for alert in message["alerts"]:
                is_resolved = alert["status"] == "resolved"
                self._told.append(Told(time.monotonic(), is_resolved, alert["labels"], alert["annotations"]))

    def told(self, *, is_resolved: bool = False, **labels: str) -> list[Told]:
        """Every message so far about alerts with these labels."""
        with self._lock:
            told = list(self._told)
        return [one for one in told if one.is_resolved == is_resolved and labels.items() <= one.labels.items()]

    def wait_for(self, deadline_s: float, *, is_resolved: bool = False, since: float = 0.0, **labels: str) -> Told:
        """The first such message that came after that moment. Raises NotReady."""

        def found() -> list[Told]:
            return [one for one in self.told(is_resolved=is_resolved, **labels) if one.at >= since]

        what = f"told of {labels}{' resolved' if is_resolved else ''}"
        return wait_until(found, what, deadline_s)[0]


@contextlib.contextmanager
def receiver() -> Iterator[tuple[Receiver, str]]:
    """A webhook: where it is, and what it took."""
    taken = Receiver()
    with taking_all(lambda body: taken.take(json.loads(body))) as url:
        yield taken, url


@contextlib.contextmanager
def taking_all(take: Callable[[bytes], None] = lambda _: None) -> Iterator[str]:
    """The address of a server that takes whatever is posted to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: what came is asserted."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(HTTP_DEADLINE_S)


def at_once(webhook: str) -> dict[str, Any]:
    """The shipped inhibitions, with everything sent at once to one place, each alert by itself."""
    shipped = yaml.safe_load(SHIPPED.read_text())
    return {
        "route": {
            "receiver": "webhook",
            "group_by": ["..."],
            # As long as it takes an alert to follow the one that holds it back.
            "group_wait": "1s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "webhook", "webhook_configs": [{"url": webhook, "send_resolved": True}]}],
        "inhibit_rules": shipped["inhibit_rules"],
    }


@contextlib.contextmanager
def alertmanager(directory: Path, config: dict[str, Any]) -> Iterator[int]:
    """Alertmanager with this configuration; its port."""
    file, port = directory / "alertmanager.yml", free_port()
    file.write_text(yaml.safe_dump(config))
    command = [
        *with_templates(),
        "prometheus-alertmanager",
        f"--config.file={file}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with started(command, log=directory / "alertmanager.log", port=port):
        yield port


def with_templates() -> Sequence[str]:
    """What has to stand before the command where the package is not installed.

    Debian's Alertmanager reads its templates from /usr/share and from nowhere else, and does not start without them.
    """
    if TEMPLATES.exists():
        return ()
    overlay = f"mount -t overlay -o lowerdir={UNPACKED}:/usr/share none /usr/share"
    return ("unshare", "--mount", "sh", "-c", f'{overlay} && exec "$@"', "sh")


def post(port: int, alerts: list[dict[str, str]]) -> None:
    """Let alerts with these labels fire."""
    body = json.dumps([{"labels": labels} for labels in alerts]).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v2/alerts", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=HTTP_DEADLINE_S).close()


def held_back(port: int) -> Callable[[dict[str, str]], bool]:
    """Whether an alert with these labels is inhibited now."""
    return having(port, "inhibitedBy")


def silenced(port: int) -> Callable[[dict[str, str]], bool]:
    """Whether an alert with these labels is silenced now."""
    return having(port, "silencedBy")


def having(port: int, cause: str) -> Callable[[dict[str, str]], bool]:
    alerts = json.loads(get(f"http://127.0.0.1:{port}/api/v2/alerts"))
    state = {frozenset(alert["labels"].items()): bool(alert["status"][cause]) for alert in alerts}
    return lambda labels: state[frozenset(labels.items())]

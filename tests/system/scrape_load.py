"""Scrapes at a rate, whether or not answers come: run as a program, in a process of its own; what came out, as JSON.

On bare sockets: what it takes of the machine is not there for the agent.
"""

import contextlib
import json
import selectors
import socket
import statistics
import sys
import time
from collections import Counter

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n"
PATIENCE_S = 10.0
PIECE = 1 << 18


class Client:
    """One connection, with one scrape at a time that is due at fixed moments."""

    def __init__(self, port: int, first_s: float, every_s: float) -> None:
        self.due_s = first_s
        self.socket: socket.socket | None = None
        self.is_waiting = False
        self._port = port
        self._every_s = every_s
        self._answer = bytearray()
        self._length = 0

    def ask(self, selector: selectors.BaseSelector) -> None:
        """Raises OSError."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
            self.socket.setblocking(False)
            selector.register(self.socket, selectors.EVENT_READ, self)
        self._answer.clear()
        self._length = 0
        self.socket.send(REQUEST)
        self.is_waiting = True

    def read(self) -> str:
        """The status once the answer is there as a whole, empty before. Raises OSError."""
        assert self.socket is not None
        piece = self.socket.recv(PIECE)
        if not piece:
            raise ConnectionResetError
        self._answer += piece
        if not self._length and (end := self._answer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._answer[:end]).lower()
            self._length = end + 4 + int(head.partition(b"content-length:")[2].split()[0])
        if not self._length or len(self._answer) < self._length:
            return ""
        status = self._answer[9:12].decode()
        return "503 without Retry-After" if status == "503" and b"retry-after" not in self._answer.lower() else status

    def go_on(self) -> None:
        self.is_waiting = False
        self.due_s += self._every_s

    def hang_up(self, selector: selectors.BaseSelector) -> None:
        if self.socket is not None:
            with contextlib.suppress(KeyError, ValueError):
                selector.unregister(self.socket)
            self.socket.close()
            self.socket = None


def load(port: int, rate: float, duration_s: float, connections: int) -> dict[str, object]:
    first_s, every_s = time.monotonic() + 0.2, connections / rate
    end_s = first_s + duration_s
    clients = [Client(port, first_s + every_s * number / connections, every_s) for number in range(connections)]
    statuses, waited_s = Counter[str](), list[float]()
    with selectors.DefaultSelector() as selector:

        def book(client: Client, status: str) -> None:
            statuses[status] += 1
            if status == "200":
                # From when it was due: a server that stalls makes all of them wait.
                waited_s.append(time.monotonic() - client.due_s)
            else:
                client.hang_up(selector)
            client.go_on()

        while pending := [client for client in clients if client.is_waiting or client.due_s < end_s]:
            now_s = time.monotonic()
            for client in pending:
                late_s = now_s - client.due_s
                try:
                    if not client.is_waiting and late_s >= 0:
                        client.ask(selector)
                    elif client.is_waiting and late_s > PATIENCE_S + duration_s:
                        raise TimeoutError
                except OSError as error:
                    book(client, type(error).__name__)
            next_s = min((client.due_s for client in pending if not client.is_waiting), default=now_s + 0.1)
            for key, _ in selector.select(max(min(next_s - time.monotonic(), 0.1), 0)):
                client = key.data
                try:
                    status = client.read()
                except OSError as error:
                    status = type(error).__name__
                if status and client.is_waiting:
                    book(client, status)
                elif status:
                    client.hang_up(selector)  # it was closed between two scrapes
        for client in clients:
            client.hang_up(selector)
    cuts = statistics.quantiles(waited_s, n=1000) if len(waited_s) > 1 else [0.0] * 999
    return {
        "planned": sum(statuses.values()),
        "took_s": round(time.monotonic() - first_s, 1),
        "statuses": dict(statuses),
        "p50_s": cuts[499],
        "p99_s": cuts[989],
        "max_s": max(waited_s, default=0.0),
    }


if __name__ == "__main__":
    port, rate, duration_s, connections = sys.argv[1:]
    print(json.dumps(load(int(port), float(rate), float(duration_s), int(connections))))

"""Scrapes at a rate, whether or not answers come: run as a program, in a process of its own; what came out, as JSON."""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n"
PATIENCE_S = 10.0


@dataclass
class Outcome:
    """What became of the scrapes."""

    planned: int = 0
    """How many were to be sent by now."""
    statuses: Counter[str] = field(default_factory=Counter)
    waited_s: list[float] = field(default_factory=list)
    """From when each was to be sent to the end of its answer: a server that stalls makes all of them wait."""
    read_bytes: int = 0


async def client(port: int, every_s: float, first_s: float, end_s: float, outcome: Outcome) -> None:
    planned_s, streams = first_s, None
    while planned_s < end_s:
        await asyncio.sleep(max(planned_s - time.monotonic(), 0))
        outcome.planned += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                streams = streams or await asyncio.open_connection("127.0.0.1", port)
                status, size = await scrape(*streams)
        except (OSError, EOFError, asyncio.IncompleteReadError) as error:
            status, size = type(error).__name__, 0
            if streams is not None:
                streams[1].close()
            streams = None
        outcome.statuses[status] += 1
        outcome.read_bytes += size
        if status == "200":
            outcome.waited_s.append(time.monotonic() - planned_s)
        planned_s += every_s
    if streams is not None:
        streams[1].close()
        with contextlib.suppress(OSError):
            await streams[1].wait_closed()


async def scrape(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    await reader.readexactly(length)
    status = head.split()[1].decode()
    if status == "503" and b"retry-after" not in head.lower():
        status = "503 without Retry-After"
    return status, length


async def load(port: int, rate: float, duration_s: float, connections: int) -> Outcome:
    outcome, first_s, every_s = Outcome(), time.monotonic() + 0.2, connections / rate
    await asyncio.gather(
        *(
            client(port, every_s, first_s + every_s * number / connections, first_s + duration_s, outcome)
            for number in range(connections)
        )
    )
    return outcome


def main() -> None:
    port, rate, duration_s, connections = sys.argv[1:]
    outcome = asyncio.run(load(int(port), float(rate), float(duration_s), int(connections)))
    cuts = statistics.quantiles(outcome.waited_s, n=1000) if len(outcome.waited_s) > 1 else [0.0] * 999
    print(
        json.dumps(
            {
                "planned": outcome.planned,
                "statuses": dict(outcome.statuses),
                "p50_s": cuts[499],
                "p99_s": cuts[989],
                "max_s": max(outcome.waited_s, default=0.0),
                "read_bytes": outcome.read_bytes,
            }
        )
    )


if __name__ == "__main__":
    main()

"""The agent's log: structured fields to journald, else lines on stderr, never waiting for either."""

import logging
import logging.handlers
import os
import queue
import sys
from typing import Final

from systemd import journal  # type: ignore[import-untyped]

QUEUED_RECORDS: Final = 2000
STOP_S: Final = 0.5

LogQueue = queue.Queue[logging.LogRecord | None]


def fields(**named: str) -> dict[str, str]:
    """Journal fields for a log call's `extra`: disk="sda" is found by `journalctl IOVIGIL_DISK=sda`."""
    return {f"IOVIGIL_{name.upper()}": value for name, value in named.items()}


def is_connected(fd: int = 2, stream: str | None = None) -> bool:
    """Whether a descriptor leads to the journal; systemd says which device and inode that is."""
    stream = os.environ.get("JOURNAL_STREAM") if stream is None else stream
    if not stream:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


class Outbox(logging.handlers.QueueHandler):
    """Hands records to the writing thread; counts those for which there is no room."""

    queue: LogQueue

    def __init__(self, records: LogQueue) -> None:
        super().__init__(records)
        self.lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.lost += 1

    def take_lost(self) -> int:
        lost, self.lost = self.lost, 0
        return lost


class Writer(logging.handlers.QueueListener):
    """Writes the records in a thread of its own: a stalled journal or terminal stalls only that."""

    def __init__(self, outbox: Outbox, handler: logging.Handler) -> None:
        super().__init__(outbox.queue, handler)
        self.outbox = outbox

    def handle(self, record: logging.LogRecord) -> None:
        if lost := self.outbox.take_lost():
            text = f"{lost} log records were lost: the log did not keep up"
            super().handle(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))
        super().handle(record)

    def stop(self) -> None:
        """Write what is queued, for as long as an ending agent has time."""
        thread = self._thread
        if thread is None:
            return
        try:
            self.queue.put_nowait(None)
        except queue.Full:
            return
        thread.join(STOP_S)


def handler_for(is_journal: bool) -> logging.Handler:
    if is_journal:
        return journal.JournalHandler(SYSLOG_IDENTIFIER="iovigil")  # type: ignore[no-any-return]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    return handler


def start(level: int = logging.INFO, handler: logging.Handler | None = None, size: int = QUEUED_RECORDS) -> Writer:
    """Send all logging there; stop() the returned writer at the end."""
    outbox = Outbox(queue.Queue(size))
    root = logging.getLogger()
    root.handlers[:] = [outbox]
    root.setLevel(level)
    writer = Writer(outbox, handler or handler_for(is_connected()))
    writer.start()
    return writer

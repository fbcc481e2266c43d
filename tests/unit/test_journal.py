"""The log never holds the agent up, and says what it lost."""

import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest

from iovigil.agent import journal


class Gate(logging.Handler):
    """A log that takes nothing until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.opened.wait(10)
        self.lines.append(record.getMessage())


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def wait_for(gate: Gate, count: int) -> None:
    end = time.monotonic() + 10
    while len(gate.lines) < count:
        assert time.monotonic() < end, gate.lines
        time.sleep(0.01)


def test_records_go_through(root_logger: logging.Logger) -> None:
    gate = Gate()
    gate.opened.set()
    writer = journal.start(handler=gate)
    root_logger.info("probe %s", "latency")
    root_logger.debug("not this")
    writer.stop()
    assert gate.lines == ["probe latency"]


def test_a_stalled_log_stops_nobody_and_tells_what_was_lost(root_logger: logging.Logger) -> None:
    gate = Gate()
    writer = journal.start(handler=gate, size=10)
    started_s = time.monotonic()
    for number in range(100):
        root_logger.info("line %d", number)
    writer.stop()
    assert time.monotonic() - started_s < 3
    gate.opened.set()
    wait_for(gate, 11)
    lost = [line for line in gate.lines if "were lost" in line]
    kept = [line for line in gate.lines if line.startswith("line")]
    assert len(lost) == 1
    assert int(lost[0].split()[0]) + len(kept) == 100


def test_fields_reach_the_handler(root_logger: logging.Logger) -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    writer = journal.start(handler=Keep())
    root_logger.info("x", extra=journal.fields(disk="data0", probe="latency"))
    writer.stop()
    assert vars(records[0])["IOVIGIL_DISK"] == "data0"
    assert vars(records[0])["IOVIGIL_PROBE"] == "latency"


def test_the_journal_is_known_by_its_device_and_inode() -> None:
    reader, writer = os.pipe()
    try:
        status = os.fstat(writer)
        assert journal.is_connected(writer, f"{status.st_dev}:{status.st_ino}")
        assert not journal.is_connected(writer, f"{status.st_dev}:{status.st_ino + 1}")
        assert not journal.is_connected(writer, "")
    finally:
        os.close(reader)
        os.close(writer)

"""Rows of a history, for tests."""

import time
from typing import Any, Final

from iovigil.agent.history import LastMismatch, Mismatched
from iovigil.agent.run_record import RunRecord

NOW_UNIX: Final = float(int(time.time()))


def row(number: int, disk: str = "data0", **more: Any) -> Mismatched:
    given = Mismatched(
        run=f"{disk}/integrity/1000.000",
        number=number,
        found_unix=1000.0 + number,
        disk=disk,
        probe="integrity",
        path="/srv/data0/probe",
        identity="wwn-1",
        kind="stale",
        offset=number * 4096,
        length=4096,
        first_byte=None,
        wrong_bits=None,
        expected_generation=7,
        found_generation=3,
        found_offset=None,
        dumps="",
        text="data corruption: ...",
    )
    return given._replace(**more)


def last(disk: str = "data0", found_unix: float = 1000.0) -> LastMismatch:
    return LastMismatch(disk, "integrity", "/srv/data0/probe", "wwn-1", found_unix)


def record(number: int, disk: str = "data0", **more: Any) -> RunRecord:
    """A run of that disk; what is not said is that of a good one."""
    started_unix = more.pop("started_unix", NOW_UNIX + number)
    given: dict[str, Any] = {
        "name": f"{disk}/latency/{started_unix:.3f}",
        "disk": disk,
        "probe": "latency",
        "started_unix": started_unix,
        "duration_s": 5.0,
        "engine": "io_uring",
        "options": {"rw": "randread", "bs": "4k"},
    }
    return RunRecord(**{**given, **more})

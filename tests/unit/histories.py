"""Rows of a history, for tests."""

from typing import Any

from iovigil.agent.history import LastMismatch, Mismatched


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

"""How much of the history is kept."""

from typing import NamedTuple


class Bounds(NamedTuple):
    """What is kept of runs; the first two of each are per probe on a disk."""

    runs: int = 1000
    days: int = 30
    failures: int = 10_000
    failure_days: int = 366
    size: int = 256 << 20

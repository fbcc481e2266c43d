from collections.abc import Sequence
from typing import Self, final

from iovigil.engines.integrity import Integrity

@final
class Checkers:
    """`count` threads for the blocks of one job, whose I/Os have the indices below `slots`."""

    def __new__(cls, integrity: Integrity, count: int, slots: int, max_bs: int, cpus: Sequence[int]) -> Self: ...

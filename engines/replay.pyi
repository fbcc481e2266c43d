from collections.abc import Mapping, Sequence
from typing import Any, final

@final
class Replay:
    """The I/Os of read_iolog, in its order and at its times."""

    def __init__(self, options: Mapping[str, Any], names: Sequence[str] | None, sizes: Sequence[int]) -> None: ...
    @property
    def count(self) -> int:
        """I/Os in one pass."""
    @property
    def total_bytes(self) -> int:
        """Bytes that one pass reads, writes and trims."""
    @property
    def longest(self) -> int:
        """Bytes of the longest read or write; trims need no buffer."""
    @property
    def shortest(self) -> int: ...
    @property
    def does_read(self) -> bool: ...
    @property
    def does_write(self) -> bool: ...
    @property
    def does_trim(self) -> bool: ...
    def begin(self, now_ns: int) -> None:
        """Start a pass: times count from now on."""
    def take(self, now_ns: int) -> tuple[int, int, int, int, int] | int | None:
        """(ddir, file, offset, length, due_ns) of what is due; else when to ask again; None when the pass is over."""

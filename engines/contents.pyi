from typing import Any, Self, final

@final
class Contents:
    """What a job's writes carry, one I/O at a time or in several buffers: for tests."""

    def __new__(cls, options: dict[str, Any], seed: int, slots: int = 1) -> Self: ...
    def write(self, length: int, offset: int, now: int, slot: int = 0) -> bytes:
        """The block that is written."""
    def read(self, found: bytes, slot: int = 0) -> None:
        """Put into a buffer what a read found."""

from typing import Any, final

@final
class Contents:
    """What a job's writes carry, one I/O at a time or in several buffers: for tests."""

    def __init__(self, options: dict[str, Any], seed: int, slots: int = 1) -> None: ...
    def write(self, length: int, offset: int, now: int, slot: int = 0) -> bytes:
        """The block that is written."""
    def read(self, found: bytes, slot: int = 0) -> None:
        """Put into a buffer what a read found."""

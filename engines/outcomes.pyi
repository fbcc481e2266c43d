from collections.abc import Iterable
from typing import Self, final

@final
class Outcomes:
    """What became of each write of a job that runs."""

    def __new__(cls, depth: int, slot_count: int, file_count: int, has_places: bool, is_synced_only: bool) -> Self: ...
    @property
    def issued(self) -> int:
        """Writes that were submitted, whatever became of them."""
    def numbers(self) -> tuple[int, list[int], list[int]]:
        """(writes there were, numbers of those in flight, numbers of those that failed), as far as is to be told."""
    def places(self) -> bytes:
        """Pairs of (file, offset), packed: where the last writes of each file went, the last one first."""

@final
class Vouched:
    """What a verify state file says of the writes that a job is to check."""

    def take(self, count: int, open_numbers: Iterable[int] | None, places: bytes, depth: int) -> None:
        """Go by a file: `open_numbers` are of writes that were in flight or failed."""

def checksum(data: bytes) -> int:
    """CRC-32C as verify state files hold it."""

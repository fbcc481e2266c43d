from typing import Any, Self, final

SLOT_BYTES: int
"""Of each of the two slots."""

@final
class ScrubState:
    """The state of a scrub in its file, which is on a disk other than the one that is scrubbed."""

    def __new__(cls, fd: int) -> Self: ...
    def read(self) -> dict[str, Any]:
        """The newest good record, field by field. Raises ValueError when there is none."""
    def write(self, **fields: Any) -> None:
        """Change fields of the record and write it to the older slot. Raises OSError."""

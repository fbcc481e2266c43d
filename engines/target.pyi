from collections.abc import Sequence
from typing import final

@final
class TargetFiles:
    """(descriptor, end, start, length) of each file; the descriptors stay the caller's."""

    def __init__(
        self, files: Sequence[tuple[int, int, int, int]], admitted: Sequence[tuple[int, int]] = ()
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def fds(self) -> list[int]: ...

from typing import Self, final

@final
class FlowPage:
    """What the jobs of one flow know of each other: made by the agent (`create`), attached by each job (`attach`)."""

    def __new__(cls) -> Self: ...
    @classmethod
    def create(cls, places: int) -> Self:
        """A page in shared memory with a place for each job. Raises OSError."""
    @classmethod
    def attach(cls, fd: int) -> Self:
        """The page behind a descriptor, which now belongs to this object. ValueError if it is none of ours."""
    def leave(self, place: int) -> None:
        """Take a job out that has gone, in whatever way; nothing happens when it had left of itself."""
    def ios(self, place: int) -> int:
        """I/Os that count for a job."""
    def fileno(self) -> int: ...
    def close(self) -> None:
        """Give the memory back; using the page afterwards is an error of the caller."""

@final
class Flow:
    """One job's part in a flow: for tests."""

    def __new__(cls, page: FlowPage, place: int, weight: int) -> Self: ...
    def is_ahead(self) -> bool: ...
    def note(self) -> None: ...
    def leave(self) -> None: ...

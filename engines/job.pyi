from collections.abc import Sequence
from typing import Any, final

from iovigil.engines.flow import FlowPage
from iovigil.engines.loading import EngineLocation
from iovigil.engines.setup_error import SetupError as SetupError
from iovigil.engines.stats import StatsPage

@final
class Job:
    """One workload against one target. `run` returns when it is over; what happened is on the stats page."""

    def __init__(
        self,
        options: dict[str, Any],
        stats: StatsPage,
        files: Sequence[tuple[int, int]],
        number: int = 1,
        flow_place: tuple[FlowPage, int] | None = None,
        names: Sequence[str] | None = (),
        location: EngineLocation | None = None,
    ) -> None:
        """Raises SetupError, or EngineUnavailable when this host does not allow the engine."""
    def regions(self, files: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
        """(descriptor, size, start, length) of each file: what of it the job works on. Raises SetupError."""
    @property
    def stats(self) -> StatsPage: ...
    @property
    def notes(self) -> list[str]:
        """What people should know of the engine: fall-backs that it took."""
    def meet(self) -> None:
        """Meet those whom the engine needs, now that they are released too. Raises OSError."""
    def run(self) -> None:
        """Run the job to its end, its runtime's end, or the stop word's; never raises for an I/O error."""

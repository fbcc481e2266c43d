from collections.abc import Sequence
from typing import Any

from typing_extensions import disjoint_base

from iovigil.engines.flow import FlowPage
from iovigil.engines.loading import EngineLocation
from iovigil.engines.stats import StatsPage

@disjoint_base
class PreparedJob:
    """One workload against one target, ready to run."""

    def __init__(
        self,
        options: dict[str, Any],
        stats: StatsPage,
        files: Sequence[tuple[int, int] | tuple[int, int, int]],
        number: int = 1,
        flow_place: tuple[FlowPage, int] | None = None,
        names: Sequence[str] | None = (),
        location: EngineLocation | None = None,
        shared_log: tuple[int, int, int, int, int, bytes] | None = None,
        state_file: tuple[str, str, int] | None = None,
        scrub: dict[str, Any] | None = None,
    ) -> None:
        """Raises SetupError, or EngineUnavailable when this host does not allow the engine."""
    def regions(self, files: Sequence[tuple[int, int] | tuple[int, int, int]]) -> list[tuple[int, int, int, int]]:
        """(descriptor, end, start, length) of each file: what of it the job works on. Raises SetupError."""
    @property
    def stats(self) -> StatsPage: ...
    @property
    def notes(self) -> list[str]:
        """What people should know of the engine: fall-backs that it took."""

from typing import final

from iovigil.engines.prepared_job import PreparedJob

@final
class Job(PreparedJob):
    """One workload against one target. `run` returns when it is over; what happened is on the stats page."""

    def meet(self) -> None:
        """Meet those whom the engine needs, now that they are released too. Raises OSError."""
    def run(self) -> None:
        """Run the job to its end, its runtime's end, or the stop word's; never raises for an I/O error."""

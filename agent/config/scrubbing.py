"""What a scrub asks of its disk, and whether a configuration's period can be met."""

from typing import NamedTuple

from iovigil.agent.config.model import ScrubSettings
from iovigil.agent.config.rules import portion
from iovigil.engines.options import SECOND_US, JobOptions
from iovigil.engines.quantities import spell_amount

DAY_S = 86_400


class ScrubDemand(NamedTuple):
    """A scrub of one region, in figures."""

    region_bytes: int
    cycle_s: float
    run_bytes: float
    """Read and written by each run that keeps to the schedule."""
    needed_bytes_per_s: float
    """The rate at which a run gets that done within its runtime."""
    rate_bytes_per_s: float
    """What the configuration allows; 0 is no bound."""
    runtime_s: float
    every_s: float
    read_bytes_a_day: float
    written_bytes_a_day: float
    rewrite_s: float
    """Within this time every block is written anew."""
    first_cycle_s: float
    """How long it takes to write every block for the first time; 0 where no rate says so."""

    @property
    def is_met(self) -> bool:
        return not self.rate_bytes_per_s or self.needed_bytes_per_s <= self.rate_bytes_per_s

    @property
    def busy_share(self) -> float:
        """Of the time, at the rate given; without one it is the disk's own speed that decides."""
        return self.run_bytes / self.rate_bytes_per_s / self.every_s if self.rate_bytes_per_s else 0.0


def region_of(options: JobOptions, whole: int) -> int:
    """How many of the bytes that a job may write are a scrub's."""
    return portion(options.size, whole) or whole - portion(options.offset, whole)


def spell_rate(bytes_per_s: float) -> str:
    """A rate for people, in three digits."""
    return f"{spell_amount(bytes_per_s)}/s"


def demand(settings: ScrubSettings, options: JobOptions, region_bytes: int) -> ScrubDemand:
    """What a scrub of so many bytes comes to. The period is longer than the interval."""
    bs, iops = options.max_bs, options.rate_iops[0]
    bounds = [bound for bound in (options.rate[0], iops * bs) if bound]
    rate = min(bounds, default=0)
    runtime_s = options.runtime / SECOND_US
    run_bytes = region_bytes * (1 + 1 / settings.n) * settings.every_s / settings.cycle_s
    return ScrubDemand(
        region_bytes=region_bytes,
        cycle_s=settings.cycle_s,
        run_bytes=run_bytes,
        needed_bytes_per_s=run_bytes / runtime_s,
        rate_bytes_per_s=rate,
        runtime_s=runtime_s,
        every_s=settings.every_s,
        read_bytes_a_day=region_bytes / settings.cycle_s * DAY_S,
        written_bytes_a_day=region_bytes / settings.n / settings.cycle_s * DAY_S,
        rewrite_s=settings.cycle_s * settings.n,
        first_cycle_s=region_bytes / rate / runtime_s * settings.every_s if rate else 0.0,
    )

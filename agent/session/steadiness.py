"""Which jobs of a session are looked at together for a steady state, and what of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iovigil.agent.session.job import SessionJob
from iovigil.agent.steady_state import SteadyState
from iovigil.engines.stats import Counter, Latency


@dataclass(frozen=True)
class Watch:
    """Jobs whose figures together are looked at for a steady state."""

    state: SteadyState
    jobs: tuple[SessionJob, ...]


def watches(jobs: Sequence[SessionJob]) -> tuple[Watch, ...]:
    """What steady states are looked for: one in each job, or in each group that is reported as one."""
    found: list[Watch] = []
    by_group: dict[int, list[SessionJob]] = {}
    for job in jobs:
        criterion, limit, is_percent = job.plan.options.steadystate
        if not criterion:
            continue
        members = by_group.setdefault(job.plan.group, [])
        members.append(job)
        if job.plan.options.group_reporting and len(members) > 1:
            job.steady = members[0].steady
            continue
        options = job.plan.options
        job.steady = SteadyState(
            criterion,
            limit,
            is_percent,
            duration_s=options.steadystate_duration / 1e6,
            ramp_s=options.steadystate_ramp_time / 1e6,
            interval_s=options.steadystate_check_interval / 1e6,
        )
    for job in jobs:
        if job.steady is not None and not any(watch.state is job.steady for watch in found):
            found.append(Watch(job.steady, tuple(other for other in jobs if other.steady is job.steady)))
    return tuple(found)


def totals(jobs: Iterable[SessionJob]) -> tuple[int, int, int, int]:
    """I/Os, bytes, and the sum and number of latencies of these jobs so far."""
    ios = size = lat_ns = samples = 0
    for job in jobs:
        for ddir in range(3):
            ios += job.page.counter(Counter.IOS, ddir)
            size += job.page.counter(Counter.BYTES, ddir)
            histogram = job.page.histogram(Latency.LAT, ddir)
            lat_ns += histogram.sum_ns
            samples += histogram.count
    return ios, size, lat_ns, samples

"""What check-config says of a probe: when it may start, what fio would be told, what a scrub comes to."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from iovigil.agent.cli.report import PIPE_COLUMNS
from iovigil.agent.config import Assignment, DiskSettings, ProbeSettings, ScrubSettings
from iovigil.agent.config.scrubbing import DAY_S, demand, region_of, spell_rate
from iovigil.agent.fio import equivalent
from iovigil.agent.windows import Windows
from iovigil.engines.options import JobOptions
from iovigil.engines.quantities import spell_size
from iovigil.engines.spelling import spell_options

INDENT: Final = "    "


def describe(probe: ProbeSettings, windows: Windows, assignments: Sequence[Assignment]) -> Iterator[str]:
    """A probe, its disks, and the fio command that does the same on the first of those that it does alike."""
    mine = [each for each in assignments if each.probe.name == probe.name]
    names = ", ".join(each.disk.name for each in mine)
    yield from textwrap.wrap(f"Probe {probe.name} on {names or 'no disk'}", PIPE_COLUMNS)
    if windows.windows:
        yield from indented(f"starts {'; '.join(map(str, windows.windows))}")
    yield from scrubs(probe, probe.scrub, mine) if probe.scrub is not None else commands(mine)
    yield ""


def indented(text: str, subsequent: str = "") -> Iterable[str]:
    return textwrap.wrap(
        text,
        PIPE_COLUMNS,
        initial_indent=INDENT,
        subsequent_indent=INDENT + subsequent,
        break_on_hyphens=False,
    )


def commands(mine: Sequence[Assignment]) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[Assignment]] = {}
    try:
        for each in mine:
            words = (word for word in equivalent.command(each) if not word.startswith("--filename="))
            alike.setdefault(tuple(words), []).append(each)
    except equivalent.NoEquivalent as reason:
        yield f"{INDENT}fio has no such job: {reason}"
        return
    for first, *others in alike.values():
        yield from (f"{INDENT}{line}" for line in equivalent.in_lines(equivalent.command(first)))
        if others:
            text = f"# the same on {', '.join(each.disk.name for each in others)}, each with its own --filename"
            yield from indented(text, subsequent="#   ")


def scrubs(probe: ProbeSettings, settings: ScrubSettings, mine: Sequence[Assignment]) -> Iterator[str]:
    yield from indented(" ".join(spell_options(probe.options)))
    for each in mine:
        for text in scrub_plan(settings, probe.options, each.disk):
            yield from indented(text)


def scrub_plan(settings: ScrubSettings, options: JobOptions, disk: DiskSettings) -> Iterator[str]:
    """What a scrub comes to on one disk."""
    region = region_of(options, disk.writable_bytes)
    asked = demand(settings, options, region)
    at_a_time = f"{asked.run_bytes / 2**20:.3g} MiB a run"
    bound = f" of {spell_rate(asked.rate_bytes_per_s)} allowed, busy {asked.busy_share:.1%}" if asked.busy_share else ""
    yield (
        f"{disk.name}: {spell_size(region)} in {spell_days(asked.cycle_s)}: {at_a_time}, "
        f"{spell_rate(asked.needed_bytes_per_s)}{bound}"
    )
    first = f"; the first cycle takes {spell_days(asked.first_cycle_s)}" if asked.first_cycle_s else ""
    yield (
        f"{disk.name}: writes {asked.written_bytes_a_day / 2**20:.3g} MiB a day: one block in {settings.n} each cycle, "
        f"all within {spell_days(asked.rewrite_s)}{first}"
    )


def spell_days(time_s: float) -> str:
    """A long time for people."""
    if time_s >= DAY_S:
        return f"{time_s / DAY_S:.3g} days"
    return f"{time_s / 3600:.3g} h" if time_s >= 3600 else f"{time_s / 60:.3g} min"

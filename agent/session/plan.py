"""The jobs of a session: sections and their clones, each with its number, group, region and files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from iovigil.agent import order
from iovigil.agent.fio.command_line import JobSection
from iovigil.engines.iolog_text import IologError, survey
from iovigil.engines.options import JobOptions

if TYPE_CHECKING:
    from iovigil.agent.disks.guard import TargetOrder

SIZED_ENGINES: Final = frozenset({"null", "net"})
"""Without a target to take it from, they have to be told a size."""
COLON: Final = re.compile(r"(?<!\\):")


class PlanError(Exception):
    """Jobs that cannot be together; the text names the job, and says what to change."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedJob:
    """One job: a section, or a clone of one (numjobs)."""

    number: int
    """Place among the jobs of the session, from 1."""
    clone: int
    """Place among the clones of its section, from 0."""
    group: int
    options: JobOptions
    """The section's, with the offset of this clone."""
    written: dict[str, str] = field(default_factory=dict)
    targets: "tuple[TargetOrder, ...]" = ()
    names: tuple[str, ...] = ()
    """What the user, and an iolog, calls them."""

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(target["path"] for target in self.targets)

    @property
    def is_stonewalled(self) -> bool:
        return self.options.stonewall and self.clone == 0

    @property
    def layout_s(self) -> float:
        """Time that laying out its files may take."""
        return sum(target["create_size"] for target in self.targets) / order.LAYOUT_BYTES_PER_S


def plan(sections: Sequence[JobSection], session: str, *, is_readonly: bool = False) -> tuple[PlannedJob, ...]:
    """Every job of these sections, in order; `session` marks the files that they create. Raises PlanError."""
    jobs: list[PlannedJob] = []
    group = 0
    for section in sections:
        options = section.options
        check(options, [job.name for job in jobs], is_readonly)
        if jobs and (options.stonewall or options.new_group):
            group += 1
        for clone in range(options.numjobs):
            jobs.append(
                PlannedJob(
                    number=len(jobs) + 1,
                    clone=clone,
                    group=group,
                    options=msgspec.structs.replace(options, offset=offset_of(options, clone)),
                    written=section.written,
                )
            )
    return with_targets(jobs, session)


def check(options: JobOptions, names_before: Sequence[str], is_readonly: bool) -> None:
    """Raise PlanError for what no target could make good."""
    if is_readonly and order.may_change(options):
        what = "read_iolog may change" if options.read_iolog else f"rw={options.rw} changes"
        raise PlanError(f"{options.name}: {what} the target, and --readonly forbids it")
    if options.wait_for and options.wait_for not in names_before:
        raise PlanError(f"{options.name}: wait_for={options.wait_for} names no job that stands before it")
    if options.ioengine in SIZED_ENGINES and options.size <= 0:
        raise PlanError(f"{options.name}: --size is missing: ioengine={options.ioengine} has no file to take it from")
    criterion, _, _ = options.steadystate
    if criterion and not options.steadystate_duration:
        raise PlanError(f"{options.name}: steadystate needs steadystate_duration (ss_dur), the window it looks at")


def offset_of(options: JobOptions, clone: int) -> int:
    """Where the region of a clone starts. Raises PlanError where bytes and per cent would have to be added."""
    increment = options.offset_increment * clone
    if options.offset * increment < 0:
        raise PlanError(f"{options.name}: offset and offset_increment have to be both in bytes, or both in per cent")
    offset = options.offset + increment
    if offset < -100:
        raise PlanError(f"{options.name}: offset_increment puts clone {clone} at {-offset}% of the target")
    return offset


def with_targets(jobs: Sequence[PlannedJob], session: str) -> tuple[PlannedJob, ...]:
    """The same jobs with their targets; a file that several share is created as long as the longest of them needs."""
    names = {job: tuple(names_of(job.options, job.clone)) for job in jobs}
    sizes = {(job, name): file_size(job.options, len(names[job])) for job in jobs for name in names[job]}
    create_sizes: dict[str, int] = {}
    for (job, name), size in sizes.items():
        longest = max(create_sizes.get(absolute(name), 0), size, reach_of_log(job.options, name))
        create_sizes[absolute(name)] = longest

    def target(job: PlannedJob, name: str) -> "TargetOrder":
        path = absolute(name)
        return order.target_order(
            path,
            "auto",
            path,
            sizes[job, name],
            job.options,
            is_probe_file=False,
            create_size=create_sizes[path],
            file_count=len(names[job]),
            session=session,
        )

    return tuple(
        replace(job, names=names[job], targets=tuple(target(job, name) for name in names[job])) for job in jobs
    )


def names_of(options: JobOptions, clone: int) -> Iterator[str]:
    """The files and devices a clone works on: those that were named, else its own."""
    if options.ioengine in order.NO_TARGET_ENGINES:
        return
    if options.replay_redirect:
        yield options.replay_redirect
        return
    if replayed := files_of_log(options):
        yield from replayed
        return
    directories = [part.replace("\\:", ":") for part in COLON.split(options.directory)]
    directory = directories[clone % len(directories)]
    names = options.filename or tuple(own_name(options, clone, number) for number in range(options.nrfiles))
    for name in names:
        yield str(Path(directory, name))


def files_of_log(options: JobOptions) -> dict[str, int]:
    """{name: bytes that a replay reaches} of the files in the log, as far as it is there already: a job before may yet
    write it. Raises PlanError for one that cannot be read."""
    if not options.read_iolog or not Path(options.read_iolog).exists():
        return {}
    try:
        found = surveyed(options.read_iolog, options.replay_skip, options.replay_scale, options.replay_align)
    except (OSError, IologError) as error:
        raise PlanError(f"{options.name}: read_iolog: {error}") from None
    return {use.name: use.end for use in found.files}


surveyed = cache(survey)  # a log may have a hundred million lines, and is asked for each of its files


def absolute(name: str) -> str:
    """The path from the root; `..` stays, since behind a link it leads elsewhere than its letters say."""
    return str(Path.cwd() / name)


def own_name(options: JobOptions, clone: int, number: int) -> str:
    name = options.filename_format
    for word, value in (
        ("$jobname", options.name.replace("/", "_")),
        ("$jobnum", str(clone)),
        ("$filenum", str(number)),
        ("$clientuid", "localhost"),
    ):
        name = name.replace(word, value)
    return name


def reach_of_log(options: JobOptions, name: str) -> int:
    """How long a file has to be made for a replay; one that is there may be longer."""
    replayed = files_of_log(options)
    return max(replayed.values(), default=0) if options.replay_redirect else replayed.get(name, 0)


def file_size(options: JobOptions, file_count: int) -> int:
    """Bytes that each of so many files must have; 0 takes them as they are."""
    if options.filesize:
        return options.filesize
    if options.size <= 0 or not file_count:
        return 0
    share = options.size // file_count
    if options.offset >= 0:
        return options.offset + share
    # The region begins so far into the file that just its share is left behind it.
    left = 100 + options.offset
    return -(-share * 100 // left) if left else 0

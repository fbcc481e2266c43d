"""Operations: which directions of I/O a probe has, and what the `operation` label calls them."""

from typing import Final

from iovigil.engines.options import JobOptions

# The numbers of engines/io_u.pxd's Ddir.
READ: Final = 0
WRITE: Final = 1
TRIM: Final = 2
SYNC: Final = 3

NAMES: Final = {READ: "read", WRITE: "write", TRIM: "trim", SYNC: "sync"}


def transfers(options: JobOptions) -> tuple[int, ...]:
    """Directions in which the job moves data; a verify phase reads."""
    reads = (READ,) if options.does_read or options.reads_back else ()
    writes = (WRITE,) if options.does_write else ()
    trims = (TRIM,) if options.does_trim else ()
    return reads + writes + trims


def is_paced(options: JobOptions, ddir: int) -> bool:
    """Whether the direction has a rate, so that its I/Os have an intended start."""
    return options.rate[ddir] > 0 or options.rate_iops[ddir] > 0


def fallible(options: JobOptions, *, is_scrub: bool) -> tuple[int, ...]:
    """Directions that can return an error: a failed fsync is lost data although it moves none."""
    is_synced = is_scrub or (options.does_write and (options.fsync or options.fdatasync or options.end_fsync))
    return transfers(options) + ((SYNC,) if is_synced else ())

"""Where probes put blocks that failed verification, as evidence: a directory in the state directory, bounded."""

import contextlib
import re
from pathlib import Path
from typing import Final

DIRECTORY: Final = "dumps"
MOST_FILES: Final = 100
MOST_BYTES: Final = 64 << 20
NAME: Final = re.compile(r"[A-Za-z0-9_.:-]+\.[0-9]+\.[A-Za-z0-9_.:-]+\.(received|expected)", re.ASCII)
"""DISK.OFFSET.RUN.received, and beside it .expected where what should be there is known."""


def directory(state_directory: str | Path) -> Path:
    return Path(state_directory) / DIRECTORY


def run_label(probe: str, started_unix: float) -> str:
    """RUN of a file's name; like disks' and probes' names it has no slash."""
    return f"{probe}-{round(started_unix * 1000)}"


def order(where: str, disk: str, run: str) -> dict[str, object]:
    """What a child is told: it writes to DIRECTORY/PREFIX.OFFSET.SUFFIX.received, no more than so many bytes in all."""
    return {"directory": where, "prefix": disk, "suffix": run, "most_bytes": MOST_BYTES}


def received(where: Path, disk: str, offset: int, run: str) -> Path:
    """What was read at that offset."""
    return where / f"{disk}.{offset}.{run}.received"


def bound(where: Path, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> int:
    """Make the directory, or remove the oldest dumps in it, until no more than so much is there; how many went.

    What has another name than a dump's is nobody's here to remove. Blocks. Raises OSError.
    """
    where.mkdir(mode=0o700, exist_ok=True)
    found = []
    for path in where.iterdir():
        if NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, path.name, status.st_size, path))
    found.sort()
    removed = 0
    left_bytes = sum(size for _, _, size, _ in found)
    for _, _, size, path in found:
        if len(found) - removed <= most_files and left_bytes <= most_bytes:
            break
        path.unlink(missing_ok=True)
        removed += 1
        left_bytes -= size
    return removed

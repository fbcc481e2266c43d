"""Where probes put blocks that failed verification, as evidence: a directory in the state directory, bounded."""

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DIRECTORY: Final = "dumps"
MOST_FILES: Final = 100
MOST_BYTES: Final = 64 << 20
# The evidence of several runs has room beside each other.
MOST_FILES_OF_A_RUN: Final = 24
MOST_BYTES_OF_A_RUN: Final = 16 << 20
NAME: Final = re.compile(r"[A-Za-z0-9_.:-]+\.[0-9]+\.[A-Za-z0-9_.:-]+\.(received|expected)", re.ASCII)
"""DISK.OFFSET.RUN.received, and beside it .expected where what should be there is known."""


def directory(state_directory: str | Path) -> Path:
    return Path(state_directory) / DIRECTORY


def run_label(probe: str, started_unix: float) -> str:
    """RUN of a file's name; like disks' and probes' names it has no slash."""
    return f"{probe}-{round(started_unix * 1000)}"


def order(where: str, disk: str, run: str) -> dict[str, object]:
    """What a child is told: it writes to DIRECTORY/PREFIX.OFFSET.SUFFIX.received and .expected, no more than that."""
    return {
        "directory": where,
        "prefix": disk,
        "suffix": run,
        "most_files": MOST_FILES_OF_A_RUN,
        "most_bytes": MOST_BYTES_OF_A_RUN,
    }


def received(where: Path, disk: str, offset: int, run: str) -> Path:
    """What was read at that offset."""
    return where / f"{disk}.{offset}.{run}.received"


def bound(where: Path, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> int:
    """Make the directory, or remove the oldest dumps in it, until no more than so much is there; how many went.

    What has another name than a dump's is nobody's here to remove. Blocks. Raises OSError.
    """
    where.mkdir(mode=0o700, exist_ok=True)
    blocks: dict[str, Block] = {}
    for path in where.iterdir():
        if NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                blocks.setdefault(path.stem, Block()).add(path, path.stat())
    left_files = sum(len(block.paths) for block in blocks.values())
    left_bytes = sum(block.size for block in blocks.values())
    removed = 0
    for block in sorted(blocks.values(), key=lambda block: block.written_ns):
        if left_files <= most_files and left_bytes <= most_bytes:
            break
        for path in block.paths:
            path.unlink(missing_ok=True)
            removed += 1
        left_files -= len(block.paths)
        left_bytes -= block.size
    return removed


@dataclass
class Block:
    """The files of one block: what was read, and what should have been. They go together."""

    paths: list[Path] = field(default_factory=list)
    size: int = 0
    written_ns: int = 0

    def add(self, path: Path, status: os.stat_result) -> None:
        self.paths.append(path)
        self.size += status.st_size
        self.written_ns = max(self.written_ns, status.st_mtime_ns)

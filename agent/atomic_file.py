"""Puts a file in place of another as a whole: after a loss of power it is the old one or the new one."""

import contextlib
import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Blocks. Raises OSError, and leaves the file as it was."""
    new = path.with_suffix(".new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

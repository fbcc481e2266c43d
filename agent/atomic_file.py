"""Puts a file in place of another as a whole: after a loss of power it is the old one or the new one."""

import contextlib
import os
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int | None = None, must_last: bool = True) -> None:
    """Blocks. Raises OSError, and leaves the file as it was.

    `mode` is that of the new file, whatever the umask; without `must_last` a loss of power may take the file.
    """
    new = path.with_suffix(".new")
    try:
        # Anew: the directory may be one to which others write, who would like to choose where ours goes.
        new.unlink(missing_ok=True)
        with new.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if must_last:
                os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    if not must_last:
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

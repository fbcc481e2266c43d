"""The name under which this host has its place in the schedule."""

import os
from pathlib import Path
from typing import Final

MACHINE_ID: Final = Path("/etc/machine-id")


def host_id(path: Path = MACHINE_ID) -> str:
    """What tells this host from the rest of a fleet, and stays when it is renamed."""
    try:
        return path.read_text().strip() or os.uname().nodename
    except OSError:
        return os.uname().nodename

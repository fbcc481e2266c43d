"""The configuration of `make run`: one scratch file, watched as a disk would be."""

import json
from pathlib import Path
from string import Template
from typing import Final

from iovigil.agent.config import Config, parse
from iovigil.agent.config.kinds import LONGEST_SOCKET

TEXT: Final = Template("""\
agent:
  listen: 127.0.0.1:9942
  control_socket: $control_socket
  state_directory: $state_directory
disks:
  - name: scratch
    file: $scratch_file
    size: 64MiB
probes:
  latency:
    every: 10s
    job: {rw: randread, bs: 4k, iodepth: 1, runtime: 5s, rate_iops: 200, direct: 1}
  integrity:
    every: 1m
    # Without the rate a fast disk would be written some terabytes a day.
    job: {rw: randwrite, bs: 64k, iodepth: 8, size: 32MiB, verify: crc32c, runtime: 4s, rate: 8m, direct: 1}
""")


def embedded(state_directory: str) -> Config:
    """Return the configuration of an agent that keeps everything under `state_directory`, an absolute path."""
    scratch_file = str(Path(state_directory) / "scratch")
    control_socket = str(Path(state_directory) / "control.sock")
    if len(control_socket.encode()) > LONGEST_SOCKET:
        control_socket = "none"
    # A JSON string is a YAML string, whatever is in the path.
    text = TEXT.substitute(
        control_socket=json.dumps(control_socket),
        state_directory=json.dumps(state_directory),
        scratch_file=json.dumps(scratch_file),
    )
    return parse(text, "embedded configuration")

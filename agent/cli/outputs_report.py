"""What check-config says of the ways out beside the web server: where to, how often, and what would be in the way."""

import os
from collections.abc import Iterator
from pathlib import Path

from iovigil.agent.config import Config
from iovigil.agent.outputs.textfile import NAME
from iovigil.engines.options import SECOND_US
from iovigil.engines.quantities import spell_time


def ways(loaded: Config) -> Iterator[str]:
    if textfile := loaded.agent.textfile:
        yield f"Textfile {textfile.directory}/{NAME}, every {spell_time(round(textfile.every_s * SECOND_US))}"
    if otlp := loaded.agent.otlp:
        yield f"Push by OTLP to {otlp.endpoint}, every {spell_time(round(otlp.every_s * SECOND_US))}"


def obstacles(loaded: Config, root: str) -> Iterator[str]:
    """Say what is not there, or could not be read."""
    textfile, otlp = loaded.agent.textfile, loaded.agent.otlp
    if textfile and not Path(root, textfile.directory.lstrip("/")).is_dir():
        yield f"agent.textfile.directory: there is no directory {textfile.directory}: the agent will not make it"
    if otlp is None:
        return
    for key in ("headers_file", "ca_file", "cert_file", "key_file"):
        path = getattr(otlp, key)
        if path and not os.access(Path(root, path.lstrip("/")), os.R_OK):
            yield f"agent.otlp.{key}: {path} cannot be read"
    if otlp.endpoint.startswith("http:") and otlp.headers_file:
        yield "agent.otlp.endpoint: without TLS its headers can be read on the way"

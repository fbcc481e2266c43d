"""Formats: which text format answers an Accept header, and its encoder."""

from collections.abc import Callable
from typing import Final, NamedTuple

from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from iovigil.agent.metrics.accept import preferences

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = openmetrics.CONTENT_TYPE_LATEST
OPENMETRICS_VERSIONS: Final = ("", "0.0.1", "1.0.0")


class Format(NamedTuple):
    """A text format."""

    content_type: str
    encode: Callable[[Collector], bytes]
    end: str = ""
    """What stands behind the last sample."""


TEXT: Final = Format(TEXT_TYPE, generate_latest)
OPENMETRICS: Final = Format(OPENMETRICS_TYPE, openmetrics.generate_latest, "# EOF\n")


def choose(accept: str) -> Format:
    """The format for an Accept header; the classic text format when nothing better is asked for.

    prometheus-client's own choice is not used: it ignores `q` and echoes any version it is asked for.
    """
    openmetrics_q = text_q = 0.0
    for value, parameters, q in preferences(accept):
        match value:
            case "application/openmetrics-text" if parameters.get("version", "") in OPENMETRICS_VERSIONS:
                openmetrics_q = max(openmetrics_q, q)
            case "text/plain" | "text/*" | "*/*":
                text_q = max(text_q, q)
    if openmetrics_q and openmetrics_q >= text_q:
        return OPENMETRICS
    return TEXT

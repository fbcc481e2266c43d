"""How figures and times are said on the page: short, with a unit, three digits at most."""

from typing import Final

SPANS: Final = ((86400 * 2, 86400, "d"), (3600 * 2, 3600, "h"), (120, 60, "min"))


def duration(seconds: float) -> str:
    """A span in the largest unit that says it well."""
    for least_s, length_s, unit in SPANS:
        if seconds >= least_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def ago(unix: float, now_unix: float) -> str:
    return f"{duration(now_unix - unix)} ago"


def ahead(unix: float, now_unix: float) -> str:
    return f"in {duration(unix - now_unix)}" if unix > now_unix else "now"


def latency(seconds: float) -> str:
    for unit_s, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit_s:
            value = seconds / unit_s
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"

"""Standing: how a probe on a disk compares with its own past, as it is shown."""

from dataclasses import dataclass, field

from iovigil.agent.slowdown.track import Track


@dataclass(kw_only=True)
class Standing:
    """What is known by the last run; it begins empty."""

    foreign_busy_ratio: float | None = None
    """None where that could not be told."""
    conditions: dict[str, str] = field(default_factory=dict)
    """What the tracks hold for; empty where there are none."""
    tracks: dict[str, Track] = field(default_factory=dict)
    """By operation."""
    unread: int = 0
    """How often in a row what was kept could not be read."""

from typing import final

def tsc_is_sound() -> bool: ...

@final
class Clock:
    """Measures the TSC's rate against CLOCK_MONOTONIC, once per agent, better the longer it lives."""

    def __init__(self) -> None: ...
    def source(self) -> tuple[int, int, int, int]:
        """(base_ticks, base_ns, mult, is_tsc) for `StatsPage.calibrate`."""

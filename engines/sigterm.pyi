from iovigil.engines.stats import StatsPage

def stop_on_sigterm(page: StatsPage) -> None:
    """From now on SIGTERM requests a stop, and interrupts what waits. The page must stay mapped."""

def is_stopping() -> bool: ...

from iovigil.engines.stats import StatsPage

def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process as soon as its parent is gone, however that ends. Survives exec."""

def limit(memory_bytes: int, cpu_s: int) -> None:
    """Cap address space and CPU time (0: no cap), and write no core file: it would hold a disk's contents."""

def stop_on_sigterm(stats: StatsPage) -> None:
    """Let SIGTERM set the page's stop word, and interrupt what waits, also where no Python code runs."""

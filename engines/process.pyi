def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process as soon as its parent is gone, however that ends. Survives exec."""

def limit(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Cap address space, CPU time and the length of files written (0: no cap). No core file: it would hold data."""

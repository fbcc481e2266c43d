from collections.abc import Sequence

def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process as soon as its parent is gone, however that ends. Survives exec."""

def limit(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Cap address space, CPU time and the length of files written (0: no cap). No core file: it would hold data."""

def set_io_priority(prioclass: int, prio: int) -> None:
    """Set this process's I/O priority: class 1 realtime, 2 best effort, 3 idle; 0 is the most urgent of its class."""

def io_priority() -> tuple[int, int]:
    """This process's I/O priority: (class, level in it)."""

def set_memory_policy(mode: int, nodes: Sequence[int]) -> None:
    """Take this process's memory by a policy of set_mempolicy(2) from these NUMA nodes."""

def memory_policy() -> tuple[int, list[int]]:
    """The policy that this process's memory is taken by: (mode, NUMA nodes)."""

def lock_memory(length: int) -> None:
    """Take so many bytes of memory and hold them in RAM until this process ends."""

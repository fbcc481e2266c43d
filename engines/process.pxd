# The child as a process: whom it dies with, what it may use, how it is told to stop.

from iovigil.engines.stats cimport StatsPage

cpdef die_with_parent(int parent_pid)
cpdef limit(unsigned long long memory_bytes, unsigned long long cpu_s)
cpdef stop_on_sigterm(StatsPage stats)

# The files and devices of a job, and the region of each that it works on.

from libc.stdint cimport uint32_t, uint64_t


cdef struct target_file:
    int fd  # -1: an engine without a target
    bint is_device
    uint64_t size  # where what may be touched ends; 0 where it has no end of its own
    uint64_t start  # of the region that the job works on
    uint64_t length  # of that region; no I/O outside


cdef class TargetFiles:
    cdef target_file *files
    cdef readonly uint32_t count

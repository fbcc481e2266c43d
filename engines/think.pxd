# Pauses between I/Os.

from libc.stdint cimport uint64_t

from iovigil.engines.clock cimport clock_source
from iovigil.engines.job_options cimport job_options


cdef struct think:
    uint64_t pause_ns  # 0: never
    uint64_t spin_ns  # of it on the CPU
    uint64_t blocks  # I/Os between two pauses; 0 goes by time alone
    uint64_t iotime_ns  # time between two pauses; 0 goes by blocks alone
    uint64_t left  # I/Os until the next pause
    uint64_t due_ns


cdef void think_init(think *self, const job_options *options) noexcept nogil
cdef void think_start(think *self, uint64_t now) noexcept nogil
cdef uint64_t think_pause(think *self, const clock_source *clock, uint64_t end_ns, const uint64_t *stop) noexcept nogil


cdef inline void think_issued(think *self) noexcept nogil:
    if self.left:
        self.left -= 1


cdef inline bint think_is_due(const think *self, uint64_t now) noexcept nogil:
    """Whether the job is to pause before it picks another I/O: once none is in flight."""
    return self.pause_ns != 0 and ((self.blocks and not self.left) or (self.iotime_ns and now >= self.due_ns))

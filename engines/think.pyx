"""Pauses between I/Os: thinktime.

fio tells I/Os that complete (thinktime_blocks_type=complete) from I/Os that are issued. Here both are the same: no
more than thinktime_blocks are issued before all of them have completed, and then comes the pause.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from iovigil.engines.clock cimport clock_source, now_ns
from iovigil.engines.job_options cimport job_options, read_options
from iovigil.engines.pace cimport sleep_until, spin_until


cdef void think_init(think *self, const job_options *options) noexcept nogil:
    memset(self, 0, sizeof(think))
    self.pause_ns = 1000 * options.thinktime
    self.spin_ns = 1000 * min(options.thinktime_spin, options.thinktime)
    self.iotime_ns = 1000 * options.thinktime_iotime
    # The default of one I/O is no wish beside a time.
    self.blocks = 0 if options.thinktime_iotime and options.thinktime_blocks == 1 else options.thinktime_blocks


cdef void think_start(think *self, uint64_t now) noexcept nogil:
    """Begin to count: a phase starts, or a pause is over."""
    self.left = self.blocks
    self.due_ns = now + self.iotime_ns


cdef uint64_t think_pause(think *self, const clock_source *clock, uint64_t end_ns, const uint64_t *stop) noexcept nogil:
    """Pause, first on the CPU and then asleep, until `end_ns` (0: no bound) at the latest. Returns its ns."""
    cdef uint64_t begun_ns = now_ns(clock), wake_ns = begun_ns + self.pause_ns, now
    if end_ns:
        wake_ns = min(wake_ns, max(end_ns, begun_ns))
    spin_until(clock, min(begun_ns + self.spin_ns, wake_ns), stop)
    now = sleep_until(clock, wake_ns, stop)
    think_start(self, now)
    return now - begun_ns if now > begun_ns else 0


cdef class Think:
    """When a job pauses, on a clock of the caller's; the pause itself is real: for tests."""

    cdef think think

    def __cinit__(self, dict options not None):
        cdef job_options native = read_options(options)
        think_init(&self.think, &native)

    def start(self, uint64_t now):
        think_start(&self.think, now)

    def issued(self):
        think_issued(&self.think)

    def is_due(self, uint64_t now):
        return think_is_due(&self.think, now)

    def pause(self, uint64_t end_ns=0):
        """Pause by CLOCK_MONOTONIC; returns its ns."""
        cdef clock_source clock
        cdef uint64_t stop = 0
        memset(&clock, 0, sizeof(clock))
        return think_pause(&self.think, &clock, end_ns, &stop)

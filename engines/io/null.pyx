"""Completes every I/O without doing it: measures the loop itself. Asynchronous above iodepth 1, as fio's."""

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, QUEUED, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles


cdef class Engine(IoEngine):
    cdef uint32_t queued

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_sync = iodepth == 1

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        io.result = io.length
        if self.is_sync:
            return COMPLETED
        self.events[self.queued] = io
        self.queued += 1
        return QUEUED

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        # Never more than fit: `events` holds iodepth.
        cdef uint32_t count = self.queued
        self.queued = 0
        return <int>count

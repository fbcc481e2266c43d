"""Completes every I/O without doing it: measures the loop itself. Asynchronous above iodepth 1, as fio's."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, QUEUED, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles


cdef class Engine(IoEngine):
    cdef io_u **waiting  # queued, in order
    cdef uint32_t queued

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_sync = iodepth == 1
        self.waiting = <io_u **>calloc(iodepth, sizeof(io_u *))
        if self.waiting == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.waiting)

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        io.result = io.length
        if self.is_sync:
            return COMPLETED
        self.waiting[self.queued] = io
        self.queued += 1
        return QUEUED

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        cdef uint32_t count = self.queued
        cdef io_u **all_of_them = self.waiting
        if most and most < count:
            count = most
            memcpy(self.events, self.waiting, count * sizeof(io_u *))
            memmove(self.waiting, self.waiting + count, (self.queued - count) * sizeof(io_u *))
        else:
            self.waiting = self.events
            self.events = all_of_them
        self.queued -= count
        return <int>count

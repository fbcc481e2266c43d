"""Keeps a CPU busy for a share of the time, and does no I/O."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        long tv_nsec

    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)
    int nanosleep(const timespec *duration, timespec *rest)


cdef class Engine(IoEngine):
    cdef uint64_t spin_ns
    cdef uint64_t sleep_ns

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_idle = True

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef uint64_t load = self.options["cpuload"]
        if not load:
            raise OSError("ioengine=cpuio needs to know how busy to be: set cpuload to 1..100 %")
        self.spin_ns = 1000 * <uint64_t>self.options["cpuchunks"]
        self.sleep_ns = self.spin_ns * (100 - load) // load
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef timespec pause
        cdef uint64_t end_ns = monotonic_ns() + self.spin_ns
        while monotonic_ns() < end_ns:
            pass
        if self.sleep_ns:
            pause.tv_sec = <int64_t>(self.sleep_ns // 1000000000)
            pause.tv_nsec = <long>(self.sleep_ns % 1000000000)
            nanosleep(&pause, NULL)  # SIGTERM ends it
        io.result = io.length
        return COMPLETED


cdef inline uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return 1000000000 * <uint64_t>now.tv_sec + <uint64_t>now.tv_nsec

"""What every I/O engine is: a small interface with a silent default for all but queue()."""

from libc.errno cimport ENOSYS
from libc.stdlib cimport calloc, free

from iovigil.engines.io_u cimport COMPLETED


class EngineUnavailable(OSError):
    """This host does not allow the engine; another one may do."""


cdef class IoEngine:
    """One way to hand an I/O to the kernel, for one target. Subclasses are named `Engine`, one a module."""

    def __cinit__(self, int fd, uint32_t iodepth):
        self.fd = fd
        self.iodepth = iodepth
        self.is_sync = True
        self.notes = []
        self.events = <io_u **>calloc(iodepth, sizeof(io_u *))
        if self.events == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.events)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        """Get ready; every I/O's buffer will lie inside `buffers`. Raises EngineUnavailable."""
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        """Take one I/O, see QueueStatus. Never blocks for room: that is BUSY."""
        io.result = -ENOSYS
        return COMPLETED

    cdef int reap(self, uint32_t wanted, uint64_t timeout_ns) noexcept nogil:
        """Submit what was queued, wait for `wanted` completions at most `timeout_ns` (0: no bound).

        Leaves finished I/Os in `events` and returns their number, which may be 0 after a signal
        or the timeout; -errno when the engine itself failed.
        """
        return 0

    cdef int cancel(self, io_u *io) noexcept nogil:
        """Try to take back an I/O in flight: 0 if its completion will come as cancelled, else -errno."""
        return -ENOSYS

    cdef void close(self) noexcept:
        """Undo `open`; called once, also after a failure."""
        pass

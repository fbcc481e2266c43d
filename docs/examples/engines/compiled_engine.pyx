"""An I/O engine in Cython: pread and pwrite, one I/O at a time, without Python in the loop."""

from libc.errno cimport errno
from libc.stdint cimport int64_t
from posix.unistd cimport pread, pwrite

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, READ, WRITE, QueueStatus, io_u


cdef class Engine(IoEngine):
    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef int fd = self.files[io.file].fd
        if io.ddir == READ:
            io.result = pread(fd, io.buf, io.length, <int64_t>io.offset)
        elif io.ddir == WRITE:
            io.result = pwrite(fd, io.buf, io.length, <int64_t>io.offset)
        else:
            io.result = self.change(io)
            return COMPLETED
        if io.result < 0:
            io.result = -errno
        return COMPLETED

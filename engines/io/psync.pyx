"""pread and pwrite, one at a time."""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t
from posix.unistd cimport fdatasync, fsync, pread, pwrite

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, DATASYNC, READ, SYNC, WRITE, QueueStatus, io_u


cdef class Engine(IoEngine):
    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        while True:
            if io.ddir == READ:
                io.result = pread(self.fd, io.buf, io.length, <int64_t>io.offset)
            elif io.ddir == WRITE:
                io.result = pwrite(self.fd, io.buf, io.length, <int64_t>io.offset)
            elif io.ddir == SYNC:
                io.result = fsync(self.fd)
            elif io.ddir == DATASYNC:
                io.result = fdatasync(self.fd)
            if io.result >= 0:
                return COMPLETED
            if errno != EINTR:
                io.result = -errno
                return COMPLETED

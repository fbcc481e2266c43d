"""lseek, then read or write, one at a time; the seek is left out where the position is right already."""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport SEEK_SET, fdatasync, fsync, lseek, read, write

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, DATASYNC, READ, SYNC, QueueStatus, io_u


cdef class Engine(IoEngine):
    cdef uint64_t position  # where the last transfer ended; -1 when not known

    def __cinit__(self, int fd, uint32_t iodepth):
        self.position = <uint64_t>-1

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        if io.ddir == SYNC:
            io.result = -errno if fsync(self.fd) else 0
            return COMPLETED
        if io.ddir == DATASYNC:
            io.result = -errno if fdatasync(self.fd) else 0
            return COMPLETED
        if self.position != io.offset and lseek(self.fd, <int64_t>io.offset, SEEK_SET) < 0:
            io.result = -errno
            self.position = <uint64_t>-1
            return COMPLETED
        while True:
            if io.ddir == READ:
                io.result = read(self.fd, io.buf, io.length)
            else:
                io.result = write(self.fd, io.buf, io.length)
            if io.result >= 0:
                self.position = io.offset + <uint64_t>io.result
                return COMPLETED
            if errno != EINTR:
                io.result = -errno
                self.position = <uint64_t>-1
                return COMPLETED

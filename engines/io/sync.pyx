"""lseek, then read or write, one at a time; the seek is left out where the position is right already."""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.unistd cimport SEEK_SET, lseek, read, write

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, READ, WRITE, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles


cdef class Engine(IoEngine):
    cdef uint64_t *positions  # where the last transfer ended in each file; -1 when not known

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.positions = <uint64_t *>malloc(targets.count * sizeof(uint64_t))
        if self.positions == NULL:
            raise MemoryError
        memset(self.positions, 0xFF, targets.count * sizeof(uint64_t))

    def __dealloc__(self):
        free(self.positions)

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef int fd = self.files[io.file].fd
        cdef uint64_t *position = &self.positions[io.file]
        if io.ddir > WRITE:
            io.result = self.change(io)
            return COMPLETED
        if position[0] != io.offset and lseek(fd, <int64_t>io.offset, SEEK_SET) < 0:
            io.result = -errno
            position[0] = <uint64_t>-1
            return COMPLETED
        while True:
            if io.ddir == READ:
                io.result = read(fd, io.buf, io.length)
            else:
                io.result = write(fd, io.buf, io.length)
            if io.result >= 0:
                position[0] = io.offset + <uint64_t>io.result
                return COMPLETED
            if errno != EINTR:
                io.result = -errno
                position[0] = <uint64_t>-1
                return COMPLETED

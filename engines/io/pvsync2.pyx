"""preadv2 and pwritev2, one at a time: the calls that take flags for a single I/O."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, READ, WRITE, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles

cdef extern from "<errno.h>" nogil:
    int EOPNOTSUPP

cdef extern from "<sys/uio.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    /* Linux 6.14; headers of Debian 13 and before do not have it. */
    #ifndef RWF_DONTCACHE
    #define RWF_DONTCACHE 0x00000080
    #endif
    """
    int RWF_HIPRI
    int RWF_NOWAIT
    int RWF_DONTCACHE

    struct iovec:
        void *iov_base
        size_t iov_len

    ssize_t preadv2(int fd, const iovec *iov, int count, int64_t offset, int flags)
    ssize_t pwritev2(int fd, const iovec *iov, int count, int64_t offset, int flags)


cdef class Engine(IoEngine):
    cdef int flags  # of every I/O
    cdef uint32_t polled_percentage
    cdef uint32_t polled_share  # of one I/O in hundredths, carried from I/O to I/O: the next is polled at 100

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        if options["nowait"]:
            self.flags |= RWF_NOWAIT
        if options["uncached"]:
            self.flags |= RWF_DONTCACHE
        if options["hipri"]:
            self.polled_percentage = options["hipri_percentage"]

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef int fd = self.files[io.file].fd
        cdef int flags = self.flags
        cdef iovec whole
        if io.ddir > WRITE:
            io.result = self.change(io)
            return COMPLETED
        self.polled_share += self.polled_percentage
        if self.polled_share >= 100:
            self.polled_share -= 100
            flags |= RWF_HIPRI
        whole.iov_base = io.buf
        whole.iov_len = io.length
        while True:
            if io.ddir == READ:
                io.result = preadv2(fd, &whole, 1, <int64_t>io.offset, flags)
            else:
                io.result = pwritev2(fd, &whole, 1, <int64_t>io.offset, flags)
            if io.result >= 0:
                return COMPLETED
            if errno != EINTR:
                io.result = -errno
                return COMPLETED

    cdef str hint(self, int error):
        if error == EOPNOTSUPP:
            return no_support(self.options)
        if error == EAGAIN and self.options["nowait"]:
            return "; it would have had to wait, and nowait=1 forbids that: ignore_error=EAGAIN counts such I/Os only"
        return ""


cdef str no_support(dict options):
    """Which options of this engine may be behind EOPNOTSUPP."""
    asked = [f"{name}=1" for name in ("hipri", "nowait", "uncached") if options[name]]
    return f"; the target or its kernel does not know {' or '.join(asked)}: leave it out" if asked else ""

# What every I/O engine is: a small interface with a silent default for all but queue().

from libc.stdint cimport int64_t, uint32_t, uint64_t

from iovigil.engines.io_u cimport QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles, target_file

cdef extern from *:
    """
    /* In every compiled engine: tests/unit/test_engine_layout.py has the number, loading.py compares. */
    static const char iovigil_layout[] __attribute__((used)) = "iovigil-layout:6ae55e9f";
    """


cdef class IoEngine:
    cdef TargetFiles targets
    cdef target_file *files  # those of `targets`: io.file is an index into them
    cdef uint32_t iodepth
    cdef readonly dict options  # those of JobOptions that are for engines
    cdef bint is_sync  # queue() never answers QUEUED; one I/O at a time
    cdef bint is_idle  # does no I/O: nothing is counted
    cdef io_u **events  # where reap() leaves what has finished
    cdef readonly list notes  # what people should know: fall-backs taken
    cdef unsigned range_flags  # of sync_file_range

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1
    cdef int meet(self) except -1
    cdef QueueStatus queue(self, io_u *io) noexcept nogil
    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil
    cdef int cancel(self, io_u *io) noexcept nogil
    cdef void close(self) noexcept
    cdef str hint(self, int error)

    cdef int flush(self, uint32_t file) noexcept nogil
    cdef int64_t change(self, io_u *io) noexcept nogil

# Files with the blocks that failed verification.

from libc.stdint cimport int64_t, uint64_t


cdef class Dumps:
    cdef bint is_wanted
    cdef list names  # of each target, up to the offset
    cdef str suffix
    cdef int64_t files_left, bytes_left

    cdef bint write(self, uint64_t file, uint64_t offset, const char *received, const char *expected,
                    uint64_t length) noexcept

# What was found wrong: the records on the page, and the bad blocks themselves.

from libc.stdint cimport int64_t, uint64_t

from iovigil.engines.diagnosis cimport verdict
from iovigil.engines.io_u cimport io_u
from iovigil.engines.stats cimport stats_page


cdef class Findings:
    cdef stats_page *page
    cdef bint has_dumps
    cdef str dump_name  # up to the offset
    cdef str dump_suffix
    cdef int64_t dump_files_left, dump_bytes_left

    cdef void put(self, const io_u *io, const verdict *answer, uint64_t expected, const char *wanted) noexcept nogil
    cdef bint dump(self, const io_u *io, const verdict *answer, const char *wanted) noexcept

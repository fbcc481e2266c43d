# What was found wrong: the records on the page, and the bad blocks themselves.

from libc.stdint cimport uint64_t

from iovigil.engines.diagnosis cimport verdict
from iovigil.engines.dumps cimport Dumps
from iovigil.engines.io_u cimport io_u
from iovigil.engines.stats cimport stats_page


cdef class Findings:
    cdef stats_page *page
    cdef Dumps dumps

    cdef void put(self, const io_u *io, const verdict *answer, uint64_t expected, const char *wanted) noexcept nogil

# The log of completion latency histograms: at every interval, what was added to each bucket.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from iovigil.engines.latency cimport BUCKET_COUNT
from iovigil.engines.log_file cimport log_file
from iovigil.engines.stats cimport stats_page


cdef class HistogramLog:
    cdef log_file file
    cdef str path
    cdef readonly bint is_wanted
    cdef bint is_unix
    cdef uint32_t merged  # buckets in one column
    cdef uint64_t interval_ns
    cdef uint64_t epoch_ns  # time 0 of the log
    cdef uint64_t unix_ns  # what the wall clock said then; 0 where time 0 is written as 0
    cdef uint64_t due_ns
    cdef uint64_t length[3]  # of the last I/O
    cdef uint64_t seen[3][BUCKET_COUNT]

    cdef void start(self, uint64_t epoch_ns, uint64_t unix_ns) noexcept nogil
    cdef uint64_t look(self, const stats_page *page, uint64_t now_ns) noexcept nogil
    cdef void lines(self, const stats_page *page, uint64_t now_ns) noexcept nogil
    cdef finish(self, const stats_page *page, uint64_t now_ns)

# The logs of throughput, I/O rate and latency: a line for each I/O, or for each window of time.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from iovigil.engines.log_file cimport log_file


cdef enum:
    SAMPLE_LOG_COUNT = 5
    # I/Os kept before lines are written between I/Os: what a run of some seconds logs goes out when it is over.
    DEFAULT_CAPACITY = 1 << 20


# In the order of LOG_NAMES.
cdef enum SampleKind:
    LOG_BW = 0
    LOG_IOPS = 1
    LOG_SLAT = 2
    LOG_CLAT = 3
    LOG_LAT = 4


# One I/O, kept until there is time to write it down.
cdef struct sample:
    uint64_t start_ns
    uint64_t issued_ns
    uint64_t completed_ns
    uint64_t offset
    uint32_t length
    uint8_t ddir


# What one direction did in the window now open; latencies by SampleKind.
cdef struct window:
    uint64_t ios
    uint64_t bytes
    uint64_t sum_ns[SAMPLE_LOG_COUNT]
    uint64_t max_ns[SAMPLE_LOG_COUNT]


cdef class SampleLog:
    cdef log_file files[SAMPLE_LOG_COUNT]
    cdef list paths  # of those; None where a kind is not wanted
    cdef readonly bint is_wanted
    cdef bint has_average
    cdef bint has_max
    cdef bint has_offset
    cdef bint has_issue_time
    cdef bint is_unix
    cdef uint64_t priority
    cdef uint64_t epoch_ns  # time 0 of the log
    cdef uint64_t unix_ns  # what the wall clock said then; 0 where time 0 is written as 0

    # With a line for each I/O.
    cdef sample *ring
    cdef uint64_t capacity
    cdef uint64_t first  # place of the oldest in the ring
    cdef uint64_t count

    # With windows.
    cdef uint64_t window_ns  # 0: each I/O
    cdef uint64_t window_begun_ns
    cdef uint64_t window_end_ns
    cdef window windows[3]

    cdef void start(self, uint64_t epoch_ns) noexcept nogil
    cdef bint note(self, uint8_t ddir, uint64_t offset, uint32_t length, uint64_t start_ns, uint64_t issued_ns,
                   uint64_t completed_ns) noexcept nogil
    cdef uint64_t look(self, uint64_t now_ns) noexcept nogil
    cdef void count_in(self, const sample *done) noexcept nogil
    cdef void close_window(self, uint64_t now_ns) noexcept nogil
    cdef void drain(self, uint64_t most) noexcept nogil
    cdef void line(self, int kind, uint64_t time_ns, uint64_t value, uint64_t most, const sample *done) noexcept nogil
    cdef finish(self, uint64_t now_ns)

# What writes without a verify header carry.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.job_options cimport job_options
from iovigil.engines.pattern cimport pattern
from iovigil.engines.payload cimport scramble


# What has to be done for each write.
cdef enum Making:
    KEEP = 0  # the buffer holds it already
    SCRAMBLE = 1  # a few bytes of every sector
    REMAKE = 2


cdef struct contents:
    Making making
    bint is_random  # at least in part
    uint32_t fixed_percent  # of each chunk, what is not random
    uint32_t chunk
    pattern pattern  # none: zeroes
    uint64_t repeat_share  # of 2^32: blocks that repeat an earlier one
    uint64_t state  # of the generator
    uint64_t seed  # of the last block that repeats none, 0 before there is one


cdef int contents_init(contents *self, dict options, const job_options *native, uint64_t seed) except -1
cdef void contents_free(contents *self) noexcept
cdef void contents_begin(contents *self, char *buffers, uint64_t size, uint64_t stride) noexcept nogil
cdef void contents_make(contents *self, char *to, uint64_t length) noexcept nogil


cdef inline void contents_write(contents *self, char *to, uint64_t length, uint64_t offset,
                                uint64_t now) noexcept nogil:
    """Make a block ready that is about to be written at `offset`; `now` differs from one write there to the next."""
    if self.making == SCRAMBLE:
        scramble(to, length, offset, now)
    elif self.making == REMAKE:
        contents_make(self, to, length)

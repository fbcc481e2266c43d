# The length of the next I/O of a direction: fixed, out of a range, or in given shares.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.tausworthe cimport tausworthe

cdef struct length_share:
    double until  # share up to here, of 1
    uint32_t length


cdef struct lengths:
    uint64_t least
    uint64_t most
    uint64_t multiple  # lengths are multiples of this, but for the greatest
    uint64_t interval  # ... which is one of this
    uint64_t unit  # what is cut to fit is a multiple of this
    uint32_t share_count
    length_share *shares
    uint64_t seed
    tausworthe random


cdef int lengths_init(lengths *self, uint64_t bs, tuple bounds, tuple split, uint64_t multiple,
                      uint64_t interval, uint64_t unit) except -1
cdef void lengths_free(lengths *self) noexcept nogil
cdef uint64_t lengths_draw(lengths *self, uint64_t room) noexcept nogil

# Where in one file the next I/O goes: in order, with a stride, at random, in zones.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from iovigil.engines.distribution cimport distribution
from iovigil.engines.lengths cimport lengths
from iovigil.engines.lfsr cimport lfsr
from iovigil.engines.permutation cimport permutation
from iovigil.engines.random_map cimport random_map
from iovigil.engines.tausworthe cimport tausworthe, tausworthe64

cdef enum Generator:
    WYRAND
    TAUSWORTHE
    TAUSWORTHE64
    SHIFT_REGISTER

cdef enum Coverage:
    # How a random job comes by each block once.
    FREE  # not at all
    PERMUTED
    REGISTER
    MAPPED


# What all files of a job have in common.
cdef struct manner:
    bint is_random
    int coverage
    int generator
    bint is_identical
    bint is_seq_rand  # lengths go by whether an I/O is random, not by its direction
    int64_t sequence  # rw=...:N
    uint64_t percentage_random[3]
    bint is_zoned
    uint64_t zonesize
    uint64_t zonerange
    uint64_t zonestep  # from one zone to the next
    uint64_t interval  # all offsets and lengths are multiples of this
    uint64_t granule  # bytes of one bit of the map
    uint64_t unit[3]  # random offsets are multiples of this
    lengths length[3]
    uint64_t seed
    uint64_t offset_seed
    uint64_t turn_seed[3]
    # What a rewind starts again:
    uint64_t issued  # of rw=rand...:N
    uint64_t state
    tausworthe random
    tausworthe64 random64
    tausworthe turn[3]


# One file: what was visited, and where it goes on.
cdef struct course:
    uint64_t start
    uint64_t length
    uint64_t position[3]  # behind the last I/O of a direction; all offsets here are in the region
    uint64_t begun[3]  # where that I/O began
    uint64_t zone_start
    uint64_t zone_bytes
    uint64_t pass_bytes
    int coverage
    uint64_t block_count
    uint64_t place  # in the permutation, or blocks out of the register
    permutation order
    lfsr register
    random_map map
    distribution shares


cdef struct stretch:
    uint64_t offset
    uint64_t length


cdef int course_init(course *self, const manner *how, uint64_t start, uint64_t length, tuple shares,
                     bint may_do_without_map) except -1
cdef void course_free(course *self) noexcept nogil
cdef void course_pass(course *self, const manner *how, uint64_t number) noexcept nogil
cdef bint course_draw(course *self, manner *how, int ddir, stretch *drawn) noexcept nogil

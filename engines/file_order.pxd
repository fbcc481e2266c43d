# Which of a job's files the next I/O goes to.

from libc.stdint cimport uint32_t, uint64_t, uint8_t

from iovigil.engines.distribution cimport distribution
from iovigil.engines.tausworthe cimport tausworthe

cdef enum FileService:
    ROUND_ROBIN
    IN_SEQUENCE
    AT_RANDOM
    BY_DISTRIBUTION


cdef struct file_order:
    int service
    uint32_t count
    uint32_t current
    uint64_t turn  # I/Os before the next file's turn
    uint64_t turn_left
    uint32_t done_count
    uint8_t *is_done  # files that have no more in this pass
    distribution shares
    uint64_t seed
    uint64_t state
    uint64_t random_seed
    tausworthe random


cdef int file_order_init(file_order *self, tuple service, uint32_t count, uint64_t seed,
                         uint64_t random_seed) except -1
cdef void file_order_free(file_order *self) noexcept nogil
cdef void file_order_rewind(file_order *self) noexcept nogil
cdef void file_order_pass(file_order *self) noexcept nogil
cdef bint file_order_next(file_order *self) noexcept nogil
cdef void file_order_done(file_order *self) noexcept nogil

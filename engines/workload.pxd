# What comes next: direction and block of the next I/O.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.io_u cimport READ, WRITE
from iovigil.engines.permutation cimport permutation, permutation_rekey, permuted
from iovigil.engines.rng cimport mix, random, random_below


cdef struct workload:
    uint64_t block_count
    bint is_random
    bint is_mapped  # random, but each block once a pass
    uint64_t read_share  # of 2^32
    uint64_t seed
    uint64_t state  # of the generator
    uint64_t position[2]  # next place in the order; random jobs share the first
    uint64_t passes
    permutation order


cdef void workload_rewind(workload *self) noexcept nogil


cdef inline int next_ddir(workload *self) noexcept nogil:
    if self.read_share == 0:
        return WRITE
    if self.read_share >> 32:
        return READ
    return READ if (random(&self.state) >> 32) < self.read_share else WRITE


cdef inline uint64_t next_block(workload *self, int ddir) noexcept nogil:
    """Index of the next block; goes round without end: how far is the loop's business."""
    cdef uint64_t place
    if self.is_random:
        if not self.is_mapped:
            return random_below(&self.state, self.block_count)
        ddir = 0
    place = self.position[ddir]
    if place == self.block_count:
        place = 0
        if self.is_random:
            self.passes += 1
            permutation_rekey(&self.order, mix(self.seed + self.passes))
    self.position[ddir] = place + 1
    return permuted(&self.order, place) if self.is_random else place

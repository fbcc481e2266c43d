# What comes next: direction, file, offset and length of the next I/O.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.file_order cimport file_order
from iovigil.engines.io_u cimport READ, TRIM, WRITE
from iovigil.engines.job_options cimport job_options
from iovigil.engines.offsets cimport course, manner
from iovigil.engines.permutation cimport permutation, permuted
from iovigil.engines.rng cimport random, random_below
from iovigil.engines.target cimport target_file


# Words of one width: compilers read a narrow length together with what stands beside it, and a read of what was just
# written in two parts has to wait for the cache.
cdef struct piece:
    uint64_t offset  # bytes, in the file
    uint64_t length
    uint64_t file


cdef struct workload:
    bint is_plain  # one file, one length, uniform or in order: what next_piece does inline
    bint is_random
    bint is_mapped  # random, but each block once a pass
    uint64_t start
    uint64_t bs
    uint64_t block_count
    uint64_t read_share  # of 2^32
    int other_ddir  # what a job does that does not read
    uint64_t seed
    uint64_t state  # of the generator
    uint64_t position[3]  # next place in the order; random jobs share the first
    uint64_t passes
    permutation order
    uint64_t interval  # bytes under one verify header, 1 without verify; offsets and lengths are multiples

    # What is not plain, out of line.
    bint is_trimwrite
    bint is_endless  # a file alone never has no more
    piece trimmed  # what the next write goes to
    uint32_t file_count
    uint32_t left_count  # of them that have no end of their own and had their bytes
    course *courses  # one for each file
    manner how
    file_order files


cdef int workload_init(workload *self, dict options, const job_options *native, const target_file *files,
                       uint32_t file_count, uint64_t seed, uint32_t number=*) except -1
cdef void workload_free(workload *self) noexcept nogil
cdef void workload_rewind(workload *self) noexcept nogil
cdef void workload_pass(workload *self) noexcept nogil
cdef bint draw(workload *self, int ddir, piece *drawn) noexcept nogil


cdef inline int next_ddir(workload *self) noexcept nogil:
    """The direction of the next I/O. Of a pair of trim and write it is the same until `next_piece` has drawn it."""
    if self.read_share == 0:
        return self.other_ddir
    if self.read_share >> 32:
        return READ
    return READ if (random(&self.state) >> 32) < self.read_share else WRITE


cdef inline bint next_piece(workload *self, int ddir, piece *drawn) noexcept nogil:
    """Where the next I/O of a direction goes; False when this pass has no more. `workload_pass` begins another."""
    if not self.is_plain:
        return draw(self, ddir, drawn)
    drawn.file = 0
    drawn.length = <uint32_t>self.bs
    if not self.is_random or self.is_mapped:
        return next_unvisited(self, ddir, drawn)
    drawn.offset = self.start + random_below(&self.state, self.block_count) * self.bs
    return True


cdef inline bint next_unvisited(workload *self, int ddir, piece *drawn) noexcept nogil:
    cdef uint64_t place
    if self.is_random:
        ddir = 0
    place = self.position[ddir]
    if place == self.block_count:
        return False
    self.position[ddir] = place + 1
    if self.is_random:
        place = permuted(&self.order, place)
    drawn.offset = self.start + place * self.bs
    return True

# Every number below a count once, out of a shift register: no map, but a weaker order than a permutation's.

from libc.stdint cimport uint32_t, uint64_t


cdef struct lfsr:
    uint64_t count
    uint64_t taps
    uint64_t mask
    uint64_t state


cdef int lfsr_init(lfsr *self, uint64_t count) noexcept nogil
cdef void lfsr_start(lfsr *self, uint64_t seed) noexcept nogil


cdef inline uint64_t lfsr_draw(lfsr *self) noexcept nogil:
    """The next number; after `count` of them they come again, in the same order."""
    cdef uint64_t value
    while True:
        self.state = (self.state >> 1) ^ (-(self.state & 1) & self.taps)
        # Neighbours in the register are halves of each other; multiplying by an odd number hides that.
        value = ((self.state * <uint64_t>0x9E3779B97F4A7C15) & self.mask) - 1
        if value < self.count:
            return value

# Every block once, in random order, without a map of those that were.

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    ROUNDS = 6
    SHUFFLED_BELOW = 4096  # a Feistel network mixes poorly over few blocks; these are shuffled


cdef struct permutation:
    uint64_t count
    uint32_t low_bits  # of the half that odd rounds change
    uint64_t low_mask
    uint64_t high_mask
    uint64_t key[ROUNDS]
    uint32_t *shuffled  # of a small range: the order itself


cdef int permutation_init(permutation *self, uint64_t count) noexcept nogil
cdef void permutation_free(permutation *self) noexcept nogil
cdef void permutation_rekey(permutation *self, uint64_t seed) noexcept nogil


cdef inline uint64_t permuted(const permutation *self, uint64_t index) noexcept nogil:
    """The block at place `index` of the order, both in [0, count)."""
    cdef uint64_t low, high
    if self.shuffled != NULL:
        return self.shuffled[index]
    # The network permutes a power of two; walk on until inside the range: under two rounds on average.
    while True:
        low = index & self.low_mask
        high = index >> self.low_bits
        high ^= spread(low + self.key[0]) & self.high_mask
        low ^= spread(high + self.key[1]) & self.low_mask
        high ^= spread(low + self.key[2]) & self.high_mask
        low ^= spread(high + self.key[3]) & self.low_mask
        high ^= spread(low + self.key[4]) & self.high_mask
        low ^= spread(high + self.key[5]) & self.low_mask
        index = (high << self.low_bits) | low
        if index < self.count:
            return index


cdef inline uint64_t spread(uint64_t value) noexcept nogil:
    """Mix twice: the high bits of a product depend on all bits of its factors, the low ones do not."""
    value *= <uint64_t>0x9E3779B97F4A7C15
    value ^= value >> 32
    return (value * <uint64_t>0x9E3779B97F4A7C15) >> 32

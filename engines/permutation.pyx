"""Every block once, in random order, without a map of those that were: a keyed Feistel network.

A place in the order is one integer, so an interrupted pass resumes from a counter.
"""

from libc.stdlib cimport free, malloc

from iovigil.engines.rng cimport mix, random_below


cdef int permutation_init(permutation *self, uint64_t count) noexcept nogil:
    """Make ready for `count` blocks; 0, or -1 without memory. Needs `permutation_rekey` before use."""
    cdef uint32_t bits = 1
    while bits < 63 and (<uint64_t>1 << bits) < count:
        bits += 1
    self.count = count
    self.low_bits = bits // 2
    self.low_mask = (<uint64_t>1 << self.low_bits) - 1
    self.high_mask = (<uint64_t>1 << (bits - self.low_bits)) - 1
    self.shuffled = NULL
    if count < SHUFFLED_BELOW:
        self.shuffled = <uint32_t *>malloc((count or 1) * sizeof(uint32_t))
        if self.shuffled == NULL:
            return -1
    return 0


cdef void permutation_free(permutation *self) noexcept nogil:
    free(self.shuffled)
    self.shuffled = NULL


cdef void permutation_rekey(permutation *self, uint64_t seed) noexcept nogil:
    """Choose the order that belongs to `seed`."""
    cdef uint32_t index, other
    cdef uint64_t state = seed
    for index in range(<uint32_t>ROUNDS):
        self.key[index] = mix(seed + (index + 1) * <uint64_t>0x9E3779B97F4A7C15)
    if self.shuffled != NULL:
        for index in range(<uint32_t>self.count):
            other = <uint32_t>random_below(&state, index + 1)
            self.shuffled[index] = self.shuffled[other]
            self.shuffled[other] = index


cdef class Permutation:
    """The order of a random job over `count` blocks, for tests and tools."""

    cdef permutation order

    def __init__(self, uint64_t count, uint64_t seed):
        if permutation_init(&self.order, count):
            raise MemoryError
        permutation_rekey(&self.order, seed)

    def __dealloc__(self):
        permutation_free(&self.order)

    def __len__(self):
        return self.order.count

    def __getitem__(self, uint64_t index):
        if index >= self.order.count:
            raise IndexError(index)
        return permuted(&self.order, index)

# Which block holds which generation, and which are in flight.

from libc.stdint cimport uint64_t


# One word a block: 0 for never written, else the generation; the top bit while a write is under way.
cdef struct write_log:
    uint64_t *blocks
    uint64_t count
    uint64_t generation  # the last one given out
    uint64_t next_check  # where the verify phase has got to
    uint64_t end  # one past the last block that was ever written


cdef int write_log_init(write_log *self, uint64_t count) noexcept nogil
cdef void write_log_free(write_log *self) noexcept nogil


cdef inline bint is_in_flight(const write_log *self, uint64_t block) noexcept nogil:
    return self.blocks[block] >> 63


cdef inline uint64_t write_begun(write_log *self, uint64_t block) noexcept nogil:
    self.generation += 1
    self.blocks[block] = self.generation | (<uint64_t>1 << 63)
    if block >= self.end:
        self.end = block + 1
    return self.generation


cdef inline void write_done(write_log *self, uint64_t block, uint64_t generation) noexcept nogil:
    self.blocks[block] = generation


cdef inline void write_failed(write_log *self, uint64_t block) noexcept nogil:
    """What the block holds now is unknown: nothing to check."""
    self.blocks[block] = 0


cdef inline bint take_next(write_log *self, uint64_t *block, uint64_t *generation) noexcept nogil:
    """The next block to check, in order of offset; it is then no longer on the list."""
    while self.next_check < self.end:
        if self.blocks[self.next_check]:
            block[0] = self.next_check
            generation[0] = self.blocks[self.next_check]
            self.blocks[self.next_check] = 0
            self.next_check += 1
            return True
        self.next_check += 1
    return False


cdef uint64_t blocks_left(write_log *self) noexcept nogil
cdef void forget_all(write_log *self) noexcept nogil

"""Which blocks of a region have been visited: one bit each, with words above that say what is full."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from *:
    int lowest_bit "__builtin_ctzll" (uint64_t) noexcept nogil


cdef int random_map_init(random_map *self, uint64_t count) noexcept nogil:
    """Make ready for `count` blocks, none of them visited; 0, or -1 without memory."""
    cdef uint64_t bits = count
    memset(self, 0, sizeof(random_map))
    self.count = count
    while True:
        self.word_count[self.level_count] = (bits >> 6) + ((bits & 63) != 0)
        self.level[self.level_count] = <uint64_t *>calloc(self.word_count[self.level_count] or 1, sizeof(uint64_t))
        if self.level[self.level_count] == NULL:
            random_map_free(self)
            return -1
        bits = self.word_count[self.level_count]
        self.level_count += 1
        if bits <= 1:
            break
    random_map_clear(self)
    return 0


cdef void random_map_free(random_map *self) noexcept nogil:
    cdef uint32_t level
    for level in range(<uint32_t>MAP_LEVELS):
        free(self.level[level])
        self.level[level] = NULL


cdef void random_map_clear(random_map *self) noexcept nogil:
    """Forget what was visited."""
    cdef uint64_t bits = self.count
    cdef uint32_t level
    self.taken = 0
    for level in range(self.level_count):
        memset(self.level[level], 0, self.word_count[level] * sizeof(uint64_t))
        # What lies behind the end is never free.
        if bits & 63:
            self.level[level][bits >> 6] = ~<uint64_t>0 << (bits & 63)
        bits = self.word_count[level]


cdef uint64_t random_map_next(const random_map *self, uint64_t block) noexcept nogil:
    """The first free block from here on, going round at the end; `count` when none is free."""
    cdef uint32_t level = 0
    cdef uint64_t at = block, word
    if self.taken == self.count:
        return self.count
    while True:
        # Up until a word has room at or behind `at` ...
        if at >> 6 < self.word_count[level]:
            word = ~self.level[level][at >> 6] & (~<uint64_t>0 << (at & 63))
            if word:
                break
        at = (at >> 6) + 1
        level += 1
        if level == self.level_count:
            at = level = 0  # there is room before `block`
    at = (at & ~<uint64_t>63) | <uint64_t>lowest_bit(word)
    while level:
        # ... and down to the first block below it.
        level -= 1
        at = (at << 6) | <uint64_t>lowest_bit(~self.level[level][at])
    return at


cdef uint64_t random_map_run(const random_map *self, uint64_t block, uint64_t most) noexcept nogil:
    """How many blocks from here on are free: at most so many."""
    cdef uint64_t run = 0, at = block, word, room
    while run < most and at < self.count:
        room = 64 - (at & 63)
        word = self.level[0][at >> 6] >> (at & 63)
        if word:
            run += <uint64_t>lowest_bit(word)
            break
        run += room
        at += room
    return min(run, most)


cdef void random_map_take(random_map *self, uint64_t block, uint64_t count) noexcept nogil:
    """Note a visit; what had been visited stays so."""
    cdef uint64_t at, bit, above
    cdef uint32_t level
    for at in range(block, min(block + count, self.count)):
        bit = <uint64_t>1 << (at & 63)
        if self.level[0][at >> 6] & bit:
            continue
        self.taken += 1
        self.level[0][at >> 6] |= bit
        level = 0
        above = at >> 6
        while self.level[level][above] == ~<uint64_t>0 and level + 1 < self.level_count:
            level += 1
            self.level[level][above >> 6] |= <uint64_t>1 << (above & 63)
            above >>= 6


cdef class RandomMap:
    """The map of `count` blocks, for tests and tools."""

    cdef random_map map

    def __init__(self, uint64_t count):
        random_map_free(&self.map)
        if random_map_init(&self.map, count):
            raise MemoryError

    def __dealloc__(self):
        random_map_free(&self.map)

    def __len__(self):
        return self.map.count

    def __contains__(self, uint64_t block):
        return block < self.map.count and random_map_has(&self.map, block)

    @property
    def taken(self):
        return self.map.taken

    def next(self, uint64_t block):
        """The first free block from here on, going round; None when none is free."""
        cdef uint64_t found = random_map_next(&self.map, block)
        return None if found == self.map.count else found

    def run(self, uint64_t block, uint64_t most):
        """How many blocks from here on are free: at most so many."""
        return random_map_run(&self.map, block, most)

    def take(self, uint64_t block, uint64_t count=1):
        """Note a visit."""
        random_map_take(&self.map, block, count)

    def clear(self):
        """Forget what was visited."""
        random_map_clear(&self.map)

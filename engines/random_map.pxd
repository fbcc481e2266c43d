# Which blocks of a region have been visited: one bit each, with words above that say what is full.

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    MAP_LEVELS = 11  # 64^11 bits are more than 2^64


cdef struct random_map:
    uint64_t count  # blocks
    uint64_t taken
    uint32_t level_count
    uint64_t *level[MAP_LEVELS]  # 0: a bit for each block; above: a bit for each word below that is full
    uint64_t word_count[MAP_LEVELS]


cdef int random_map_init(random_map *self, uint64_t count) noexcept nogil
cdef void random_map_free(random_map *self) noexcept nogil
cdef void random_map_clear(random_map *self) noexcept nogil
cdef uint64_t random_map_next(const random_map *self, uint64_t block) noexcept nogil
cdef uint64_t random_map_run(const random_map *self, uint64_t block, uint64_t most) noexcept nogil
cdef void random_map_take(random_map *self, uint64_t block, uint64_t count) noexcept nogil


cdef inline bint random_map_has(const random_map *self, uint64_t block) noexcept nogil:
    return self.level[0][block >> 6] >> (block & 63) & 1

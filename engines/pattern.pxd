# A pattern of bytes that fills a block from its start, over and over, with the block's offset where it is asked for.

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy


cdef struct pattern:
    uint32_t length  # 0: there is none
    uint32_t tile_length
    char *tile  # the pattern, repeated
    uint32_t *places  # of the %o in it: 8 bytes each
    uint32_t place_count
    uint64_t interval  # the pattern begins anew after so many bytes of a block; 0: only with the block


cdef int pattern_init(pattern *self, bytes text, places, uint64_t interval) except -1
cdef void pattern_free(pattern *self) noexcept
cdef void put_offsets(const pattern *self, char *to, uint64_t at, uint64_t length, uint64_t offset) noexcept nogil


cdef inline void lay_evenly(const pattern *self, char *to, uint64_t at, uint64_t length) noexcept nogil:
    """What the pattern, repeated from 0 on, has in [at, at + length)."""
    cdef uint64_t from_tile, part
    while length:
        from_tile = at % self.length
        part = min(self.tile_length - from_tile, length)
        memcpy(to, self.tile + from_tile, part)
        to += part
        at += part
        length -= part


cdef inline void lay_pattern(const pattern *self, char *to, uint64_t at, uint64_t length,
                             uint64_t offset) noexcept nogil:
    """Fill `to` with what the block at `offset` holds in [at, at + length)."""
    cdef uint64_t into, part
    if not self.interval:
        lay_evenly(self, to, at, length)
        if self.place_count:
            put_offsets(self, to, at, length, offset)
        return
    while length:
        into = at % self.interval
        part = min(self.interval - into, length)
        lay_evenly(self, to, into, part)
        if self.place_count:
            put_offsets(self, to, into, part, offset + at - into)
        to += part
        at += part
        length -= part

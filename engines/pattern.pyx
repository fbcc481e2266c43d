"""A pattern of bytes that fills a block from its start, over and over, and names its offset where that is asked."""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef enum:
    SHORTEST_TILE = 4096
    OFFSET_SIZE = 8


cdef int pattern_init(pattern *self, bytes text, places, uint64_t interval) except -1:
    """Raises MemoryError. An empty text is no pattern."""
    cdef const char *source = text
    cdef uint32_t at = 0, index
    memset(self, 0, sizeof(pattern))
    if not text:
        return 0
    self.length = <uint32_t>len(text)
    self.interval = interval
    self.tile_length = (SHORTEST_TILE + self.length - 1) // self.length * self.length
    self.tile = <char *>malloc(self.tile_length)
    if self.tile == NULL:
        raise MemoryError
    while at < self.tile_length:
        memcpy(self.tile + at, source, self.length)
        at += self.length
    if places:
        self.places = <uint32_t *>calloc(len(places), sizeof(uint32_t))
        if self.places == NULL:
            raise MemoryError
        for index, place in enumerate(places):
            self.places[index] = place
        self.place_count = <uint32_t>len(places)
    return 0


cdef void pattern_free(pattern *self) noexcept:
    free(self.tile)
    free(self.places)
    self.tile = NULL
    self.places = NULL


cdef void put_offsets(const pattern *self, char *to, uint64_t at, uint64_t length, uint64_t offset) noexcept nogil:
    """Put the offset into every %o that lies in [at, at + length), also where only a part of it does."""
    cdef uint64_t start, place, from_byte, to_byte
    cdef uint32_t index
    for index in range(self.place_count):
        start = at // self.length * self.length
        # The repetition before may reach into this one's start with its last bytes.
        start -= min(start, <uint64_t>self.length)
        while start < at + length:
            place = start + self.places[index]
            start += self.length
            from_byte = max(place, at)
            to_byte = min(place + OFFSET_SIZE, at + length)
            if from_byte < to_byte:
                memcpy(to + from_byte - at, <const char *>&offset + from_byte - place, to_byte - from_byte)


def laid(bytes text not None, places, uint64_t interval, uint64_t at, uint64_t length, uint64_t offset):
    """What a block at `offset` holds in [at, at + length): for tests."""
    cdef pattern own
    cdef bytes block = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
    pattern_init(&own, text, places, interval)
    try:
        lay_pattern(&own, <char *>block, at, length, offset)
    finally:
        pattern_free(&own)
    return block

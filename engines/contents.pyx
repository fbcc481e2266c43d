"""What writes without a verify header carry: random, zeroes or a pattern, compressible, repeated.

fio's order where options meet: dedupe_percentage and buffer_compress_percentage make random contents anew for each
write, whatever else is set; then buffer_pattern, zero_buffers, refill_buffers; at last one filling, scrambled.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_FromStringAndSize

from iovigil.engines.job_options cimport job_options, read_options
from iovigil.engines.pattern cimport lay_evenly, pattern_free, pattern_init
from iovigil.engines.payload cimport fill
from iovigil.engines.rng cimport mix, random

cdef enum:
    WORD = 8
    DEFAULT_CHUNK = 512
    PAGE = 4096


cdef int contents_init(contents *self, dict options, const job_options *native, uint64_t seed) except -1:
    cdef bytes text = options["buffer_pattern"]
    cdef bint is_shaped = native.buffer_compress_percentage > 0 or native.dedupe_percentage > 0
    memset(self, 0, sizeof(contents))
    self.state = mix(seed)
    self.is_random = is_shaped or not (text or native.zero_buffers)
    self.fixed_percent = <uint32_t>native.buffer_compress_percentage
    self.chunk = <uint32_t>(native.buffer_compress_chunk or DEFAULT_CHUNK)
    self.chunk = (self.chunk + WORD - 1) // WORD * WORD
    self.repeat_share = (native.dedupe_percentage << 32) // 100
    if is_shaped or (self.is_random and native.refill_buffers):
        self.making = REMAKE
    elif self.is_random:
        self.making = SCRAMBLE if native.scramble_buffers else KEEP
    else:
        # Reads, also those that replay a log, leave in the buffers what they found on the disk.
        self.making = REMAKE if native.does_read or native.is_replayed else KEEP
    pattern_init(&self.pattern, text, (), 0)
    return 0


cdef void contents_free(contents *self) noexcept:
    pattern_free(&self.pattern)


cdef void contents_begin(contents *self, char *buffers, uint64_t size, uint64_t stride) noexcept nogil:
    """Fill the buffers of all I/Os, one every `stride` bytes: no page fault is then left for a measured I/O."""
    cdef uint64_t at = 0
    if self.is_random:
        fill(buffers, size, random(&self.state) | 1)
        return
    while at < size:
        lay(self, buffers + at, 0, min(stride, size - at))
        at += stride


cdef void contents_make(contents *self, char *to, uint64_t length) noexcept nogil:
    """New contents for one block, or those of the one before it. `to` is aligned to 8 bytes."""
    if not self.is_random:
        lay(self, to, 0, length)
        return
    # One draw for each block, also where it decides nothing: the same seeds with another share.
    if (random(&self.state) >> 32) >= self.repeat_share or not self.seed:
        self.seed = random(&self.state) | 1
    if self.fixed_percent:
        mingle(self, to, length)
    else:
        fill(to, length, self.seed)


cdef void mingle(contents *self, char *to, uint64_t length) noexcept nogil:
    """A random and a fixed part in each chunk. What rounding takes from one is given to the next."""
    cdef uint64_t at = 0, end, part, made = 0
    while at < length:
        end = min(at + self.chunk, length)
        part = min((end * (100 - self.fixed_percent) // 100 - made) // WORD * WORD, end - at)
        fill(to + at, part, mix(self.seed + at) | 1)
        lay(self, to, at + part, end)
        made += part
        at = end


cdef void lay(contents *self, char *to, uint64_t at, uint64_t end) noexcept nogil:
    """Zeroes or the pattern, which begins with its block."""
    if self.pattern.length:
        lay_evenly(&self.pattern, to + at, at, end - at)
    else:
        memset(to + at, 0, end - at)


cdef class Contents:
    """What a job's writes carry, one I/O at a time or in several buffers: for tests."""

    cdef contents contents
    cdef char *buffers
    cdef uint64_t stride
    cdef uint32_t slots

    def __cinit__(self, dict options not None, uint64_t seed, uint32_t slots=1):
        cdef job_options native = read_options(options)
        contents_init(&self.contents, options, &native, seed)
        self.slots = slots
        self.stride = (native.max_bs[1] + PAGE - 1) // PAGE * PAGE
        self.buffers = <char *>calloc(slots, self.stride)
        if self.buffers == NULL:
            raise MemoryError
        contents_begin(&self.contents, self.buffers, slots * self.stride, self.stride)

    def __dealloc__(self):
        contents_free(&self.contents)
        free(self.buffers)

    def write(self, uint64_t length, uint64_t offset, uint64_t now, uint32_t slot=0):
        """The block that is written."""
        cdef char *block = self.buffers + (slot % self.slots) * self.stride
        if length > self.stride:
            raise ValueError(f"length: {length} is more than a buffer of {self.stride}")
        contents_write(&self.contents, block, length, offset, now)
        return PyBytes_FromStringAndSize(block, length)

    def read(self, bytes found not None, uint32_t slot=0):
        """Put into a buffer what a read found."""
        cdef uint64_t length = min(<uint64_t>len(found), self.stride)
        memcpy(self.buffers + (slot % self.slots) * self.stride, <const char *>found, length)

"""Which unit of the target holds which generation, and which are in flight: 8 bytes a unit, where written."""

from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap,
)
from posix.unistd cimport ftruncate, pread

cdef enum:
    HEAD_BYTES = 4096
    MAGIC = 0x1076_109
    FIRST_GENERATION = 1


cdef int write_log_init(write_log *self, uint64_t count) noexcept nogil:
    """Make room for `count` units; -1 without memory. Pages come when units on them are written."""
    cdef void *memory
    self.size = count * sizeof(uint64_t)
    memory = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if memory == MAP_FAILED:
        return -1
    self.units = <uint64_t *>memory
    self.count = count
    self.sharers = 1
    return 0


cdef int write_log_attach(write_log *self, int fd, uint64_t count, uint64_t identity, uint32_t place,
                          uint32_t sharers) noexcept nogil:
    """The same in a memory file: what one job leaves there is the next one's to check, or that of its sharers.

    A log of other units, or of other files, is emptied. A write that was in flight when its job ended may have been
    made or not: that unit is not checked.
    """
    cdef uint64_t unit, size = HEAD_BYTES + count * sizeof(uint64_t)
    cdef void *memory
    cdef log_head before
    cdef bint is_used = (
        sharers == 1 and pread(fd, &before, sizeof(before), 0) == sizeof(before) and before.magic == MAGIC)
    cdef bint is_inherited = is_used and before.count == count and before.identity == identity
    # Not word by word: looking at a page of a memory file makes it take memory.
    if sharers == 1 and not is_inherited and ftruncate(fd, 0):
        return -1
    if ftruncate(fd, <long>size):
        return -1
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)
    if memory == MAP_FAILED:
        return -1
    self.head = <log_head *>memory
    self.size = size
    self.units = <uint64_t *>(<char *>memory + HEAD_BYTES)
    self.count = count
    self.sharers = sharers
    # Of n jobs the first gives out 1, n + 1, 2n + 1: that is its generations' remainder, and what it counts on from.
    if sharers > 1:
        self.generation = FIRST_GENERATION + place
        return 0
    self.head.magic = MAGIC
    self.head.count = count
    self.head.identity = identity
    if is_used:
        # Also of an emptied log: its nonce is the same, and no generation may be given out twice.
        self.generation = self.head.generation = before.generation
    if not is_inherited:
        return 0
    for unit in range(count):
        if self.units[unit] & IN_FLIGHT:
            self.units[unit] = 0
        if self.units[unit]:
            self.end = unit + 1
    return 0


cdef void write_log_free(write_log *self) noexcept nogil:
    if self.units != NULL:
        munmap(self.units if self.head == NULL else <void *>self.head, self.size)
        self.units = NULL


cdef uint64_t units_left(const write_log *self) noexcept nogil:
    """How many units are still to be checked."""
    cdef uint64_t unit = 0, left = 0, generation = 0
    while next_written(self, &unit, &generation):
        left += 1
        unit += 1
    return left

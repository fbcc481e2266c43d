"""Which unit of the target holds which generation, and which are in flight: 8 bytes a unit, where written."""

from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap


cdef int write_log_init(write_log *self, uint64_t count) noexcept nogil:
    """Make room for `count` units; -1 without memory. Pages come when units on them are written."""
    cdef void *memory = mmap(NULL, count * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if memory == MAP_FAILED:
        return -1
    self.units = <uint64_t *>memory
    self.count = count
    return 0


cdef void write_log_free(write_log *self) noexcept nogil:
    if self.units != NULL:
        munmap(self.units, self.count * sizeof(uint64_t))
        self.units = NULL


cdef uint64_t units_left(const write_log *self) noexcept nogil:
    """How many units are still to be checked."""
    cdef uint64_t unit, left = 0
    for unit in range(self.next_check, self.end):
        left += self.units[unit] != 0
    return left


cdef void forget_all(write_log *self) noexcept nogil:
    """Start a new round; the generations go on."""
    cdef uint64_t unit
    for unit in range(self.end):
        self.units[unit] = 0
    self.next_check = 0
    self.end = 0

# Which unit of the target holds which generation, and which are in flight.

from libc.stdint cimport uint64_t


cdef extern from *:
    """
    #define IOVIGIL_IN_FLIGHT (1ULL << 63)
    #define IOVIGIL_TRIMMED (1ULL << 62)
    """
    const uint64_t IN_FLIGHT "IOVIGIL_IN_FLIGHT"  # a write or trim is under way
    const uint64_t TRIMMED "IOVIGIL_TRIMMED"  # trimmed since: zeroes


# One word a unit, which is the length under one verify header: 0 for never written, else the generation, and the
# above. The units of several files stand one behind the other.
cdef struct write_log:
    uint64_t *units
    uint64_t count
    uint64_t generation  # the last one given out
    uint64_t next_check  # where the verify phase has got to
    uint64_t end  # one past the last unit that was ever written


cdef int write_log_init(write_log *self, uint64_t count) noexcept nogil
cdef void write_log_free(write_log *self) noexcept nogil


cdef inline bint is_in_flight(const write_log *self, uint64_t first, uint64_t count) noexcept nogil:
    cdef uint64_t unit
    for unit in range(first, first + count):
        if self.units[unit] & IN_FLIGHT:
            return True
    return False


cdef inline uint64_t write_begun(write_log *self, uint64_t first, uint64_t count) noexcept nogil:
    """Book a write that starts; its generation."""
    cdef uint64_t unit
    self.generation += 1
    for unit in range(first, first + count):
        self.units[unit] = self.generation | IN_FLIGHT
    if first + count > self.end:
        self.end = first + count
    return self.generation


cdef inline void write_done(write_log *self, uint64_t first, uint64_t count, uint64_t generation) noexcept nogil:
    """What these units hold from now on; generation 0: unknown, nothing to check."""
    cdef uint64_t unit
    for unit in range(first, first + count):
        self.units[unit] = generation


cdef inline bint next_written(const write_log *self, uint64_t *first, uint64_t *generation) noexcept nogil:
    """The next unit to check, in order of offset."""
    cdef uint64_t unit = first[0]
    while unit < self.end:
        if self.units[unit] and not self.units[unit] & IN_FLIGHT:
            first[0] = unit
            generation[0] = self.units[unit]
            return True
        unit += 1
    return False


cdef uint64_t units_left(const write_log *self) noexcept nogil
cdef void forget_all(write_log *self) noexcept nogil

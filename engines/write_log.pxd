# Which unit of the target holds which generation, and which are in flight.

from libc.stdint cimport uint32_t, uint64_t


cdef extern from * nogil:
    """
    #ifndef IOVIGIL_WRITE_LOG
    #define IOVIGIL_WRITE_LOG
    #include <stdint.h>
    #define IOVIGIL_IN_FLIGHT (1ULL << 63)
    #define IOVIGIL_TRIMMED (1ULL << 62)

    static inline uint64_t iovigil_unit_get(const uint64_t *unit) {
        return __atomic_load_n(unit, __ATOMIC_ACQUIRE);
    }
    static inline void iovigil_unit_set(uint64_t *unit, uint64_t value) {
        __atomic_store_n(unit, value, __ATOMIC_RELEASE);
    }
    static inline int iovigil_unit_swap(uint64_t *unit, uint64_t from, uint64_t to) {
        return __atomic_compare_exchange_n(unit, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    #endif
    """
    const uint64_t IN_FLIGHT "IOVIGIL_IN_FLIGHT"  # a write or trim is under way
    const uint64_t TRIMMED "IOVIGIL_TRIMMED"  # trimmed since: zeroes
    uint64_t unit_get "iovigil_unit_get" (const uint64_t *unit) noexcept
    void unit_set "iovigil_unit_set" (uint64_t *unit, uint64_t value) noexcept
    bint unit_swap "iovigil_unit_swap" (uint64_t *unit, uint64_t before, uint64_t after) noexcept


# Opens a log that outlives its job, or that several jobs have in common.
cdef struct log_head:
    uint64_t magic
    uint64_t count  # units
    uint64_t identity  # of what the units are of: files, lengths, places
    uint64_t generation  # the last given out; of a log that one job has at a time


# One word a unit, which is the length under one verify header: 0 for never written, or checked since; else the
# generation, and the above. The units of several files stand one behind the other.
cdef struct write_log:
    uint64_t *units
    uint64_t count
    uint64_t generation  # the last one given out
    uint64_t next_check  # where the verify phase has got to
    uint64_t end  # one past the last unit that was ever written
    uint64_t sharers  # jobs that have this log in common; each gives out every so many-th generation
    log_head *head  # NULL: the memory is this job's alone
    uint64_t size  # of the memory, bytes


cdef int write_log_init(write_log *self, uint64_t count) noexcept nogil
cdef int write_log_attach(write_log *self, int fd, uint64_t count, uint64_t identity, uint32_t place,
                          uint32_t sharers) noexcept nogil
cdef void write_log_free(write_log *self) noexcept nogil


cdef inline bint is_in_flight(const write_log *self, uint64_t first, uint64_t count) noexcept nogil:
    cdef uint64_t unit
    for unit in range(first, first + count):
        if unit_get(&self.units[unit]) & IN_FLIGHT:
            return True
    return False


cdef inline bint claim(write_log *self, uint64_t first, uint64_t count) noexcept nogil:
    """Take units that other jobs may want as well; all of them, or none."""
    cdef uint64_t unit = first, found
    while unit < first + count:
        found = unit_get(&self.units[unit])
        if not found & IN_FLIGHT and unit_swap(&self.units[unit], found, found | IN_FLIGHT):
            unit += 1
        elif found & IN_FLIGHT:
            break
    if unit == first + count:
        return True
    while unit > first:
        unit -= 1
        unit_set(&self.units[unit], unit_get(&self.units[unit]) & ~IN_FLIGHT)
    return False


cdef inline bint is_own(const write_log *self, uint64_t generation) noexcept nogil:
    """Whether a unit is this job's to check."""
    return self.sharers == 1 or (generation & ~(IN_FLIGHT | TRIMMED)) % self.sharers == self.generation % self.sharers


cdef inline uint64_t write_begun(write_log *self, uint64_t first, uint64_t count) noexcept nogil:
    """Book a write that starts; its generation."""
    cdef uint64_t unit
    self.generation += self.sharers
    if self.head != NULL and self.sharers == 1:
        unit_set(&self.head.generation, self.generation)
    for unit in range(first, first + count):
        unit_set(&self.units[unit], self.generation | IN_FLIGHT)
    if first + count > self.end:
        self.end = first + count
    return self.generation


cdef inline void write_done(write_log *self, uint64_t first, uint64_t count, uint64_t generation) noexcept nogil:
    """What these units hold from now on; generation 0: unknown, nothing to check."""
    cdef uint64_t unit
    for unit in range(first, first + count):
        unit_set(&self.units[unit], generation)


cdef inline bint write_checked(write_log *self, uint64_t first, uint64_t count, uint64_t generation) noexcept nogil:
    """Take units off the list whose contents have been read; False where they were written again meanwhile."""
    cdef uint64_t unit = first
    if self.sharers == 1:
        for unit in range(first, first + count):
            if self.units[unit] != generation:
                return False
        write_done(self, first, count, 0)
        return True
    while unit < first + count and unit_swap(&self.units[unit], generation, 0):
        unit += 1
    if unit == first + count:
        return True
    while unit > first:
        unit -= 1
        unit_swap(&self.units[unit], 0, generation)
    return False


cdef inline bint next_written(const write_log *self, uint64_t *first, uint64_t *generation) noexcept nogil:
    """The next unit to check, in order of offset."""
    cdef uint64_t unit = first[0], found
    while unit < self.end:
        found = unit_get(&self.units[unit])
        if found and not found & IN_FLIGHT and is_own(self, found):
            first[0] = unit
            generation[0] = found
            return True
        unit += 1
    return False


cdef uint64_t units_left(const write_log *self) noexcept nogil

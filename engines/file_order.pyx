"""Which of a job's files the next I/O goes to."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from iovigil.engines.distribution cimport distribution_draw, distribution_free, distribution_init
from iovigil.engines.rng cimport mix
from iovigil.engines.tausworthe cimport tausworthe_below, tausworthe_seed

cdef dict SERVICES = {"roundrobin": ROUND_ROBIN, "sequential": IN_SEQUENCE, "random": AT_RANDOM}


cdef int file_order_init(file_order *self, tuple service, uint32_t count, uint64_t seed,
                         uint64_t random_seed) except -1:
    """Make ready for `count` files. Raises MemoryError, ValueError with the reason.

    The number of a service is the I/Os of one turn, or the parameter of its distribution; 0 is fio's default.
    """
    name, number = service
    memset(self, 0, sizeof(file_order))
    self.count = count
    self.seed = seed
    self.random_seed = random_seed
    self.turn = 1
    if name in SERVICES:
        self.service = SERVICES[name]
        self.turn = max(<uint64_t>number, <uint64_t>1)
    elif name in ("zipf", "pareto", "normal", "gauss"):
        self.service = BY_DISTRIBUTION
        distribution_init(&self.shares, (name, float(number), -1.0, ()), count, 1, seed)
    else:
        raise ValueError(
            f"file_service_type: {name} is none of roundrobin, sequential, random, zipf, pareto, normal")
    self.is_done = <uint8_t *>calloc(count, 1)
    if self.is_done == NULL:
        raise MemoryError
    return 0


cdef void file_order_free(file_order *self) noexcept nogil:
    distribution_free(&self.shares)
    free(self.is_done)
    self.is_done = NULL


cdef void file_order_rewind(file_order *self) noexcept nogil:
    """Start again: the same files in the same order."""
    self.state = mix(self.seed)
    tausworthe_seed(&self.random, self.random_seed)
    file_order_pass(self)


cdef void file_order_pass(file_order *self) noexcept nogil:
    """Go on with all files."""
    memset(self.is_done, 0, self.count)
    self.done_count = 0
    self.turn_left = 0
    self.current = self.count - 1 if self.service == ROUND_ROBIN else 0


cdef bint file_order_next(file_order *self) noexcept nogil:
    """Choose `current` for the next I/O; False when every file is done."""
    if self.done_count == self.count:
        return False
    if self.turn_left and not self.is_done[self.current]:
        self.turn_left -= 1
        return True
    if self.service == BY_DISTRIBUTION:
        self.current = <uint32_t>distribution_draw(&self.shares, &self.state)
    elif self.service == AT_RANDOM:
        while True:
            self.current = <uint32_t>tausworthe_below(&self.random, self.count)
            if not self.is_done[self.current]:
                break
    elif self.service == ROUND_ROBIN:
        while True:
            self.current = (self.current + 1) % self.count
            if not self.is_done[self.current]:
                break
    else:
        while self.is_done[self.current]:
            self.current += 1
    self.turn_left = self.turn - 1
    return True


cdef void file_order_done(file_order *self) noexcept nogil:
    """`current` has no more in this pass."""
    if not self.is_done[self.current]:
        self.is_done[self.current] = True
        self.done_count += 1

"""Where in one file the next I/O goes: in order, with a stride, at random, in zones."""

from libc.string cimport memset

from iovigil.engines.distribution cimport UNIFORM, distribution_draw, distribution_free, distribution_init
from iovigil.engines.lengths cimport lengths_draw
from iovigil.engines.lfsr cimport lfsr_draw, lfsr_init, lfsr_start
from iovigil.engines.permutation cimport permutation_free, permutation_init, permutation_rekey, permuted
from iovigil.engines.random_map cimport (
    random_map_clear, random_map_free, random_map_init, random_map_next, random_map_run, random_map_take,
)
from iovigil.engines.rng cimport mix, random_below
from iovigil.engines.tausworthe cimport tausworthe64_draw, tausworthe_below

cdef extern from * nogil:
    """
    #define IOVIGIL_SHARE(draw, n) ((uint64_t)(((unsigned __int128)(draw) * (n)) >> 64))
    """
    uint64_t share "IOVIGIL_SHARE" (uint64_t draw, uint64_t n)


cdef int course_init(course *self, const manner *how, uint64_t start, uint64_t length, tuple shares,
                     bint may_do_without_map) except -1:
    """Make ready for one file; `course_pass` must follow. Raises MemoryError, ValueError with the reason."""
    cdef uint64_t extent = how.zonerange if how.is_zoned else length
    memset(self, 0, sizeof(course))
    self.start = start
    self.length = length - length % how.interval
    self.coverage = how.coverage
    self.block_count = extent // how.granule
    if not self.block_count:
        raise ValueError(f"size: {extent} bytes have no room for one block of {how.granule}; set size")
    if how.is_zoned and how.zonerange > length:
        raise ValueError(f"zonerange: {how.zonerange} is more than the {length} bytes of the region")
    if not how.is_random:
        return 0
    distribution_init(&self.shares, shares, self.block_count, how.granule, mix(how.seed))
    if self.coverage == PERMUTED and permutation_init(&self.order, self.block_count):
        raise MemoryError
    if how.generator == SHIFT_REGISTER and lfsr_init(&self.register, self.block_count):
        raise ValueError(f"random_generator: lfsr cannot do {self.block_count} blocks; take tausworthe64")
    if self.coverage == MAPPED and random_map_init(&self.map, self.block_count):
        if not may_do_without_map:
            raise MemoryError(f"no memory for a map of {self.block_count} blocks; softrandommap goes on without")
        self.coverage = FREE
    return 0


cdef void course_free(course *self) noexcept nogil:
    permutation_free(&self.order)
    random_map_free(&self.map)
    distribution_free(&self.shares)


cdef void course_pass(course *self, const manner *how, uint64_t number) noexcept nogil:
    """Begin pass `number`: nothing is visited."""
    cdef uint64_t seed = mix(how.seed + number)
    self.place = self.pass_bytes = 0
    if self.coverage == PERMUTED:
        permutation_rekey(&self.order, seed)
    if how.is_random and how.generator == SHIFT_REGISTER:
        lfsr_start(&self.register, seed)
    enter_zone(self, 0)


cdef void enter_zone(course *self, uint64_t start) noexcept nogil:
    cdef uint32_t ddir
    self.zone_start = start
    self.zone_bytes = 0
    for ddir in range(3):
        self.position[ddir] = self.begun[ddir] = start
    if self.coverage == MAPPED:
        random_map_clear(&self.map)


cdef bint course_draw(course *self, manner *how, int ddir, stretch *drawn) noexcept nogil:
    """The next stretch of a direction, `drawn.offset` in the file; False when this pass has no more of it."""
    cdef uint64_t end = self.length, offset = 0, room, run
    cdef bint is_random, is_drawn
    cdef int which = ddir
    if how.is_zoned:
        if self.zone_bytes >= how.zonesize:
            offset = self.zone_start + how.zonestep
            enter_zone(self, offset if offset < self.length else 0)
        end = min(self.zone_start + how.zonerange, self.length)
        if end - self.zone_start < how.zonerange and how.is_random:
            return False  # the region ends in this zone

    is_random = how.is_random and takes_random_turn(how, ddir)
    is_drawn = False
    if not is_random:
        is_drawn = follow(self, how, ddir, end, &offset)
        # What follows the last block of a random job is a random one.
        is_random = not is_drawn and how.is_random
        if is_random and how.sequence <= 1 and how.percentage_random[ddir] == 0:
            return False
    if is_random:
        is_drawn = jump(self, how, ddir, end, &offset)
    if not is_drawn:
        return False

    if how.is_seq_rand:
        which = 1 if is_random else 0
    room = end - offset
    drawn.length = lengths_draw(&how.length[which], room)
    if is_random and self.coverage == MAPPED:
        run = (drawn.length + how.granule - 1) // how.granule
        run = random_map_run(&self.map, (offset - self.zone_start) // how.granule, run)
        drawn.length = min(drawn.length, run * how.granule)
        random_map_take(&self.map, (offset - self.zone_start) // how.granule, run)
    self.begun[ddir] = offset
    self.position[ddir] = offset + drawn.length
    self.zone_bytes += drawn.length
    self.pass_bytes += drawn.length
    drawn.offset = self.start + offset
    return True


cdef bint takes_random_turn(manner *how, int ddir) noexcept nogil:
    """Whether a random job's next I/O goes somewhere else (rw=rand...:N, percentage_random)."""
    cdef bint is_new = True
    if how.sequence > 1:
        is_new = how.issued % <uint64_t>how.sequence == 0
        how.issued += 1
    if not is_new or how.percentage_random[ddir] >= 100:
        return is_new
    if how.percentage_random[ddir] == 0:
        return False
    return tausworthe_below(&how.turn[ddir], 100) < how.percentage_random[ddir]


cdef bint follow(course *self, const manner *how, int ddir, uint64_t end, uint64_t *offset) noexcept nogil:
    """The place behind the last I/O, or its own again, or a stride further; False when it does not fit there."""
    cdef int64_t at = <int64_t>self.position[ddir], extent = <int64_t>(end - self.zone_start)
    cdef int64_t least = <int64_t>how.length[0 if how.is_seq_rand else ddir].least
    at -= <int64_t>self.zone_start
    if how.is_random:
        if how.is_identical and how.sequence > 1:
            at = <int64_t>self.begun[ddir] - <int64_t>self.zone_start
    elif how.sequence and at:
        at += how.sequence
        if at < 0:
            at = extent + how.sequence
        elif at == extent:
            at = 0
    if at < 0 or at + least > extent:
        # A zone is gone through again until it has had its bytes; a region is not, nor is what it cuts off a zone.
        if not how.is_zoned or how.is_random or end - self.zone_start < how.zonerange:
            return False
        at = 0
    offset[0] = self.zone_start + <uint64_t>at
    return True


cdef bint jump(course *self, manner *how, int ddir, uint64_t end, uint64_t *offset) noexcept nogil:
    """A random place; False when all of them were visited."""
    cdef uint64_t unit = how.unit[ddir], least = how.granule if how.is_seq_rand else how.length[ddir].least
    cdef uint64_t extent = end - self.zone_start, count, block, granules
    if self.coverage == PERMUTED:
        if self.place == self.block_count:
            return False
        offset[0] = permuted(&self.order, self.place) * how.granule
        self.place += 1
        return True
    if self.coverage == REGISTER:
        if self.place == self.block_count:
            return False
        offset[0] = lfsr_draw(&self.register) * how.granule
        self.place += 1
        return True
    if extent < least:
        return False
    if self.coverage == MAPPED and how.is_zoned and self.map.taken == self.map.count:
        random_map_clear(&self.map)
    # The last one must have room for the shortest I/O.
    count = max(min(extent // unit, (extent - least) // unit + 1), <uint64_t>1)
    if self.shares.kind != UNIFORM:
        block = distribution_draw(&self.shares, &how.state) * how.granule // unit
        block = min(block, count - 1)
    elif how.generator == TAUSWORTHE:
        block = tausworthe_below(&how.random, count)
    elif how.generator == TAUSWORTHE64:
        block = share(tausworthe64_draw(&how.random64), count)
    elif how.generator == SHIFT_REGISTER:
        block = min(lfsr_draw(&self.register) * how.granule // unit, count - 1)
    else:
        block = random_below(&how.state, count)
    offset[0] = self.zone_start + block * unit
    if self.coverage != MAPPED:
        return True
    granules = max(least // how.granule, <uint64_t>1)
    if not find_free(self, block * unit // how.granule, unit // how.granule, granules, &block):
        return False
    offset[0] = self.zone_start + block * how.granule
    return True


cdef bint find_free(const course *self, uint64_t wanted, uint64_t step, uint64_t granules,
                    uint64_t *found) noexcept nogil:
    """The first place from the wanted one, going round, where so much is free; all in blocks of the map."""
    cdef uint64_t at = wanted, free, run
    cdef uint32_t _round
    for _round in range(2):
        while at < self.map.count:
            free = random_map_next(&self.map, at)
            if free < at or free == self.map.count:
                break
            # Up to a place where an I/O of this direction may begin.
            at = (free + step - 1) // step * step
            if at + granules > self.map.count:
                break
            run = random_map_run(&self.map, at, granules)
            if run == granules:
                found[0] = at
                return True
            at += run + 1
        at = 0
    return False

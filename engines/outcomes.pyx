"""What became of a job's writes, by their number: kept for a verify state file, or taken from one."""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from iovigil.engines.checksums cimport crc32c
from iovigil.engines.workload cimport piece

cdef enum:
    FAILED_MOST = 4096
    NO_SYNC = 0xFFFFFFFF


cdef int tally_init(tally *self, uint32_t slot_count, uint32_t file_count, uint32_t depth) except -1:
    self.vouched = <uint64_t>-1
    self.in_flight = <uint64_t *>calloc(slot_count, sizeof(uint64_t))
    self.failed = <uint64_t *>calloc(FAILED_MOST, sizeof(uint64_t))
    if self.in_flight == NULL or self.failed == NULL:
        raise MemoryError
    if file_count:
        self.completed = <uint64_t *>calloc(<uint64_t>file_count * depth, sizeof(uint64_t))
        self.completed_count = <uint64_t *>calloc(file_count, sizeof(uint64_t))
        if self.completed == NULL or self.completed_count == NULL:
            raise MemoryError
    return 0


cdef void tally_free(tally *self) noexcept nogil:
    free(self.in_flight)
    free(self.failed)
    free(self.completed)
    free(self.completed_count)


cdef class Outcomes:
    """What became of each write of a job that runs."""

    def __cinit__(self, uint32_t depth, uint32_t slot_count, uint32_t file_count, bint has_places,
                  bint is_synced_only):
        """`has_places`: keep where the last `depth` writes of each file went. Raises MemoryError."""
        self.depth = depth
        self.slot_count = slot_count
        self.file_count = file_count if has_places else 0
        self.is_synced_only = is_synced_only
        self.sync_slot = NO_SYNC
        tally_init(&self.now, slot_count, self.file_count, depth)
        if is_synced_only:
            tally_init(&self.syncing, slot_count, self.file_count, depth)
            tally_init(&self.synced, slot_count, self.file_count, depth)

    def __dealloc__(self):
        tally_free(&self.now)
        tally_free(&self.syncing)
        tally_free(&self.synced)

    cdef void issue(self, uint32_t slot) noexcept nogil:
        """The next write is about to be submitted."""
        self.now.issued += 1
        self.now.in_flight[slot] = self.now.issued

    cdef void complete(self, uint32_t slot, uint32_t file, uint64_t offset) noexcept nogil:
        cdef uint64_t *count
        self.now.in_flight[slot] = 0
        if self.file_count:
            count = &self.now.completed_count[file]
            self.now.completed[<uint64_t>file * self.depth + count[0] % self.depth] = offset
            count[0] += 1

    cdef void fail(self, uint32_t slot) noexcept nogil:
        """What this write has left behind is not known."""
        cdef uint64_t number = self.now.in_flight[slot]
        if not number:
            return
        self.now.in_flight[slot] = 0
        number -= 1
        if self.now.failed_count < <uint64_t>FAILED_MOST:
            self.now.failed[self.now.failed_count] = number
            self.now.failed_count += 1
        else:
            self.now.vouched = min(self.now.vouched, number)

    cdef void begin_sync(self, uint32_t slot) noexcept nogil:
        """A sync of everything is about to be submitted: what it makes safe is what was completed before."""
        if self.is_synced_only and self.sync_slot == <uint32_t>NO_SYNC:
            self.sync_slot = slot
            self.copy(&self.syncing, &self.now)

    cdef void end_sync(self, uint32_t slot, bint is_done) noexcept nogil:
        if self.is_synced_only and self.sync_slot == slot:
            self.sync_slot = NO_SYNC
            if is_done:
                self.copy(&self.synced, &self.syncing)

    cdef void copy(self, tally *to, const tally *what) noexcept nogil:
        to.issued = what.issued
        to.vouched = what.vouched
        to.failed_count = what.failed_count
        memcpy(to.in_flight, what.in_flight, self.slot_count * sizeof(uint64_t))
        memcpy(to.failed, what.failed, what.failed_count * sizeof(uint64_t))
        if self.file_count:
            memcpy(to.completed, what.completed, <uint64_t>self.file_count * self.depth * sizeof(uint64_t))
            memcpy(to.completed_count, what.completed_count, self.file_count * sizeof(uint64_t))

    @property
    def issued(self):
        """Writes that were submitted, whatever became of them."""
        return self.now.issued

    def numbers(self):
        """(writes there were, numbers of those in flight, numbers of those that failed), as far as is to be told."""
        cdef const tally *told = &self.synced if self.is_synced_only else &self.now
        cdef uint64_t index, count = min(told.issued, told.vouched)
        in_flight = sorted([told.in_flight[index] - 1 for index in range(self.slot_count)
                            if told.in_flight[index] and told.in_flight[index] <= count])
        failed = sorted([told.failed[index] for index in range(told.failed_count) if told.failed[index] < count])
        return count, in_flight, failed

    def places(self):
        """Pairs of (file, offset), packed: where the last writes of each file went, the last one first."""
        cdef const tally *told = &self.synced if self.is_synced_only else &self.now
        cdef uint32_t file
        cdef uint64_t back, count, at = 0
        cdef uint64_t total = 0
        for file in range(self.file_count):
            total += min(told.completed_count[file], <uint64_t>self.depth)
        packed = bytearray(total * 2 * sizeof(uint64_t))
        cdef uint64_t *pairs = <uint64_t *><char *>packed
        for file in range(self.file_count):
            count = told.completed_count[file]
            for back in range(1, min(count, <uint64_t>self.depth) + 1):
                pairs[at] = file
                pairs[at + 1] = told.completed[<uint64_t>file * self.depth + (count - back) % self.depth]
                at += 2
        return bytes(packed)


cdef class Vouched:
    """What a verify state file says of the writes that a job is to check."""

    def __dealloc__(self):
        free(self.open)
        free(self.completed)
        free(self.doubtful)

    def take(self, uint64_t count, open_numbers, const unsigned char[:] places, uint64_t depth):
        """Go by a file: `open_numbers` are of writes that were in flight or failed. Where the file has places (packed
        pairs) instead, None: of the last `depth` writes only those are known that are among them. Raises MemoryError.
        """
        cdef uint64_t index
        self.count = count
        self.has_places = open_numbers is None
        if self.has_places:
            self.window = count - min(count, depth)
            self.completed_count = <uint64_t>len(places) // (2 * sizeof(uint64_t))
            self.completed = <uint64_t *>calloc(2 * self.completed_count + 1, sizeof(uint64_t))
            if self.completed == NULL:
                raise MemoryError
            if self.completed_count:
                memcpy(self.completed, &places[0], self.completed_count * 2 * sizeof(uint64_t))
            self.room = depth
        else:
            numbers = sorted({number for number in open_numbers if number < count})
            self.open_count = self.room = len(numbers)
            self.open = <uint64_t *>calloc(self.open_count + 1, sizeof(uint64_t))
            if self.open == NULL:
                raise MemoryError
            for index in range(self.open_count):
                self.open[index] = numbers[index]
        self.doubtful = <piece *>calloc(self.room + 1, sizeof(piece))
        if self.doubtful == NULL:
            raise MemoryError
        self.is_loaded = True

    cdef bint is_open(self, const piece *drawn) noexcept nogil:
        """Whether the outcome of the next write, which goes here, is open."""
        cdef uint64_t index
        if not self.has_places:
            if self.next_open == self.open_count or self.open[self.next_open] != self.seen:
                return False
            self.next_open += 1
            return True
        if self.seen < self.window:
            return False
        for index in range(self.completed_count):
            if self.completed[2 * index] == drawn.file and self.completed[2 * index + 1] == drawn.offset:
                return False
        return True

    cdef void note(self, const piece *drawn) noexcept nogil:
        """Take in where the next write of the job went."""
        cdef uint64_t index = 0
        cdef bint is_open = self.is_open(drawn)
        cdef piece *place
        self.seen += 1
        while not is_open and index < self.doubtful_count:
            place = &self.doubtful[index]
            # Written again from end to end: what the open write has left is gone.
            if (place.file == drawn.file and place.offset >= drawn.offset
                    and place.offset + place.length <= drawn.offset + drawn.length):
                self.doubtful_count -= 1
                memmove(place, place + 1, (self.doubtful_count - index) * sizeof(piece))
            else:
                index += 1
        if is_open and self.doubtful_count < self.room:
            self.doubtful[self.doubtful_count] = drawn[0]
            self.doubtful_count += 1

    cdef bint doubts(self, const piece *drawn) noexcept nogil:
        """Whether an open write went to some of these bytes."""
        cdef uint64_t index
        cdef const piece *place
        for index in range(self.doubtful_count):
            place = &self.doubtful[index]
            if (place.file == drawn.file and place.offset < drawn.offset + drawn.length
                    and drawn.offset < place.offset + place.length):
                return True
        return False


def checksum(const unsigned char[:] data):
    """CRC-32C as verify state files hold it."""
    return crc32c(<const char *>&data[0], <unsigned int>len(data)) if len(data) else 0xFFFFFFFF

"""What this job wrote where, and whether it is still there."""

import os
import time

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from iovigil.engines.diagnosis cimport diagnose, verdict
from iovigil.engines.dumps cimport Dumps
from iovigil.engines.file_birth cimport born_ns
from iovigil.engines.findings cimport Findings
from iovigil.engines.io_u cimport IO_MIXED, IO_TRIMMED, IO_VERIFIED, WRITE
from iovigil.engines.latency cimport slot_add, slot_set
from iovigil.engines.rng cimport mix
from iovigil.engines.stats cimport Counter, Mismatch, StatsPage
from iovigil.engines.verify cimport first_not_zero, format_free, format_init, is_good_unit, stamp_unit
from iovigil.engines.write_log cimport (
    IN_FLIGHT, TRIMMED, claim, is_in_flight, next_written, unit_get, unit_set, unit_swap, units_left, write_begun,
    write_checked, write_done, write_log_attach, write_log_free, write_log_init,
)

cdef enum:
    QUEUE_MOST = 1 << 20  # stretches; what does not fit is left to the last check


cdef int queue_init(stretch_queue *self, uint64_t size) except -1:
    self.places = <stretch *>calloc(size, sizeof(stretch))
    if self.places == NULL:
        raise MemoryError
    self.size = size
    return 0


cdef inline void queue_put(stretch_queue *self, uint64_t first, uint64_t count, uint64_t generation) noexcept nogil:
    self.places[self.given % self.size] = stretch(first, count, generation)
    self.given += 1
    if self.given - self.taken > self.size:
        self.taken += 1


cdef inline bint queue_take(stretch_queue *self, uint64_t backlog, uint64_t batch, stretch *taken) noexcept nogil:
    """The oldest stretch, once `backlog` have come together, and then `batch` of them one after the other."""
    if not self.batch_left and self.given - self.taken >= backlog:
        self.batch_left = batch
    if not self.batch_left or self.taken == self.given:
        self.batch_left = 0
        return False
    taken[0] = self.places[self.taken % self.size]
    self.taken += 1
    self.batch_left -= 1
    return True


cdef class Integrity:
    """The write log of a job, the headers of its blocks, and the judgement on blocks read."""

    def __cinit__(self, StatsPage stats not None, TargetFiles targets not None, dict options not None,
                  uint32_t number, uint64_t seed, uint64_t interval, uint64_t max_bs, shared_log=None):
        """`interval` is the length under one header, `max_bs` that of a buffer.

        `shared_log` is (descriptor, nonce, ns since the epoch, place, sharers, UUIDs of regions) of a log that outlives
        this job, or that others have as well. Raises MemoryError.
        """
        cdef uint32_t file
        cdef uint64_t units = 0
        direction, writes = options["direction"], options["does_write"]
        self.page = stats.page
        self.targets = targets
        self.is_checked = options["verify"] != "none"
        self.is_logged = self.is_checked and writes
        self.is_expecting = self.is_logged and not options["verify_only"]
        if not self.is_checked:
            return
        # One header for each of the shortest I/Os where their lengths differ, as fio.
        reads, written, _ = options["lengths"]
        used = ([written] if writes else []) + ([reads] if direction not in ("write", "randwrite") else [])
        is_even = all(least == most == used[0][0] for least, most in used)
        fd, nonce, begun_ns, place, sharers, lives = shared_log or (
            -1, time.time_ns() ^ os.getpid(), time.time_ns(), 0, 1, b"")
        format_init(&self.form, options, mix(<uint64_t>nonce), <uint64_t>begun_ns, <unsigned short>number)
        self.interval = interval if options["verify_interval"] or not is_even else 0
        self.max_bs = max_bs
        self.scratch = <char *>calloc(1, self.max_bs)
        if self.scratch == NULL:
            raise MemoryError
        self.findings = Findings(stats, Dumps(options, targets))
        if not writes:
            return
        self.unit = interval
        self.first_unit = <uint64_t *>calloc(targets.count + 1, sizeof(uint64_t))
        if self.first_unit == NULL:
            raise MemoryError
        for file in range(targets.count):
            units += (targets.files[file].length + self.unit - 1) // self.unit
            self.first_unit[file + 1] = units
        if fd < 0:
            if write_log_init(&self.log, units):
                raise MemoryError
        elif write_log_attach(&self.log, fd, units, self.identity(lives), place, sharers):
            raise MemoryError
        slot_set(&self.page.inherited_bytes, self.unverified_bytes())
        self.is_shared = sharers > 1
        self.is_whole = self.form.pattern.length != 0
        self.verify_backlog = options["verify_backlog"] if options["do_verify"] else 0
        self.verify_batch = options["verify_backlog_batch"] or self.verify_backlog
        if self.verify_backlog:
            queue_init(&self.unchecked, min(self.verify_backlog + options["iodepth"] + units, <uint64_t>QUEUE_MOST))
        self.trim_backlog = options["trim_backlog"] if options["trim_percentage"] else 0
        self.trim_batch = options["trim_backlog_batch"] or self.trim_backlog
        self.trim_share = (<uint64_t>options["trim_percentage"] << 32) // 100
        self.expects_zeroes = options["trim_verify_zero"]
        self.seed = mix(seed)
        if self.trim_backlog:
            queue_init(&self.untrimmed, min(self.trim_backlog + options["iodepth"] + units, <uint64_t>QUEUE_MOST))

    def __dealloc__(self):
        write_log_free(&self.log)
        format_free(&self.form)
        free(self.first_unit)
        free(self.scratch)
        free(self.unchecked.places)
        free(self.untrimmed.places)

    cdef uint64_t unit_of(self, uint32_t file, uint64_t offset) noexcept nogil:
        return self.first_unit[file] + (offset - self.targets.files[file].start) // self.unit

    cdef void place_of(self, uint64_t unit, piece *drawn) noexcept nogil:
        drawn.file = 0
        while unit >= self.first_unit[drawn.file + 1]:
            drawn.file += 1
        drawn.offset = self.targets.files[drawn.file].start + (unit - self.first_unit[drawn.file]) * self.unit

    cdef uint64_t identity(self, bytes lives) except? 0:
        """What tells the units of these files from those of others, by a number."""
        cdef uint64_t known = mix(self.unit)
        cdef uint32_t file
        for byte in lives:  # a region that was given up and claimed again is another
            known = mix(known ^ <uint64_t>byte)
        for file in range(self.targets.count):
            status = os.fstat(self.targets.files[file].fd) if self.targets.files[file].fd >= 0 else None
            # A file that is made anew may well get the inode of the one before.
            for part in (status and status.st_dev, status and status.st_rdev, status and status.st_ino,
                         status and born_ns(self.targets.files[file].fd),
                         self.targets.files[file].start, self.targets.files[file].length):
                known = mix(known ^ <uint64_t>(part or 0))
        return known

    cdef bint is_taken(self, const piece *drawn) noexcept nogil:
        """Whether a write or trim under way touches the same units: which of two would last is not known.

        Where other jobs may want them, units that are not taken are this job's from now on: `begin` follows.
        """
        cdef uint64_t first, count
        if not self.is_logged:
            return False
        first = self.unit_of(drawn.file, drawn.offset)
        count = (drawn.length + self.unit - 1) // self.unit
        if self.is_shared:
            return not claim(&self.log, first, count)
        return is_in_flight(&self.log, first, count)

    cdef void begin(self, io_u *io, bint is_dry) noexcept nogil:
        """Book a write or trim that is about to be issued, and stamp the blocks to write; `is_dry` only books."""
        cdef uint64_t first = self.unit_of(io.file, io.offset), unit, at = 0, length = self.interval or io.block_length
        cdef uint64_t count = (io.block_length + self.unit - 1) // self.unit
        if self.is_whole:
            self.cut_off(first, count)
        if io.ddir != WRITE:
            for unit in range(first, first + count):
                unit_set(&self.log.units[unit], unit_get(&self.log.units[unit]) | IN_FLIGHT)
            # What was never written is checked too: it must read as zeroes.
            self.log.end = max(self.log.end, first + count)
            return
        io.numberio = write_begun(&self.log, first, count)
        while at < io.block_length and not is_dry:
            stamp_unit(&self.form, io.buf + at, <uint32_t>length, io.offset + at, at, io.numberio)
            at += length

    cdef void cut_off(self, uint64_t first, uint64_t count) noexcept nogil:
        """Forget what is left on either side of blocks that a write or trim is about to cover in part."""
        cdef uint64_t *units = self.log.units
        # Where others may want them, units that are about to be written are marked so by now.
        cdef uint64_t unit = first, kept = unit_get(&units[first]) & ~IN_FLIGHT
        while kept and not kept & TRIMMED and unit and unit_swap(&units[unit - 1], kept, 0):
            unit -= 1
        unit = first + count
        kept = unit_get(&units[unit - 1]) & ~IN_FLIGHT
        while kept and not kept & TRIMMED and unit < self.log.count and unit_swap(&units[unit], kept, 0):
            unit += 1

    cdef void finish(self, const io_u *io, uint64_t generation) noexcept nogil:
        """Book how a write has ended; generation 0 is a failure: what the blocks hold is unknown, and not checked."""
        cdef uint64_t done = io.block_length - io.length, first = self.unit_of(io.file, io.offset - done)
        cdef uint64_t count = (io.block_length + self.unit - 1) // self.unit
        write_done(&self.log, first, count, generation)
        if not generation:
            return
        # By generation, not by the order in which writes end: verify_only has to choose the same.
        if self.trim_backlog and mix(self.seed + generation) >> 32 < self.trim_share:
            queue_put(&self.untrimmed, first, count, generation)
        elif self.verify_backlog:
            queue_put(&self.unchecked, first, count, generation)

    cdef void trimmed(self, const io_u *io) noexcept nogil:
        """Book a trim that has ended."""
        cdef uint64_t first = self.unit_of(io.file, io.offset)
        cdef uint64_t count = (io.block_length + self.unit - 1) // self.unit
        cdef uint64_t generation = self.log.generation | TRIMMED if self.expects_zeroes else 0
        write_done(&self.log, first, count, generation)
        if self.expects_zeroes and self.verify_backlog:
            queue_put(&self.unchecked, first, count, generation)

    cdef bint next_unchecked(self, piece *drawn, uint64_t *generation, bint *is_trimmed) noexcept nogil:
        """The next stretch of one generation, in order of offset."""
        cdef uint64_t unit = self.log.next_check, most
        if not next_written(&self.log, &unit, generation):
            self.log.next_check = self.log.end
            return False
        self.place_of(unit, drawn)
        drawn.length = 0
        most = self.first_unit[drawn.file + 1]
        # One header an I/O: the unit is the I/O. Else as much as fits of what was written together.
        while True:
            drawn.length += <uint32_t>self.unit
            unit += 1
            if (drawn.length + self.unit > self.max_bs or unit == most
                    or unit_get(&self.log.units[unit]) != generation[0]):
                break
        self.log.next_check = unit
        is_trimmed[0] = (generation[0] & TRIMMED) != 0
        generation[0] &= ~TRIMMED
        return True

    cdef bint holds(self, uint64_t first, uint64_t count, uint64_t generation) noexcept nogil:
        """Whether all of these units hold one generation; what was partly written again is left to the last check."""
        cdef uint64_t unit
        for unit in range(first, first + count):
            if unit_get(&self.log.units[unit]) != generation:
                return False
        return True

    cdef bint next_backlog(self, piece *drawn, uint64_t *generation, bint *is_trimmed) noexcept nogil:
        """The next stretch that verify_backlog wants to see again now."""
        cdef stretch place
        while queue_take(&self.unchecked, self.verify_backlog, self.verify_batch, &place):
            if self.holds(place.first, place.count, place.generation):
                self.place_of(place.first, drawn)
                drawn.length = <uint32_t>(place.count * self.unit)
                is_trimmed[0] = (place.generation & TRIMMED) != 0
                generation[0] = place.generation & ~TRIMMED
                return True
        return False

    cdef bint next_trim(self, bint is_last, piece *drawn) noexcept nogil:
        """The next stretch to trim now; `is_last`: whatever is left."""
        cdef stretch place
        while queue_take(&self.untrimmed, 1 if is_last else self.trim_backlog, self.trim_batch, &place):
            if self.holds(place.first, place.count, place.generation):
                if self.is_shared and not claim(&self.log, place.first, place.count):
                    continue
                self.place_of(place.first, drawn)
                drawn.length = <uint32_t>(place.count * self.unit)
                return True
        return False

    cdef bint admit(self, const io_u *io) noexcept nogil:
        """Whether a block that was read is still to be judged; it is then off the list, and counts as checked."""
        if io.flags & IO_MIXED:
            return True  # counted when it is checked for good
        # Where it was written again meanwhile, that write will be checked.
        if self.is_logged and not write_checked(
                &self.log, self.unit_of(io.file, io.offset), (io.block_length + self.unit - 1) // self.unit,
                io.numberio | (TRIMMED if io.flags & IO_TRIMMED else 0)):
            return False
        slot_add(&self.page.counter[<int>Counter.VERIFIED_BYTES][0], io.block_length)
        return True

    cdef bint is_good(self, io_u *io, char *scratch) noexcept nogil:
        """Whether a block that was read is as it should be. For any thread; `scratch` has room for a block."""
        cdef uint64_t at = 0, length = self.interval or io.block_length
        while at < io.block_length:
            if io.flags & IO_TRIMMED:
                if first_not_zero(io.buf + at, <uint32_t>length) >= 0:
                    return False
            elif not self.is_left_out(io, at) and not is_good_unit(
                    &self.form, io.buf + at, <uint32_t>length, io.offset + at, at, self.expected(io, at), scratch):
                return False
            at += length
        return True

    cdef void judge(self, io_u *io) noexcept nogil:
        """Put everything that is wrong with a block on the page."""
        cdef verdict answer
        cdef uint64_t at = 0, length = self.interval or io.block_length
        while at < io.block_length:
            if io.flags & IO_TRIMMED:
                answer.first_byte = first_not_zero(io.buf + at, <uint32_t>length)
                if answer.first_byte >= 0:
                    answer.kind = Mismatch.STALE
                    answer.found = 0
                    answer.wrong_bits = answer.found_offset = -1
                    answer.is_expected_known = True
                    memset(self.scratch, 0, length)
                    self.findings.put(io, at, length, &answer, self.expected(io, at), self.scratch)
            elif not self.is_left_out(io, at) and not is_good_unit(
                    &self.form, io.buf + at, <uint32_t>length, io.offset + at, at, self.expected(io, at),
                    self.scratch):
                answer = diagnose(&self.form, io.buf + at, <uint32_t>length, io.offset + at, at, self.expected(io, at),
                                  self.scratch)
                self.findings.put(io, at, length, &answer, self.expected(io, at), self.scratch)
            at += length

    cdef void watch(self, io_u *io) noexcept nogil:
        """Have a read among writes judged, if it can be: by the last write that had begun before it."""
        cdef uint64_t count = (io.block_length + self.unit - 1) // self.unit
        # Where a block began that is judged as a whole, the log does not say.
        if self.is_whole or self.is_shared:
            return
        if not is_in_flight(&self.log, self.unit_of(io.file, io.offset), count):
            io.numberio = self.log.generation
            io.flags |= IO_VERIFIED | IO_MIXED

    cdef inline uint64_t expected(self, const io_u *io, uint64_t at) noexcept nogil:
        """The generation a unit must have; 0 where that is not known."""
        if not self.is_expecting:
            return 0
        if io.flags & IO_MIXED:
            return unit_get(&self.log.units[self.unit_of(io.file, io.offset + at)])
        return io.numberio

    cdef inline bint is_left_out(self, const io_u *io, uint64_t at) noexcept nogil:
        """Whether a unit read among writes cannot be judged: not written by this run, trimmed, or again since."""
        cdef uint64_t found
        if not io.flags & IO_MIXED:
            return False
        found = unit_get(&self.log.units[self.unit_of(io.file, io.offset + at)])
        return not found or found > io.numberio

    cdef void start_check(self) noexcept nogil:
        self.log.next_check = 0

    cdef void end_check(self) noexcept nogil:
        """What verify_backlog and trim_backlog had still to come is over: the check has seen it, or the next will."""
        self.unchecked.taken = self.unchecked.given
        self.untrimmed.taken = self.untrimmed.given
        self.unchecked.batch_left = self.untrimmed.batch_left = 0

    cdef bint has_unverified(self) noexcept nogil:
        cdef uint64_t unit = 0, generation
        return self.is_logged and next_written(&self.log, &unit, &generation)

    cdef uint64_t unverified_bytes(self) noexcept nogil:
        """How much of what was written has not been read back."""
        return units_left(&self.log) * self.unit

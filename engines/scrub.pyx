"""A scrub: what of its region comes next, what each block must hold, and where it stands.

The cursor goes over the region in windows. The state says which window is under way before anything of it is written;
what was written in it is flushed before the state says that the cursor has passed it. Outside of the window that the
state names, every block is therefore as the arithmetic of scrub_plan has it, after any kill and any loss of power.
(docs/adr/0010)
"""

import mmap
import os
import time

from libc.errno cimport EILSEQ, EIO
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from iovigil.engines.diagnosis cimport diagnose, verdict
from iovigil.engines.dumps cimport Dumps
from iovigil.engines.file_birth cimport born_ns
from iovigil.engines.findings cimport Findings
from iovigil.engines.io_u cimport DATASYNC, READ, WRITE
from iovigil.engines.latency cimport slot_add, slot_set
from iovigil.engines.scrub_plan cimport generation_of, is_due
from iovigil.engines.scrub_state cimport EXCEPTIONS_MOST, IDENTITY_SIZE, STRETCH_COUNT, scrub_record
from iovigil.engines.stats cimport Counter, Mismatch
from iovigil.engines.verify cimport (
    HEADER_MOST, LABEL_SIZE, format_free, format_init, header_size_of, is_good_unit, stamp_unit,
)

from iovigil.engines.setup_error import SetupError

cdef extern from "<errno.h>" nogil:
    int EREMOTEIO
    int ENODATA
    int EUCLEAN

cdef enum:
    SECTOR = 512
    # Failed I/Os of one run: the run ends with the window in which there are as many, the next begins behind it.
    ERRORS_MOST = 64

cdef dict FORMAT = {
    "verify": "crc32c",
    "verify_header": "fio-3.41",  # the one with room for any generation
    "verify_offset": 0,
    "verify_pattern": (b"", ()),
    "verify_pattern_interval": 0,
}


cdef dict labels_of(str identity):
    """What a disk says of itself, by the names of it: lines of label=value."""
    return dict([line.split("=", 1) for line in identity.splitlines() if "=" in line])


cdef str spelt(dict labels):
    return ", ".join([f"{label} {value}" for label, value in labels.items()])


cdef uint64_t unix_now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint64_t>now.tv_sec


cdef class Scrub:
    """The scrub of one region, in windows: read and checked, some of it written anew, flushed, booked."""

    def __cinit__(self, StatsPage stats not None, TargetFiles targets not None, dict order not None,
                  uint32_t block_bytes, Dumps dumps not None):
        """`order` has the descriptor and path of the state, the disk's identity, and the pace; `dumps` says where bad
        blocks are to be written down. Raises SetupError.
        """
        cdef uint64_t length = targets.files[0].length, inode = 0, born = 0
        self.page = stats.page
        self.findings = Findings(stats, dumps)
        self.notes = []
        self.path = order["state_path"]
        self.state = ScrubState(order["state_fd"])
        self.block_bytes = block_bytes
        self.fd = targets.files[0].fd
        self.is_device = targets.files[0].is_device
        self.start = targets.files[0].start
        self.blocks = length // block_bytes
        self.n = order["n"]
        self.period_s = order["period_s"]
        self.every_s = order["every_s"]
        self.cycles_left = order["cycles"] or <uint64_t>-1
        self.window_most = max(min(<uint64_t>order["window_bytes"] // block_bytes, self.blocks), <uint64_t>1)
        self.scratch[0] = <char *>malloc(block_bytes)
        self.scratch[1] = <char *>malloc(block_bytes)
        if self.fd >= 0 and not targets.files[0].is_device:
            inode = os.fstat(self.fd).st_ino
            born = born_ns(self.fd)
        elif order.get("region_uuid"):
            inode = int.from_bytes(order["region_uuid"][:8], "little")
            born = int.from_bytes(order["region_uuid"][8:16], "little")
        try:
            self.adopt(order["identity"], inode, born, length, <uint64_t>time.time())
        except OSError as error:
            raise SetupError(f"scrub: {self.path}: {error.strerror}: the state of the scrub has to be kept there"
                             ) from None
        # The same time for every write of a region's life: a block that the power cut is compared whole with what it
        # was to be.
        format_init(&self.form, FORMAT, self.state.record.nonce, 1000000000 * self.state.record.created_unix, 1)
        self.form.is_labelled = True
        memcpy(self.form.label, self.state.record.region_id, LABEL_SIZE)
        self.is_in_doubt = self.state.record.window_end > self.state.record.cursor
        self.marks = <uint8_t *>malloc(max(self.window_most, self.state.record.window_end - self.state.record.cursor))
        if self.scratch[0] == NULL or self.scratch[1] == NULL or self.marks == NULL:
            raise MemoryError
        self.tell()

    def __dealloc__(self):
        format_free(&self.form)
        free(self.scratch[0])
        free(self.scratch[1])
        free(self.marks)

    cdef adopt(self, identity, uint64_t inode, uint64_t born, uint64_t length, uint64_t now):
        """Go on where the state says, or begin the region anew where it is of another one. Raises OSError."""
        cdef scrub_record *record = &self.state.record
        cdef bytes random
        trouble = self.state.load()
        # A disk may tell less of itself at one time than at another: right after a boot, say.
        told, known = labels_of(identity), labels_of((<bytes>record.identity).decode(errors="replace"))
        reason = None
        if trouble is not None:
            # Where neither a state nor a scrubbed region is there, nobody has lost anything.
            reason = f"{self.path} {trouble}" if trouble == "is damaged" or self.is_inhabited() else ""
        elif (inode, born) != (record.inode, record.born_ns):
            reason = ("the region is not the one that was scrubbed: it has been claimed anew" if self.is_device else
                      "the probe file is not the one that was scrubbed: it has been made anew")
        elif any([known.get(label, value) != value for label, value in told.items()]):
            reason = f"the disk is {spelt(told)}, and was {spelt(known)}"
        elif (record.start, record.length, record.block_bytes) != (self.start, length, self.block_bytes):
            reason = (f"the region was {record.length} bytes from {record.start} in blocks of {record.block_bytes}, "
                      f"and is {length} from {self.start} in blocks of {self.block_bytes}")
        if reason is None:
            self.keep_identity({**known, **told})
            if record.planned_unix > now + <uint64_t>max(self.every_s, <int64_t>1):
                record.planned_unix = now  # the clock was ahead when that was written
            if record.plan.n != self.n:
                self.notes.append(
                    f"scrub: rewrite was one block in {record.plan.n} and is one in {self.n}: "
                    "the next cycle will write every block, and the new share holds from there on")
            return
        if reason:
            self.notes.append(f"scrub: {reason}; the region is written anew, whatever it holds")
        sequence = record.sequence
        memset(record, 0, sizeof(scrub_record))
        random = os.urandom(32)
        record.sequence = sequence
        memcpy(record.region_id, <const char *>random, 16)
        memcpy(&record.nonce, <const char *>random + 16, 8)
        memcpy(&record.plan.key, <const char *>random + 24, 8)
        record.inode, record.born_ns = inode, born
        self.keep_identity(told)
        record.start, record.length, record.block_bytes = self.start, length, self.block_bytes
        record.plan.n = self.n
        record.plan.base = record.cycle = 1
        record.created_unix = record.planned_unix = record.begun_unix = record.oldest_unix = now
        # A state that did not get this far is as good as none: nothing of this life is on the disk yet.
        error = self.state.save()
        if error:
            raise OSError(-error, os.strerror(-error))

    cdef keep_identity(self, dict labels):
        cdef bytes text = "\n".join([f"{label}={value}" for label, value in labels.items()]).encode()
        memset(self.state.record.identity, 0, IDENTITY_SIZE)
        memcpy(self.state.record.identity, <const char *>text, min(len(text), <size_t>IDENTITY_SIZE - 1))

    cdef bint is_inhabited(self):
        """Whether the first block of the region is a verified one: of an earlier scrub, most likely."""
        if self.fd < 0:
            return False
        with mmap.mmap(-1, self.block_bytes) as block:  # aligned as direct I/O wants it
            try:
                os.preadv(self.fd, [block], self.start)
            except OSError:
                return False  # the scrub will see to it
            found = block[:HEADER_MOST]
        return header_size_of(<const char *><bytes>found) != 0

    cdef inline uint64_t block_at(self, uint64_t offset) noexcept nogil:
        return (offset - self.start) // self.block_bytes

    cdef inline uint64_t expected(self, uint64_t block) noexcept nogil:
        return generation_of(&self.state.record.plan, self.state.record.cycle, block, False)

    cdef inline uint8_t *mark(self, uint64_t block) noexcept nogil:
        return &self.marks[block - self.state.record.cursor]

    cdef bint next_piece(self, piece *drawn, int *ddir) noexcept nogil:
        """The next I/O of the stage; False when it has no more."""
        cdef const scrub_record *record = &self.state.record
        drawn.file = 0
        drawn.length = self.block_bytes
        if self.stage == FLUSHING:
            if not self.has_written:
                return False
            self.has_written = False
            ddir[0] = DATASYNC
            drawn.offset = self.start
            drawn.length = 0
            return True
        while self.next < self.end:
            if self.stage == READING:
                if not self.mark(self.next)[0]:
                    ddir[0] = READ
                    break
            elif self.mark(self.next)[0] or is_due(&record.plan, record.cycle, self.next):
                ddir[0] = WRITE
                self.has_written = True
                break
            self.next += 1
        else:
            return False
        drawn.offset = self.start + self.next * self.block_bytes
        self.next += 1
        return True

    cdef void stamp(self, io_u *io) noexcept nogil:
        """Make the contents of a block to write: what the plan wants there once the cursor has passed."""
        cdef const scrub_record *record = &self.state.record
        io.numberio = generation_of(&record.plan, record.cycle, self.block_at(io.offset), True)
        stamp_unit(&self.form, io.buf, io.length, io.offset, 0, io.numberio)

    cdef void check(self, io_u *io) noexcept nogil:
        """Judge a block that was read; what is wrong is counted, and written again in this window."""
        cdef const scrub_record *record = &self.state.record
        cdef uint64_t block = self.block_at(io.offset), expected = self.expected(block), also = 0
        cdef verdict answer
        slot_add(&self.page.counter[<int>Counter.VERIFIED_BYTES][0], io.block_length)
        if is_good_unit(&self.form, io.buf, io.block_length, io.offset, 0, expected, self.scratch[0]):
            return
        if self.is_in_doubt and is_due(&record.plan, record.cycle, block):
            also = record.cycle
            if is_good_unit(&self.form, io.buf, io.block_length, io.offset, 0, also, self.scratch[0]):
                return
            if self.is_mix(io.buf, io.offset, expected, also):
                return
        answer = diagnose(&self.form, io.buf, io.block_length, io.offset, 0, expected, self.scratch[0])
        if answer.kind == <int>Mismatch.STALE and answer.found > max(expected, also):
            if not self.is_newer:
                self.is_newer = True
                self.newer_offset = io.offset
                self.newer_found = answer.found
                self.newer_expected = max(expected, also)
            return
        self.mark(block)[0] |= <int>MARK_REWRITE
        self.has_found = True
        self.findings.put(io, 0, io.block_length, &answer, expected, self.scratch[0])

    cdef bint is_mix(self, const char *block, uint64_t offset, uint64_t older, uint64_t newer) noexcept nogil:
        """Whether every sector is of one of two generations: a write that the power cut."""
        cdef uint32_t at = 0, length
        stamp_unit(&self.form, self.scratch[0], self.block_bytes, offset, 0, older)
        stamp_unit(&self.form, self.scratch[1], self.block_bytes, offset, 0, newer)
        while at < self.block_bytes:
            length = min(<uint32_t>SECTOR, self.block_bytes - at)
            if memcmp(block + at, self.scratch[0] + at, length) and memcmp(block + at, self.scratch[1] + at, length):
                return False
            at += length
        return True

    cdef bint failed(self, const io_u *io, int error) noexcept nogil:
        """Book an I/O that returned an error. False: the disk has said more than that these sectors are bad."""
        cdef uint8_t *mark
        if io.ddir > WRITE or error not in (EIO, ENODATA, EILSEQ, EREMOTEIO, EUCLEAN):
            return False
        if not self.errors:
            self.failed_error, self.failed_ddir, self.failed_offset = error, io.ddir, io.offset
        self.errors += 1
        mark = self.mark(self.block_at(io.offset))
        if io.ddir == READ:
            mark[0] |= <int>MARK_REWRITE  # a disk may mend a sector when it is written
            self.has_found = True
        else:
            mark[0] |= <int>MARK_FAILED
        return True

    cdef void wind_down(self, bint at_once) noexcept nogil:
        """Make an end of the window where it stands; `at_once`: without the writes that are still to come."""
        cdef uint64_t block
        if self.stage == READING:
            self.end = min(self.end, self.next)
            if at_once:
                # What was read stays read as far as nothing of it is to be written.
                for block in range(self.state.record.cursor, self.end):
                    if self.mark(block)[0] or is_due(&self.state.record.plan, self.state.record.cycle, block):
                        self.end = block
                        break
        elif self.stage == WRITING and (at_once or (not self.is_stopping and not self.expected(self.next))):
            # Of the first cycle every window is all writes: as many as were made are enough.
            self.end = min(self.end, self.next)
        self.is_stopping = True

    cdef bint go_on(self) noexcept nogil:
        """The stage is done, and nothing in flight: begin the next. False when the run is over."""
        cdef uint64_t block
        cdef const scrub_record *record = &self.state.record
        if self.error or self.is_newer or self.is_given_up or self.stage == SCRUB_OVER:
            return False
        if self.stage == OPENING:
            if self.is_stopping or (not self.is_in_doubt and record.cursor >= self.goal(unix_now())):
                self.stage = SCRUB_OVER
                return False
            return self.open_window()
        if self.stage == READING:
            if self.has_found:
                # Once in the state they are not judged again, should this run not come to write them.
                for block in range(record.cursor, self.next):
                    if self.mark(block)[0]:
                        self.state.add_exception(block)
                self.has_found = False
                if not self.save():
                    return False
            self.stage = WRITING
            self.next = record.cursor
            return True
        if self.stage == WRITING:
            self.stage = FLUSHING
            return True
        return self.close_window()

    cdef bint open_window(self) noexcept nogil:
        """Say in the state what is under way from now on."""
        cdef scrub_record *record = &self.state.record
        cdef uint64_t index
        if not self.is_in_doubt:
            # No further than what is due now: a window may be much longer than what a run has to do.
            record.window_end = min(record.cursor + self.window_most, self.blocks,
                                    max(self.goal(unix_now()), record.cursor + 1))
        self.end = record.window_end
        self.next = record.cursor
        memset(self.marks, 0, self.end - record.cursor)
        for index in range(record.exception_count):
            if record.cursor <= record.exceptions[index] < self.end:
                self.mark(record.exceptions[index])[0] = <int>MARK_REWRITE
        # What nothing is known of is not read either.
        self.stage = READING if self.expected(record.cursor) else WRITING
        return self.save()

    cdef bint close_window(self) noexcept nogil:
        """The window is on the medium, as far as it has come: the cursor passes it, and the next is opened."""
        cdef scrub_record *record = &self.state.record
        cdef uint64_t index = 0, block, now = unix_now()
        while index < record.exception_count:
            block = record.exceptions[index]
            if record.cursor <= block < self.end and not self.mark(block)[0] & <int>MARK_FAILED:
                record.exception_count -= 1
                record.exceptions[index] = record.exceptions[record.exception_count]
            else:
                index += 1
        for block in range(record.cursor, self.end):
            if self.mark(block)[0] & <int>MARK_FAILED:
                self.state.add_exception(block)
        if self.end == record.window_end:
            self.is_in_doubt = False
        self.pass_to(self.end, now)
        if not self.is_stopping and self.errors < <uint64_t>ERRORS_MOST and self.cycles_left and (
                record.cursor < self.goal(now)):
            return self.open_window()
        if not self.is_in_doubt:
            record.window_end = record.cursor
        self.stage = SCRUB_OVER
        self.save()
        return False

    cdef void pass_to(self, uint64_t cursor, uint64_t now) noexcept nogil:
        """Book that the cursor has come so far, into the next cycle where this one is complete."""
        cdef scrub_record *record = &self.state.record
        cdef uint64_t index, border
        for index in range(<uint64_t>STRETCH_COUNT):
            border = (index + 1) * self.blocks // STRETCH_COUNT
            if record.cursor < border <= cursor:
                if record.cycle > 1:
                    record.oldest_unix = record.passed_unix[index]
                record.passed_unix[index] = now
        record.cursor = cursor
        if cursor < self.blocks:
            return
        record.oldest_unix = record.begun_unix
        record.last_begun_unix = record.begun_unix
        record.last_ended_unix = now
        record.cycles_completed += 1
        record.begun_unix = now
        # The next cycle is one period after this one was meant to begin, however early this one is done.
        if record.cycle > 1 and self.period_s:
            record.planned_unix = max(record.planned_unix + <uint64_t>(self.period_s - self.every_s), now)
        else:
            record.planned_unix = now
        record.cursor = 0
        record.cycle += 1
        self.cycles_left -= 1
        if record.plan.n != self.n:
            record.plan.before_n = record.plan.n
            record.plan.before_base = record.plan.base
            record.plan.n = self.n
            record.plan.base = record.cycle

    cdef uint64_t goal(self, uint64_t now) noexcept nogil:
        """How far the cursor is to be in this cycle before the next run."""
        cdef const scrub_record *record = &self.state.record
        cdef double share
        if not self.period_s or record.cycle == 1:
            return <uint64_t>-1
        # A block is read at some time in its run, which begins at some time in its interval: one interval is kept.
        share = <double>(<int64_t>(now - record.planned_unix) + self.every_s) / <double>(self.period_s - self.every_s)
        return <uint64_t>(max(min(share, 1.0), 0.0) * <double>self.blocks + 0.5)

    cdef bint save(self) noexcept nogil:
        cdef int error = self.state.save()
        self.tell()
        if error:
            self.error = -error
            self.stage = SCRUB_OVER
        return not error

    cdef void tell(self) noexcept nogil:
        """Put where the scrub stands on the page."""
        cdef const scrub_record *record = &self.state.record
        slot_set(&self.page.scrub.region_bytes, self.blocks * self.block_bytes)
        slot_set(&self.page.scrub.cursor_bytes, record.cursor * self.block_bytes)
        slot_set(&self.page.scrub.cycle, record.cycle)
        slot_set(&self.page.scrub.cycle_begun_unix, record.begun_unix)
        slot_set(&self.page.scrub.cycles_completed, record.cycles_completed)
        slot_set(&self.page.scrub.last_ended_unix, record.last_ended_unix)
        slot_set(&self.page.scrub.oldest_unix, record.oldest_unix)
        slot_set(&self.page.scrub.unknown_blocks, record.exception_count)

    cdef sum_up(self, str error):
        """Note what people should know of the run that is over, beside its error."""
        trouble = self.trouble()
        if trouble is not None and trouble != error:
            self.notes.append(trouble)  # where there is corruption as well, that is the run's error
        if self.state.exceptions_lost:
            self.notes.append(
                f"scrub: {self.state.exceptions_lost} more blocks could not be written, and {self.path} has no room "
                f"beside the {EXCEPTIONS_MOST} that it knows: the next cycle will report what these hold as corruption")

    cdef str trouble(self):
        """Why the scrub could not go on, for people; None where it could."""
        if self.error:
            return (f"scrub: {self.path}: {os.strerror(self.error)}: the state of the scrub has to be kept there, "
                    "and the run ended without it")
        if self.is_newer:
            return (f"scrub: the block at offset {self.newer_offset} is of generation {self.newer_found}, newer than "
                    f"{self.newer_expected}, the newest that {self.path} knows: that state is older than the disk, a "
                    "backup perhaps; remove it, and the region is written anew")
        return None

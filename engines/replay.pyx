"""A recorded log as the job's workload: what comes next, and when it is due."""

from libc.stdlib cimport free, realloc

from iovigil.engines.io_u cimport READ, TRIM, WRITE

from iovigil.engines.iolog_text import IologError, steps

cdef enum:
    # A trim may be of a whole disk, but the length of an I/O has 32 bits.
    LONGEST_TRIM = 1 << 30
    NEVER_NS = 0x4000000000000000


cdef class Replay:
    """The I/Os of read_iolog, in its order and at its times.

    Read once, at set-up, into 24 bytes each. `rewind` starts a pass, `next` is asked until `is_over`.
    """

    def __init__(self, options, names, sizes):
        """Raises IologError, OSError or MemoryError.

        `names` are those of the job's files in their order, None where all goes to the first (replay_redirect); `sizes`
        are how far into each the job may go, 0 for no bound. The log is held against them once more: it may not be
        the one that the guard saw.
        """
        cdef uint64_t line, due_us, offset, length, part
        cdef int ddir
        path = options["read_iolog"]
        self.is_timed = not options["replay_no_stall"]
        self.ns_per_us = 1000 * 100 / options["replay_time_scale"]
        places = None if names is None else {name: place for place, name in enumerate(names)}
        for line, due_us, name, ddir, offset, length in steps(
            path, options["replay_skip"], options["replay_scale"], options["replay_align"]
        ):
            place = 0 if places is None else places.get(name, -1)
            if place < 0:
                raise IologError(f"{path}:{line}: {name!r} is none of the job's files")
            if sizes[place] and offset + length > sizes[place]:
                raise IologError(
                    f"{path}:{line}: offset {offset} + length {length} is beyond the {sizes[place]} bytes of "
                    f"{name if places is not None else 'the target'}; set replay_scale or replay_skip"
                )
            self.total_bytes += length
            while ddir == TRIM and length > LONGEST_TRIM:
                self.append(due_us, place, <uint8_t>ddir, offset, LONGEST_TRIM)
                offset += LONGEST_TRIM
                length -= LONGEST_TRIM
            self.append(due_us, place, <uint8_t>ddir, offset, <uint32_t>length)
            if ddir == READ or ddir == WRITE:
                part = self.shortest
                self.shortest = <uint32_t>(min(part, length) if part else length)
                self.longest = <uint32_t>max(<uint64_t>self.longest, length)
            self.does_read = self.does_read or ddir == READ
            self.does_write = self.does_write or ddir == WRITE
            self.does_trim = self.does_trim or ddir == TRIM
        if not self.count:
            raise IologError(f"{path}: nothing to replay")

    def __dealloc__(self):
        free(self.steps)

    cdef int append(self, uint64_t due_us, uint16_t file, uint8_t ddir, uint64_t offset, uint32_t length) except -1:
        cdef void *memory
        if self.count == self.room:
            self.room = 2 * self.room or 1024
            memory = realloc(self.steps, self.room * sizeof(recorded))
            if memory == NULL:
                raise MemoryError
            self.steps = <recorded *>memory
        self.steps[self.count] = recorded(due_us=due_us, offset=offset, length=length, file=file, ddir=ddir)
        self.count += 1
        return 0

    cdef void rewind(self, uint64_t now_ns) noexcept nogil:
        """Start a pass; the times of the log count from now on."""
        self.position = 0
        self.begun_ns = now_ns

    cdef bint is_over(self) noexcept nogil:
        return self.position == self.count

    cdef bint next(self, uint64_t now_ns, replay_step *step, uint64_t *wake_ns) noexcept nogil:
        """The next I/O, if it is due. False: `wake_ns` says when to ask again, 0 when the log is over."""
        cdef const recorded *coming
        cdef double wait_ns
        cdef uint64_t due_ns
        wake_ns[0] = 0
        if self.position == self.count:
            return False
        coming = &self.steps[self.position]
        due_ns = now_ns
        if self.is_timed:
            wait_ns = <double>coming.due_us * self.ns_per_us
            due_ns = self.begun_ns + (<uint64_t>wait_ns if wait_ns < <double>NEVER_NS else <uint64_t>NEVER_NS)
            if due_ns > now_ns:
                wake_ns[0] = due_ns
                return False
        self.position += 1
        step.due_ns = due_ns
        step.offset = coming.offset
        step.length = coming.length
        step.file = coming.file
        step.ddir = coming.ddir
        return True

    def begin(self, uint64_t now_ns):
        self.rewind(now_ns)

    def take(self, uint64_t now_ns):
        cdef replay_step step
        cdef uint64_t wake_ns
        if self.next(now_ns, &step, &wake_ns):
            return step.ddir, step.file, step.offset, step.length, step.due_ns
        return wake_ns or None

"""The loop: pick, submit, reap, account; first the job's own I/O, then the check of what it wrote."""

import errno
import os
import time

from libc.errno cimport EILSEQ, EINTR, EIO, ENOSPC, errno as c_errno
from libc.stdlib cimport calloc, free
from posix.fcntl cimport POSIX_FADV_DONTNEED, POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL, posix_fadvise
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap
from posix.resource cimport RUSAGE_SELF, getrusage, rusage

from iovigil.engines.clock cimport clock_source, now_ns
from iovigil.engines.io_u cimport BUSY, DATASYNC, IO_VERIFIED, QUEUED, READ, SYNC, TRIM, WRITE, QueueStatus, io_u
from iovigil.engines.job_options cimport PASS_READ, PASS_VERIFY, PASS_WRITE, read_options
from iovigil.engines.latency cimport record, slot_add, slot_get, slot_set
from iovigil.engines.pace cimport pace_due_ns, pace_issued, pace_start, sleep_until, spin_until
from iovigil.engines.payload cimport fill, scramble
from iovigil.engines.rates cimport rates_look, rates_start
from iovigil.engines.rng cimport mix
from iovigil.engines.stats cimport (
    DEPTH_COUNT, ERRNO_COUNT, MISMATCH_COUNT, MISMATCHES_KEPT, Counter, Latency, RunState, StatsPage,
    mismatch_record,
)
from iovigil.engines.target cimport TargetFiles, target_file
from iovigil.engines.verify cimport BLOCK_OK, check_block, stamp_block, verdict
from iovigil.engines.workload cimport next_ddir, next_piece, piece, workload_free, workload_init, workload_pass, workload_rewind
from iovigil.engines.write_log cimport (
    forget_all, is_in_flight, next_written, units_left, write_begun, write_done, write_log_free, write_log_init,
)

from iovigil.engines.loading import load_engine
from iovigil.engines.stats import Mismatch as MismatchKind

cdef extern from "<errno.h>" nogil:
    int ECANCELED

cdef enum:
    PAGE_BYTES = 4096
    LONGEST_UNSEEN_NS = 500000000
    SHORTEST_ROUND_NS = 20000000


class SetupError(ValueError):
    """The job cannot start as asked; the text says what to change."""


cdef uint64_t peak_rss_bytes():
    """Peak resident memory of this program. getrusage would answer for the agent that it was forked from."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


cdef inline uint64_t elapsed(uint64_t since_ns, uint64_t now) noexcept nogil:
    """0 where the clock went back, as a virtual machine's may when it is moved."""
    return now - since_ns if now > since_ns else 0


cdef inline uint32_t depth_index(uint32_t depth) noexcept nogil:
    """fio's classes of depth: 1, 2-3, 4-7, ... 64 and more."""
    cdef uint32_t index = 0
    while depth > 1 and index < <uint32_t>(DEPTH_COUNT - 1):
        depth >>= 1
        index += 1
    return index


cdef inline uint32_t batch_index(uint32_t count) noexcept nogil:
    """fio's classes of batches: 0, 1-4, 5-8, 9-16, ... above 64."""
    cdef uint32_t index = 1, most = 4
    if count == 0:
        return 0
    while count > most and index < <uint32_t>(DEPTH_COUNT - 1):
        most *= 2
        index += 1
    return index


cdef class Job:
    """One workload against one target. `run` returns when it is over; what happened is on the stats page."""

    def __cinit__(self):
        self.drawn_ddir = -1

    def __init__(self, dict options not None, StatsPage stats not None, files, uint32_t number=1, location=None):
        """Raises SetupError, or EngineUnavailable when this host does not allow the engine.

        `options` is `JobOptions.native()`; `files` are (descriptor, bytes that may be touched, 0 when it has no end
        of its own) each, none for an engine without a target; `number` is the job's place among those beside it;
        `location` says where the engine is, when it is none of ours.
        """
        self.stats = stats
        self.page = stats.page
        self.set_up(options, files or [(-1, 0)], number, location)

    def __dealloc__(self):
        if self.engine is not None:
            self.engine.close()
        if self.buffers != NULL:
            munmap(self.buffers, self.buffers_size)
        write_log_free(&self.log)
        workload_free(&self.work)
        free(self.ios)
        free(self.free)
        free(self.again)
        free(self.batch)
        free(self.scratch)

    cdef int set_up(self, dict options, files, uint32_t number, location) except -1:
        cdef uint64_t stride, slot, seed
        cdef uint32_t depth, index
        cdef void *memory
        try:
            ioengine = options["ioengine"]
            self.options = read_options(options)
        except (KeyError, ValueError) as error:
            raise SetupError(f"options are of another version: {error}") from None
        self.max_bs = max([self.options.max_bs[ddir] for ddir in range(3) if self.uses(ddir)])
        self.min_bs = min([self.options.min_bs[ddir] for ddir in range(3) if self.uses(ddir)])
        self.targets = TargetFiles(self.regions(files))
        self.region_bytes = sum([self.targets.files[index].length for index in range(self.targets.count)])
        self.pass_bytes = self.options.io_size if self.options.io_size >= 0 else (
            self.region_bytes * <uint64_t>-self.options.io_size // 100)
        if not self.pass_bytes:
            self.pass_bytes = self.region_bytes
        seed = self.options.randseed + (number - 1) * <uint64_t>0x9E3779B97F4A7C15
        if not self.options.randrepeat:
            seed ^= int.from_bytes(os.urandom(8), "little")
        try:
            workload_init(&self.work, options, &self.options, self.targets.files, self.targets.count, seed)
        except ValueError as error:
            raise SetupError(str(error)) from None
        workload_rewind(&self.work)

        for ddir in range(2):
            iops = max((1e9 / self.options.rate_iops[ddir]) if self.options.rate_iops[ddir] else 0.0,
                       (1e9 * self.max_bs / self.options.rate[ddir]) if self.options.rate[ddir] else 0.0)
            self.pace.interval_ns[ddir] = iops
            self.pace.is_on = self.pace.is_on or iops > 0
        self.pace.lag_ns = 1e3 * self.options.ratecycle

        if self.options.is_verified and self.options.does_write:
            self.unit = self.options.verify_interval or self.min_bs
            if write_log_init(&self.log, self.region_bytes // self.unit):
                raise MemoryError
            now = time.time_ns()
            self.form.is_current = self.options.is_current_header
            self.form.nonce = mix(<uint64_t>now ^ <uint64_t>os.getpid())
            self.form.time_s = <uint32_t>(now // 1_000_000_000)
            self.form.time_ns = <uint32_t>(now % 1_000_000_000)
            self.form.thread = <uint16_t>number
        if self.options.is_verified:
            self.scratch = <char *>calloc(1, self.max_bs)
            if self.scratch == NULL:
                raise MemoryError

        self.engine = load_engine(ioengine, location)(self.targets, <uint32_t>self.options.iodepth, options)
        depth = 1 if self.engine.is_sync else <uint32_t>self.options.iodepth
        stride = (self.max_bs + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
        self.buffers_size = stride * depth
        memory = mmap(NULL, self.buffers_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if memory == MAP_FAILED:
            raise SetupError(f"iodepth {depth} times bs {self.max_bs}: {os.strerror(c_errno)}")
        self.buffers = <char *>memory
        self.ios = <io_u *>calloc(depth, sizeof(io_u))
        self.free = <io_u **>calloc(depth, sizeof(io_u *))
        self.again = <io_u **>calloc(depth, sizeof(io_u *))
        self.batch = <io_u **>calloc(depth, sizeof(io_u *))
        if self.ios == NULL or self.free == NULL or self.again == NULL or self.batch == NULL:
            raise MemoryError
        for slot in range(depth):
            self.ios[slot].index = <uint32_t>slot
            self.ios[slot].buf = self.buffers + slot * stride
            # Slots are taken from the end: the first I/O gets slot 0.
            self.free[depth - 1 - slot] = &self.ios[slot]
        self.free_count = depth
        # Touched now, so that no page fault falls into a measured I/O; random, so that nothing compresses it.
        fill(self.buffers, self.buffers_size, mix(self.work.seed) | 1)
        self.engine.open(self.buffers, self.buffers_size)
        return 0

    cdef bint uses(self, int ddir) noexcept:
        return (self.options.does_read, self.options.does_write, self.options.does_trim)[ddir]

    def regions(self, files):
        """(descriptor, size, start, length) of each file: what of it the job works on. Raises SetupError."""
        regions = []
        share = self.options.size // len(files) if self.options.size > 0 else 0
        for fd, size in files:
            start = self.options.offset
            if start < 0:
                start = size * -start // 100
                start -= start % (self.options.offset_align or self.min_bs)
            if self.options.fill_device and not self.options.size and not self.options.is_random:
                length = (1 << 62) // self.max_bs * self.max_bs  # no end but the target's
            else:
                length = share or max(size - start, 0)
                if self.options.size < 0:
                    length = max(size - start, 0) * -self.options.size // 100
                if size and start + length > size and not self.options.fill_device:
                    raise SetupError(f"offset {start} + size {length} is beyond the target's {size}")
            if length < self.min_bs:
                raise SetupError(f"size: {length} bytes have no room for one block of {self.min_bs}; set size")
            regions.append((fd, size, start, length))
        return regions

    @property
    def notes(self):
        """What people should know of the engine: fall-backs that it took."""
        return list(self.engine.notes)

    def run(self):
        """Run the job to its end, its runtime's end, or the stop word's; never raises for an I/O error."""
        cdef rusage before, after
        if self.options.invalidate:
            self.advise(POSIX_FADV_DONTNEED)
        getrusage(RUSAGE_SELF, &before)
        with nogil:
            self.run_phases()
        getrusage(RUSAGE_SELF, &after)
        self.page.user_us = 1000000 * (after.ru_utime.tv_sec - before.ru_utime.tv_sec) + (
            after.ru_utime.tv_usec - before.ru_utime.tv_usec)
        self.page.system_us = 1000000 * (after.ru_stime.tv_sec - before.ru_stime.tv_sec) + (
            after.ru_stime.tv_usec - before.ru_stime.tv_usec)
        self.page.context_switches = after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw
        self.page.major_faults = after.ru_majflt - before.ru_majflt
        self.page.minor_faults = after.ru_minflt - before.ru_minflt
        self.page.max_rss_bytes = peak_rss_bytes()
        self.explain()
        slot_set(&self.page.is_complete, 1)
        self.enter(RunState.EXITED)

    cdef explain(self):
        """Write the job's error and what it means on the page."""
        cdef uint64_t wrong = sum([self.stats.mismatch(kind) for kind in MismatchKind])
        if self.rates.is_missed:
            if self.rates.is_missed_iops:
                option, unit, least = "rate_iops_min", "I/Os", self.options.rate_iops_min[self.rates.missed_ddir]
            else:
                option, unit, least = "rate_min", "bytes", self.options.rate_min[self.rates.missed_ddir]
            operation = ("read", "write", "trim")[self.rates.missed_ddir]
            self.page.error = EIO
            self.stats.text = (f"{option}: {operation} made {self.rates.missed_rate:.0f} {unit} per second "
                               f"over {self.options.ratecycle / 1000:.0f} ms, less than {least}")
        elif self.failure.error:
            self.page.error = self.failure.error
            operation = ("read", "write", "trim", "fsync", "fdatasync")[self.failure.ddir]
            place = f" at offset {self.failure.offset}, length {self.failure.length}" if self.failure.length else ""
            name = errno.errorcode.get(self.failure.error, self.failure.error)
            self.stats.text = f"{operation}{place}: {os.strerror(self.failure.error)} ({name})"
        elif wrong:
            self.page.error = EILSEQ
            first = self.stats.mismatches()[0]
            byte = f", first wrong byte at {first.first_byte}" if first.first_byte >= 0 else ""
            self.stats.text = (f"data corruption: {wrong} block{'s' * (wrong > 1)} of {self.unit or self.min_bs} bytes failed "
                               f"verification; first: {MismatchKind(first.kind).name.lower()} "
                               f"at offset {first.offset}{byte}")

    cdef void run_phases(self) noexcept nogil:
        cdef uint64_t now = now_ns(&self.page.clock), deadline = 0, end, budget, _loop, left
        cdef bint reads_back = self.options.is_verified and self.options.does_write and self.options.do_verify
        budget = self.options.number_ios or <uint64_t>-1
        self.is_ramping = self.options.ramp_time > 0
        self.epoch_ns = now + 1000 * self.options.ramp_time
        rates_start(&self.rates, self.epoch_ns)
        if self.options.runtime:
            deadline = self.epoch_ns + 1000 * self.options.runtime
        if not self.is_ramping:
            self.begin_measuring(now)

        for _loop in range(self.options.loops):
            workload_rewind(&self.work)
            while True:
                # One round. What is verified is written at most for half the time that is left, so that
                # the other half can check it.
                self.bytes_left = self.pass_bytes
                self.may_repeat = self.pass_bytes > self.region_bytes
                if self.options.time_based and not reads_back:
                    self.bytes_left = <uint64_t>-1
                    self.may_repeat = True
                self.ios_left = budget
                left = self.ios_left
                end = deadline
                if deadline and reads_back:
                    now = max(now_ns(&self.page.clock), self.epoch_ns)
                    end = now + max((deadline - now) // 2 if deadline > now else 0, <uint64_t>SHORTEST_ROUND_NS)
                self.enter(RunState.RAMP if self.is_ramping else RunState.RUNNING)
                self.phase(False, end)
                budget -= left - self.ios_left
                if self.has_written and (self.options.end_fsync or reads_back):
                    self.sync_target()
                if reads_back and not self.failure.error and not slot_get(&self.page.stop):
                    self.advise(POSIX_FADV_DONTNEED)
                    self.bytes_left = <uint64_t>-1
                    self.ios_left = <uint64_t>-1
                    self.enter(RunState.VERIFYING)
                    # May outlast the runtime by as much as the writing took at most.
                    self.phase(True, deadline + 500 * self.options.runtime if deadline else 0)
                    self.enter(RunState.RUNNING)
                if reads_back:
                    slot_add(&self.page.unverified_bytes, units_left(&self.log) * self.unit)
                    forget_all(&self.log)
                now = now_ns(&self.page.clock)
                if not self.options.time_based or not budget or self.is_done(now, deadline):
                    break
            if not budget or self.is_done(now, deadline):
                break
        self.enter(RunState.FINISHING)
        slot_set(&self.page.ended_ns, now_ns(&self.page.clock))

    cdef bint is_done(self, uint64_t now, uint64_t deadline) noexcept nogil:
        return (self.failure.error != 0 or self.is_corrupt or self.rates.is_missed or self.is_full
                or slot_get(&self.page.stop) or (deadline and now >= deadline))

    cdef void phase(self, bint is_checking, uint64_t end_ns) noexcept nogil:
        """Run until nothing is left to pick, `end_ns` (0: no bound), a fatal error or the stop word; then drain."""
        cdef const clock_source *clock = &self.page.clock
        cdef uint64_t now = now_ns(clock), issued_ns, wake_ns
        cdef bint is_sync = self.engine.is_sync
        cdef uint32_t count, index
        cdef int reaped
        cdef io_u *io
        cdef QueueStatus status
        self.is_checking = is_checking
        self.is_over = False
        self.sync_due = 0
        self.phase_end_ns = end_ns
        self.next_check_ns = 0
        self.drawn_ddir = -1
        self.think_left = self.options.thinktime_blocks
        # Readahead would move what a random job never asks for; the check goes in order of offset.
        self.advise(POSIX_FADV_RANDOM if self.options.is_random and not is_checking else POSIX_FADV_SEQUENTIAL)
        pace_start(&self.pace, now)
        self.begin_phase(now)

        while True:
            if slot_get(&self.page.stop):
                self.is_over = True
            if now >= self.next_check_ns:
                self.look_up(now)
            wake_ns = 0

            if is_sync:
                io = self.pick(now, &wake_ns)
                if io != NULL:
                    # The start of a verified block was stamped after its contents were made: that was just now.
                    io.issued_ns = io.start_ns if self.options.is_verified else now_ns(clock)
                    slot_set(&self.page.inflight_ns[0], io.issued_ns)
                    self.engine.queue(io)
                    now = now_ns(clock)
                    self.complete(io, now)
                    if io.flags & IO_VERIFIED:  # the check took longer than a look at the clock does
                        now = now_ns(clock)
                    continue
            else:
                count = 0
                while self.free_count or self.again_count:
                    io = self.pick(now, &wake_ns)
                    if io == NULL:
                        break
                    status = self.engine.queue(io)
                    if status == QUEUED:
                        self.batch[count] = io
                        count += 1
                    elif status == BUSY:
                        self.again[self.again_count] = io
                        self.again_count += 1
                        break
                    else:
                        io.issued_ns = now
                        self.complete(io, now_ns(clock))
                if count:
                    # Stamped before the system call that submits the batch: see docs/adr/0004.
                    issued_ns = now_ns(clock)
                    for index in range(count):
                        self.batch[index].issued_ns = issued_ns
                        slot_set(&self.page.inflight_ns[self.batch[index].index], issued_ns)
                    self.in_flight += count
                    slot_add(&self.page.depth_level[depth_index(self.in_flight)], count)
                    slot_add(&self.page.submits[batch_index(count)], 1)
                if self.in_flight:
                    wake_ns = min(wake_ns, self.next_check_ns) if wake_ns else 0
                    reaped = self.engine.reap(1, 0, wake_ns - now if wake_ns > now else 0)
                    now = now_ns(clock)
                    if reaped < 0:
                        self.fail_engine(-reaped)
                        break
                    if reaped:
                        slot_add(&self.page.completes[batch_index(<uint32_t>reaped)], 1)
                    self.in_flight -= <uint32_t>reaped
                    for index in range(<uint32_t>reaped):
                        self.complete(self.engine.events[index], now)
                    if self.options.is_verified:
                        now = now_ns(clock)
                    continue
                if self.again_count:
                    continue

            # Nothing is in flight.
            if wake_ns:
                now = sleep_until(clock, min(wake_ns, self.next_check_ns), &self.page.stop)
            elif not self.think_left and self.ios_left and self.bytes_left and not self.is_over:
                self.think()
                now = now_ns(clock)
            else:
                break
        self.end_phase(now_ns(clock))

    cdef io_u *pick(self, uint64_t now, uint64_t *wake_ns) noexcept nogil:
        """The next I/O, ready to be queued.

        NULL when there is none: `wake_ns` then says when to ask again, or stays 0 when that depends on
        what is in flight, or when the phase has no more.
        """
        cdef io_u *io
        cdef int ddir = self.drawn_ddir
        cdef piece drawn
        cdef uint64_t generation = 0
        cdef bint is_mixed = self.options.does_read and self.options.does_write and not self.is_checking
        if self.again_count:
            self.again_count -= 1
            return self.again[self.again_count]
        if self.is_over:
            return NULL
        if self.sync_due:
            drawn = self.last_written
            drawn.length = 0
            io = self.take_slot(self.sync_due, &drawn)
            self.sync_due = 0
            io.start_ns = now
            return io
        if not self.ios_left or not self.bytes_left or not self.think_left:
            return NULL

        if ddir < 0:
            ddir = READ if self.is_checking else next_ddir(&self.work)
            if self.pace.is_on:
                if is_mixed and pace_due_ns(&self.pace, ddir) > now:
                    # The other direction may be behind its own rate.
                    if pace_due_ns(&self.pace, 1 - ddir) < pace_due_ns(&self.pace, ddir):
                        ddir = 1 - ddir
                if pace_due_ns(&self.pace, ddir) > now:
                    wake_ns[0] = pace_due_ns(&self.pace, ddir)
                    return NULL

        if self.is_checking:
            if not self.next_to_check(&drawn, &generation):
                self.bytes_left = 0
                return NULL
        elif self.drawn_ddir >= 0:
            drawn = self.drawn
        elif not next_piece(&self.work, ddir, &drawn):
            if self.may_repeat:
                workload_pass(&self.work)
            if not self.may_repeat or not next_piece(&self.work, ddir, &drawn):
                self.bytes_left = 0
                return NULL
        if self.options.is_verified and ddir == WRITE:
            if is_in_flight(&self.log, self.unit_of(&drawn), drawn.length // self.unit):
                # Two writes of one block under way would leave open which one it holds: let the first end.
                self.drawn_ddir = ddir
                self.drawn = drawn
                return NULL
            generation = write_begun(&self.log, self.unit_of(&drawn), drawn.length // self.unit)
        self.drawn_ddir = -1

        io = self.take_slot(<uint8_t>ddir, &drawn)
        io.numberio = generation
        if self.options.is_verified and ddir == READ:
            io.flags = IO_VERIFIED
        io.start_ns = now
        if ddir == WRITE:
            if self.options.is_verified:
                stamp_block(&self.form, io.buf, io.length, io.offset, generation)
                io.start_ns = now_ns(&self.page.clock)
            elif self.options.scramble_buffers:
                scramble(io.buf, io.length, io.offset, now)
            self.last_written = drawn
            self.count_write()
        self.bytes_left -= min(self.bytes_left, <uint64_t>drawn.length)
        self.ios_left -= 1
        if self.options.thinktime and not self.is_checking:
            self.think_left -= 1
        if self.pace.is_on and self.pace.interval_ns[ddir]:
            pace_issued(&self.pace, ddir, now)
        return io

    cdef inline io_u *take_slot(self, uint8_t ddir, const piece *drawn) noexcept nogil:
        cdef io_u *io
        self.free_count -= 1
        io = self.free[self.free_count]
        io.ddir = ddir
        io.file = <uint16_t>drawn.file
        io.offset = drawn.offset
        io.length = io.block_length = drawn.length
        io.flags = 0
        return io

    cdef inline uint64_t unit_of(self, const piece *drawn) noexcept nogil:
        """Index in the write log of the first unit of a piece."""
        cdef uint64_t before = 0
        cdef uint32_t file
        for file in range(drawn.file):
            before += self.targets.files[file].length
        return (before + drawn.offset - self.targets.files[drawn.file].start) // self.unit

    cdef bint next_to_check(self, piece *drawn, uint64_t *generation) noexcept nogil:
        """The next stretch of one generation that was written, in order of offset; it is then off the list."""
        cdef uint64_t unit = self.log.next_check, place
        cdef uint32_t file = 0
        if not next_written(&self.log, &unit, generation):
            self.log.next_check = self.log.end
            return False
        place = unit * self.unit
        while place >= self.targets.files[file].length:
            place -= self.targets.files[file].length
            file += 1
        drawn.file = file
        drawn.offset = self.targets.files[file].start + place
        drawn.length = 0
        while True:
            self.log.units[unit] = 0
            drawn.length += <uint32_t>self.unit
            unit += 1
            if (drawn.length + self.unit > self.max_bs or unit >= self.log.end
                    or self.log.units[unit] != generation[0]):
                break
        self.log.next_check = unit
        return True

    cdef inline void count_write(self) noexcept nogil:
        self.has_written = True
        self.unsynced_writes += 1
        if self.options.fsync and self.unsynced_writes >= self.options.fsync:
            self.sync_due = SYNC
            self.unsynced_writes = 0
        elif self.options.fdatasync and self.unsynced_writes >= self.options.fdatasync:
            self.sync_due = DATASYNC
            self.unsynced_writes = 0

    cdef inline void release(self, io_u *io) noexcept nogil:
        io.buf -= io.block_length - io.length  # what of the block had been transferred
        slot_set(&self.page.inflight_ns[io.index], 0)
        self.free[self.free_count] = io
        self.free_count += 1

    cdef inline void complete(self, io_u *io, uint64_t now) noexcept nogil:
        """Take an I/O back from the engine: count it, check it, or offer the rest of it again."""
        if io.result != io.length or io.ddir > TRIM or io.length != io.block_length:
            self.complete_odd(io, now)
            return
        self.account(io, now, io.length)
        if self.options.is_verified:
            self.settle(io)
        self.release(io)

    cdef void complete_odd(self, io_u *io, uint64_t now) noexcept nogil:
        """The completions that are not one whole block: errors, short transfers, syncs."""
        if io.result == -ECANCELED and (self.failure.error or slot_get(&self.page.stop)):
            # Taken back by stop_early, or given up by an engine that was told to stop: no word of the disk's.
            self.forget_write(io)
            self.release(io)
        elif io.result < 0:
            self.fail(io, <int>-io.result)
        elif io.ddir > TRIM:
            if io.start_ns >= self.epoch_ns:
                slot_add(&self.page.counter[<int>Counter.IOS][<int>SYNC], 1)
                record(&self.page.latency[<int>Latency.LAT][<int>SYNC], elapsed(io.start_ns, now), 1)
            self.release(io)
        elif io.result == 0:
            # A disk that is gone reads as 0 bytes and does not say more.
            self.fail(io, EIO)
        elif io.result < io.length:
            slot_add(&self.page.counter[<int>Counter.SHORT_IOS][io.ddir], 1)
            io.buf += io.result
            io.offset += <uint64_t>io.result
            io.length -= <uint32_t>io.result
            slot_set(&self.page.inflight_ns[io.index], 0)
            self.again[self.again_count] = io
            self.again_count += 1
        else:
            # The last part of a block that came in pieces.
            io.buf -= io.block_length - io.length
            io.offset -= io.block_length - io.length
            io.length = io.block_length
            self.account(io, now, io.block_length)
            if self.options.is_verified:
                self.settle(io)
            self.release(io)

    cdef inline void account(self, io_u *io, uint64_t now, uint32_t length) noexcept nogil:
        cdef int ddir = io.ddir
        if io.start_ns < self.epoch_ns:
            return
        slot_add(&self.page.counter[<int>Counter.IOS][ddir], 1)
        slot_add(&self.page.counter[<int>Counter.BYTES][ddir], length)
        record(&self.page.latency[<int>Latency.SLAT][ddir], elapsed(io.start_ns, io.issued_ns), 1)
        record(&self.page.latency[<int>Latency.CLAT][ddir], elapsed(io.issued_ns, now), 1)
        record(&self.page.latency[<int>Latency.LAT][ddir], elapsed(io.start_ns, now), 1)

    cdef void settle(self, io_u *io) noexcept nogil:
        """Book a whole verified write, or judge a block that was read to be verified."""
        cdef verdict answer
        cdef uint64_t at = 0, interval = self.options.verify_interval or io.block_length
        cdef piece whole
        if io.ddir == WRITE:
            whole = piece(offset=io.offset, length=io.block_length, file=io.file)
            write_done(&self.log, self.unit_of(&whole), io.block_length // self.unit, io.numberio)
            return
        if io.ddir != READ:
            return
        while at < io.block_length:
            answer = check_block(&self.form, io.buf + at, <uint32_t>interval, io.offset + at, io.numberio,
                                 self.scratch)
            if answer.kind != BLOCK_OK:
                self.note_mismatch(io, at, &answer)
            at += interval
        slot_add(&self.page.counter[<int>Counter.VERIFIED_BYTES][<int>READ], io.block_length)

    cdef void forget_write(self, const io_u *io) noexcept nogil:
        """What a write that failed has left behind is unknown: nothing to check."""
        cdef piece whole
        if io.ddir == WRITE and self.options.is_verified:
            whole = piece(offset=io.offset - (io.block_length - io.length), length=io.block_length, file=io.file)
            write_done(&self.log, self.unit_of(&whole), io.block_length // self.unit, 0)

    cdef void note_mismatch(self, const io_u *io, uint64_t at, const verdict *answer) noexcept nogil:
        cdef uint64_t found = 0
        cdef int kind
        cdef mismatch_record *place
        for kind in range(MISMATCH_COUNT):
            found += slot_get(&self.page.mismatch[kind])
        if found < <uint64_t>MISMATCHES_KEPT:
            place = &self.page.mismatches[found]
            place.offset = io.offset + at
            place.length = self.options.verify_interval or io.block_length
            place.first_byte = <int64_t>(io.offset + at) + answer.first_byte if answer.first_byte >= 0 else -1
            place.kind = <uint64_t>answer.kind
            place.expected = io.numberio
            place.found = answer.found
        slot_add(&self.page.mismatch[answer.kind], 1)
        slot_add(&self.page.total_errors, 1)
        slot_set(&self.page.first_error, slot_get(&self.page.first_error) or <uint64_t>EILSEQ)
        if self.options.verify_fatal and not self.options.passed & PASS_VERIFY:
            self.is_corrupt = True
            self.is_over = True

    cdef void fail(self, io_u *io, int error) noexcept nogil:
        """Count an I/O that returned an error, and end the job unless that error may pass."""
        cdef int ddir = min(<int>io.ddir, <int>SYNC)
        cdef unsigned kind = PASS_READ if io.ddir == READ else PASS_WRITE
        self.forget_write(io)
        if error == ENOSPC and self.options.fill_device and io.ddir == WRITE:
            self.is_full = True
            self.is_over = True
        else:
            slot_add(&self.page.errors[ddir][error if error < <int>ERRNO_COUNT else 0], 1)
            slot_add(&self.page.counter[<int>Counter.IOS][ddir], 1)
            slot_add(&self.page.total_errors, 1)
            slot_set(&self.page.first_error, slot_get(&self.page.first_error) or <uint64_t>error)
            if not self.options.passed & kind and not self.failure.error:
                self.failure.error = error
                self.failure.ddir = io.ddir
                self.failure.offset = io.offset
                self.failure.length = io.length
                self.stop_early()
        self.release(io)

    cdef void stop_early(self) noexcept nogil:
        """A fatal error: pick no more, drop what waits to be offered again, take back what is in flight."""
        cdef uint32_t index
        self.is_over = True
        while self.again_count:
            self.again_count -= 1
            self.release(self.again[self.again_count])
        if self.engine.is_sync:
            return
        for index in range(<uint32_t>self.options.iodepth):
            if slot_get(&self.page.inflight_ns[index]):
                self.engine.cancel(&self.ios[index])

    cdef void fail_engine(self, int error) noexcept nogil:
        self.failure.error = error
        self.failure.ddir = READ if self.options.does_read or self.is_checking else WRITE
        self.is_over = True

    cdef void sync_target(self) noexcept nogil:
        """fsync outside the queue; its error counts, and ends the job, as that of a write does."""
        cdef int error = 0
        cdef uint32_t file
        self.enter(RunState.FSYNCING)
        slot_set(&self.page.inflight_ns[0], now_ns(&self.page.clock))  # nothing else is in flight
        for file in range(self.targets.count):
            while not error and self.targets.files[file].fd >= 0:
                error = -self.engine.flush(file)
                if error != EINTR or slot_get(&self.page.stop):
                    break
                error = 0
        slot_set(&self.page.inflight_ns[0], 0)
        if error and error != EINTR:
            slot_add(&self.page.errors[<int>SYNC][error if error < <int>ERRNO_COUNT else 0], 1)
            slot_add(&self.page.total_errors, 1)
            slot_set(&self.page.first_error, slot_get(&self.page.first_error) or <uint64_t>error)
            if not self.options.passed & PASS_WRITE and not self.failure.error:
                self.failure.error = error
                self.failure.ddir = SYNC
                self.failure.length = 0

    cdef void advise(self, int advice) noexcept nogil:
        """Tell the kernel how the regions will be used."""
        cdef uint32_t index
        cdef const target_file *file
        for index in range(self.targets.count):
            file = &self.targets.files[index]
            if file.fd >= 0:
                posix_fadvise(file.fd, 0, 0, advice)

    cdef void think(self) noexcept nogil:
        """thinktime: first on the CPU, then asleep."""
        cdef uint64_t now = now_ns(&self.page.clock)
        cdef uint64_t spin_ns = 1000 * min(self.options.thinktime_spin, self.options.thinktime)
        cdef uint64_t end_ns = now + 1000 * self.options.thinktime
        if self.phase_end_ns:
            end_ns = min(end_ns, max(self.phase_end_ns, now))
        spin_until(&self.page.clock, min(now + spin_ns, end_ns), &self.page.stop)
        sleep_until(&self.page.clock, end_ns, &self.page.stop)
        self.think_left = self.options.thinktime_blocks

    cdef void enter(self, int state) noexcept nogil:
        slot_set(&self.page.state, <uint64_t>state)

    cdef void begin_phase(self, uint64_t now) noexcept nogil:
        cdef uint64_t ddirs = ((self.options.does_read << <int>READ) | (self.options.does_write << <int>WRITE)
                               | (self.options.does_trim << <int>TRIM))
        slot_set(&self.page.phase_ddirs, <uint64_t>(1 << <int>READ) if self.is_checking else ddirs)
        slot_set(&self.page.phase_ns, 0 if self.is_ramping else now)
        if not self.page.first_io_ns:
            slot_set(&self.page.first_io_ns, now)

    cdef void end_phase(self, uint64_t now) noexcept nogil:
        cdef int ddir
        cdef uint64_t begun_ns = self.page.phase_ns, ios
        for ddir in range(3):
            if begun_ns and self.page.phase_ddirs & (1 << ddir):
                slot_add(&self.page.runtime_ns[ddir], now - begun_ns)
        slot_set(&self.page.phase_ns, 0)
        if self.engine.is_sync:
            # Always one deep: counted here rather than in the loop.
            ios = self.page.counter[<int>Counter.IOS][<int>READ] + self.page.counter[<int>Counter.IOS][<int>WRITE]
            self.page.depth_level[0] = self.page.submits[1] = self.page.completes[1] = ios

    cdef void begin_measuring(self, uint64_t now) noexcept nogil:
        """The ramp is over: what starts from now on counts."""
        self.is_ramping = False
        slot_set(&self.page.epoch_ns, self.epoch_ns)
        slot_set(&self.page.phase_ns, now)
        self.enter(RunState.VERIFYING if self.is_checking else RunState.RUNNING)

    cdef void look_up(self, uint64_t now) noexcept nogil:
        """What needs no look at every I/O: the ends of ramp and phase, samples, minimum rates."""
        cdef uint64_t next_ns = now + LONGEST_UNSEEN_NS
        if self.is_ramping:
            if now >= self.epoch_ns:
                self.begin_measuring(now)
            next_ns = min(next_ns, self.epoch_ns)
        if self.phase_end_ns:
            if now >= self.phase_end_ns:
                self.is_over = True
            else:
                next_ns = min(next_ns, self.phase_end_ns)
        if not self.is_ramping:
            rates_look(&self.rates, self.page, &self.options, now)
            if self.rates.is_missed:
                self.is_over = True
            next_ns = min(next_ns, min(self.rates.next_sample_ns, self.rates.next_judgement_ns))
        self.next_check_ns = max(next_ns, now + 1)

"""The loop: pick, submit, reap, account; first the job's own I/O, then the check of what it wrote."""

import errno
import os

from libc.errno cimport EILSEQ, EINTR, EIO, ENOSPC
from libc.stdlib cimport abort
from libc.string cimport memset
from posix.fcntl cimport POSIX_FADV_DONTNEED, POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL, posix_fadvise
from posix.resource cimport RUSAGE_SELF, getrusage, rusage

from iovigil.engines.clock cimport clock_source, now_ns
from iovigil.engines.contents cimport REMAKE, contents_write
from iovigil.engines.depth_search cimport (
    SEARCH_CHANGED, SEARCH_DONE, SEARCH_FAILED, SEARCH_SETTLED, SearchAction, search_begin, search_look, search_note,
)
from iovigil.engines.flow cimport flow_is_ahead, flow_leave, flow_note
from iovigil.engines.gone cimport has_gone
from iovigil.engines.io_u cimport (
    BUSY, DATASYNC, IO_BACKLOG, IO_OUT, IO_TRIMMED, IO_VERIFIED, QUEUED, READ, SYNC, SYNC_RANGE, TRIM, WRITE,
    QueueStatus, io_u,
)
from iovigil.engines.job_options cimport PASS_READ, PASS_VERIFY, PASS_WRITE
from iovigil.engines.latency cimport clear, record, slot_add, slot_get, slot_set
from iovigil.engines.offsets cimport TAUSWORTHE, TAUSWORTHE64
from iovigil.engines.pace cimport (
    pace_dropped, pace_due_ns, pace_forget, pace_issued, pace_paused, pace_start, sleep_until,
)
from iovigil.engines.prepared_job cimport BY_DIRECTION, PreparedJob
from iovigil.engines.rates cimport rates_look, rates_start
from iovigil.engines.replay cimport replay_step
from iovigil.engines.stats cimport (
    COUNTER_COUNT, DDIR_COUNT, DEPTH_COUNT, ERRNO_COUNT, LATENCY_COUNT, Counter, Latency, RunState, rate_samples,
)
from iovigil.engines.target cimport target_file
from iovigil.engines.tausworthe cimport tausworthe, tausworthe64, tausworthe64_seed, tausworthe_seed
from iovigil.engines.think cimport think_is_due, think_issued, think_pause, think_start
from iovigil.engines.workload cimport next_ddir, next_piece, piece, workload_pass, workload_rewind

from iovigil.engines.stats import Mismatch as MismatchKind

cdef extern from "<errno.h>" nogil:
    int ECANCELED
    int ECONNABORTED
    int ENODEV
    int ENOTCONN
    int EROFS
    int ESTALE
    int ETIMEDOUT

cdef enum:
    LONGEST_UNSEEN_NS = 500000000
    SHORTEST_ROUND_NS = 20000000
    CHECK_WAIT_NS = 50000000
    NO_SLOT = 0xFFFFFFFE  # of a sync outside the queue
    BLOCKED_LOOK_NS = 20000  # how often to look whether another job has let go of a block
    LONGEST_BLOCKED_NS = 10000000000


cdef void die_rather_than_write() noexcept nogil:
    with gil:
        os.write(2, b"error: an I/O was to be made outside of the region that was admitted: please report this\n")
    abort()


cdef tuple OPERATIONS = ("read", "write", "trim", "fsync", "fdatasync", "sync_file_range")


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


cdef class Job(PreparedJob):
    """One workload against one target. `run` returns when it is over; what happened is on the stats page."""

    def __cinit__(self):
        self.drawn_ddir = -1

    def meet(self):
        """Meet those whom the engine needs, now that they are released too. Raises OSError."""
        self.engine.meet()

    def run(self):
        """Run the job to its end, its runtime's end, or the stop word's; never raises for an I/O error."""
        cdef rusage before, after
        if self.options.invalidate:
            self.advise(POSIX_FADV_DONTNEED)
        getrusage(RUSAGE_SELF, &before)
        with nogil:
            if self.vouched.is_loaded:
                self.retrace()
            self.run_phases()
        getrusage(RUSAGE_SELF, &after)
        now = now_ns(&self.page.clock)
        self.logs.write_out(self.page, now)
        if self.is_recorded:
            self.recorder.write_out(now)
        if self.keeps_outcomes and self.outcomes.issued:
            self.save_state()
        self.page.user_us = 1000000 * (after.ru_utime.tv_sec - before.ru_utime.tv_sec) + (
            after.ru_utime.tv_usec - before.ru_utime.tv_usec)
        self.page.system_us = 1000000 * (after.ru_stime.tv_sec - before.ru_stime.tv_sec) + (
            after.ru_stime.tv_usec - before.ru_stime.tv_usec)
        self.page.context_switches = after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw
        self.page.major_faults = after.ru_majflt - before.ru_majflt
        self.page.minor_faults = after.ru_minflt - before.ru_minflt
        self.page.max_rss_bytes = peak_rss_bytes()
        self.explain()
        if self.is_scrub:
            self.scrub.sum_up(self.stats.text)
        slot_set(&self.page.is_complete, 1)
        self.enter(RunState.EXITED)

    cdef save_state(self):
        """Tell a later job what was written. That it cannot be told is a warning: the job itself has not failed."""
        from iovigil.engines import verify_state

        _, name, index = self.state_file
        path = verify_state.path_of(*self.state_file)
        version = verify_state.VERSIONS[self.state_header]
        writes, in_flight, failed = self.outcomes.numbers()
        if version == verify_state.WITH_PLACES:
            # It has no numbers: whatever is older than the last few writes has to be good. Those that come back out of
            # order may leave one behind.
            old = [number for number in (*in_flight, *failed) if number + self.options.iodepth < writes]
            writes = min(old, default=writes)
        is_wide = self.work.how.generator == TAUSWORTHE64
        is_fios = self.work.how.generator in (TAUSWORTHE, TAUSWORTHE64) and (
            self.options.randrepeat or self.options.allrandrepeat)
        has_choices = self.options.is_random or self.is_mixed or not self.work.is_plain
        state = verify_state.VerifyState(
            version=version,
            depth=self.options.iodepth,
            writes=writes,
            index=index,
            name=name,
            random=(is_wide, self.random_words()),
            seed=self.seed if has_choices and not is_fios else 0,
            file_count=self.targets.count,
            in_flight=in_flight,
            failed=failed,
            places=self.outcomes.places(),
        )
        try:
            verify_state.save(path, state)
        except OSError as error:
            self.state_notes.append(f"verify_state_save: {path}: {error.strerror}: no job can be told what was written")

    cdef bytes random_words(self):
        """Where fio's generator of offsets stands, had it drawn ours."""
        cdef tausworthe narrow = self.work.how.random
        cdef tausworthe64 wide = self.work.how.random64
        if not self.options.is_random or self.work.is_plain:
            return b""
        if self.has_checked:  # as fio, whose check starts it again
            tausworthe_seed(&narrow, self.work.how.offset_seed)
            tausworthe64_seed(&wide, self.work.how.offset_seed)
        if self.work.how.generator == TAUSWORTHE64:
            return (<char *>&wide)[:sizeof(wide)]
        return (<char *>&narrow)[:sizeof(narrow)]

    cdef explain(self):
        """Write the job's error and what it means on the page."""
        cdef uint64_t wrong = sum([self.stats.mismatch(kind) for kind in MismatchKind])
        if self.rates.is_missed:
            if self.rates.is_missed_iops:
                option, unit, least = "rate_iops_min", "I/Os", self.options.rate_iops_min[self.rates.missed_ddir]
            else:
                option, unit, least = "rate_min", "bytes", self.options.rate_min[self.rates.missed_ddir]
            operation = OPERATIONS[self.rates.missed_ddir]
            self.page.error = EIO
            self.stats.text = (f"{option}: {operation} made {self.rates.missed_rate:.0f} {unit} per second "
                               f"over {self.options.ratecycle / 1000:.0f} ms, less than {least}")
        elif self.failure.took_ns:
            self.page.error = ETIMEDOUT
            self.stats.text = (f"max_latency: {OPERATIONS[self.failure.ddir]} at offset {self.failure.offset} took "
                               f"{self.failure.took_ns / 1000:.0f} us, more than "
                               f"{self.options.max_latency[self.failure.ddir]}")
        elif self.failure.error and self.failure.ddir == <uint8_t>-1:
            self.page.error = self.failure.error
            self.stats.text = (f"latency_target: not even one I/O at a time stays within "
                               f"{self.options.latency_target} us "
                               f"for {self.options.latency_percentile:g} % of the I/Os")
        elif self.failure.error:
            if self.failure.error in (EIO, EROFS) and self.has_lost_its_device():
                self.failure.error = ENODEV
            self.page.error = self.failure.error
            operation = OPERATIONS[self.failure.ddir]
            place = f" at offset {self.failure.offset}, length {self.failure.length}" if self.failure.length else ""
            name = errno.errorcode.get(self.failure.error, self.failure.error)
            hint = self.engine.hint(self.failure.error) or self.gone_hint()
            self.stats.text = f"{operation}{place}: {os.strerror(self.failure.error)} ({name}){hint}"
        elif self.is_scrub and self.scrub.trouble() is not None and not wrong:
            self.page.error = self.scrub.error or ESTALE
            self.stats.text = self.scrub.trouble()
        elif self.is_scrub and self.scrub.errors and not wrong:
            self.page.error = self.scrub.failed_error
            name = errno.errorcode.get(self.scrub.failed_error, self.scrub.failed_error)
            self.stats.text = (f"{OPERATIONS[self.scrub.failed_ddir]} at offset {self.scrub.failed_offset}, length "
                               f"{self.max_bs}: {os.strerror(self.scrub.failed_error)} ({name}); the first of "
                               f"{self.scrub.errors}, and the scrub went on")
        elif wrong:
            self.page.error = EILSEQ
            self.stats.text = f"data corruption: {wrong} block{'s' * (wrong > 1)} failed verification"

    cdef bint has_lost_its_device(self):
        """Whether the device under the file system of a file is there no more; of such a one there are errors only."""
        cdef uint32_t index
        for index in range(self.targets.count):
            if self.targets.files[index].fd >= 0 and not self.targets.files[index].is_device:
                try:
                    number = os.fstat(self.targets.files[index].fd).st_dev
                except OSError:
                    continue
                # Of file systems without a single device the number is of their own making.
                if os.major(number) and os.path.isdir("/sys/dev/block") and not os.path.exists(
                        f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"):
                    return True
        return False

    cdef str gone_hint(self):
        """What the error says to who looks after the disk, where what was opened is there no more."""
        if self.targets.files[0].fd < 0:
            return ""
        if self.failure.error == ENODEV:
            return ": the device was removed while it was open"
        if self.failure.error in (ECONNABORTED, ENOTCONN, ESTALE):
            return ": the server of its file system has died; mount it anew"
        return ""

    cdef void run_phases(self) noexcept nogil:
        cdef uint64_t now = now_ns(&self.page.clock), deadline = 0, end, budget, _loop, left
        cdef bint is_wanted  # a check of what was written
        budget = self.options.number_ios or <uint64_t>-1
        self.is_ramping = self.options.ramp_time > 0
        self.epoch_ns = now + 1000 * self.options.ramp_time
        rates_start(&self.rates, &self.options, self.epoch_ns)
        self.logs.start(self.epoch_ns)
        if self.is_recorded:
            self.recorder.start(now)
        if self.options.runtime:
            deadline = self.epoch_ns + 1000 * self.options.runtime
        if not self.is_ramping:
            self.begin_measuring(now)

        if self.reads_back and self.integrity.has_unverified():
            # What the run before had no time for comes first.
            self.check(now + (deadline - now) // 2 if deadline else 0)
            now = now_ns(&self.page.clock)

        for _loop in range(self.options.loops):
            if not self.options.is_replayed:
                workload_rewind(&self.work)
                self.drawn_ddir = -1
            while True:
                # One round. What is verified is written at most for half the time that is left, so that
                # the other half can check it.
                self.bytes_left = self.pass_bytes
                self.may_repeat = self.pass_bytes > self.region_bytes
                if self.options.time_based and not self.reads_back:
                    self.bytes_left = <uint64_t>-1
                    self.may_repeat = True
                if self.options.is_replayed:
                    self.bytes_left = <uint64_t>-1
                    self.replay.rewind(now_ns(&self.page.clock))
                self.ios_left = budget
                self.has_begun = False
                left = self.ios_left
                end = deadline
                if deadline and self.reads_back:
                    now = max(now_ns(&self.page.clock), self.epoch_ns)
                    end = now + max((deadline - now) // 2 if deadline > now else 0, <uint64_t>SHORTEST_ROUND_NS)
                self.enter(RunState.RAMP if self.is_ramping else RunState.RUNNING)
                if self.options.verify_only and self.integrity.is_logged:
                    self.run_dry()
                else:
                    self.phase(False, end)
                budget -= left - self.ios_left
                is_wanted = self.reads_back and not slot_get(&self.page.stop) and not self.has_failed()
                if (self.options.verify_only and self.integrity.trim_backlog and budget
                        and _loop + 1 < self.options.loops):
                    is_wanted = False  # each loop trims other blocks; what the last has left is on the disk
                if self.has_written and not self.failure.error and (self.options.end_fsync or is_wanted):
                    self.sync_target()
                if is_wanted and not self.failure.error:
                    self.advise(POSIX_FADV_DONTNEED)
                    # May outlast the runtime by as much as the writing took at most.
                    self.check(deadline + 500 * self.options.runtime if deadline else 0)
                if self.reads_back:
                    self.integrity.end_check()
                now = now_ns(&self.page.clock)
                # A round in which nothing could be begun would be followed by another such.
                if (not self.options.time_based or self.is_scrub or not budget or not self.has_begun
                        or self.is_done(now, deadline)):
                    break
            if not budget or self.is_done(now, deadline):
                break
        if self.reads_back:
            slot_set(&self.page.unverified_bytes, self.integrity.unverified_bytes())
        if self.options.fsync_on_close and self.has_written:
            self.sync_target()
        if not deadline or now < deadline:
            # At the end of their time all jobs of a flow leave at once, but for some milliseconds, in which the last
            # would run free: the agent takes those out.
            flow_leave(&self.flow)
        self.enter(RunState.FINISHING)
        slot_set(&self.page.ended_ns, now_ns(&self.page.clock))

    cdef void check(self, uint64_t end_ns) noexcept nogil:
        """Read back what was written and not yet checked."""
        self.bytes_left = <uint64_t>-1
        self.ios_left = <uint64_t>-1
        self.integrity.start_check()
        self.has_checked = True
        self.enter(RunState.VERIFYING)
        self.phase(True, end_ns)
        self.enter(RunState.RUNNING)

    cdef bint is_done(self, uint64_t now, uint64_t deadline) noexcept nogil:
        return (self.has_failed() or self.is_full or self.is_answered
                or slot_get(&self.page.stop) or (deadline and now >= deadline))

    cdef bint has_failed(self) noexcept nogil:
        return self.failure.error != 0 or self.is_corrupt or self.rates.is_missed

    cdef void run_dry(self) noexcept nogil:
        """verify_only: book the writes of a pass as if they had been made."""
        cdef io_u *io = &self.ios[0]
        cdef piece drawn
        cdef int ddir = READ
        cdef uint64_t index
        while ddir >= 0:
            ddir = self.draw_dry(&drawn)
            if ddir > READ:
                io.ddir = <uint8_t>ddir
                io.file = <uint16_t>drawn.file
                io.offset = drawn.offset
                io.length = io.block_length = drawn.length
                self.integrity.begin(io, True)
                if ddir == WRITE:
                    self.integrity.finish(io, io.numberio)
                else:
                    self.integrity.trimmed(io)
            self.trim_dry(False)
        self.trim_dry(True)
        for index in range(self.vouched.doubtful_count):
            drawn = self.vouched.doubtful[index]
            io.ddir = WRITE
            io.file = <uint16_t>drawn.file
            io.offset = drawn.offset
            io.length = io.block_length = drawn.length
            self.integrity.finish(io, 0)

    cdef int draw_dry(self, piece *drawn) noexcept nogil:
        """The direction of the next I/O that is not made, and its place; -1 where the pass has no more."""
        cdef int ddir
        if not self.bytes_left or not self.ios_left or slot_get(&self.page.stop):
            return -1
        if self.vouched.is_loaded and self.vouched.seen == self.vouched.count:
            return -1
        ddir = next_ddir(&self.work)
        if not self.draw(ddir, drawn):
            return -1
        self.has_begun = True
        self.ios_left -= 1
        if ddir != TRIM or not self.options.is_trimwrite:  # of a pair only the write counts
            self.bytes_left -= min(self.bytes_left, <uint64_t>drawn.length)
        if ddir == (WRITE if self.options.does_write else READ):
            self.vouched.seen += 1
        return ddir

    cdef void retrace(self) noexcept nogil:
        """Go through the writes that the state file counts: where did those go whose outcome it leaves open?"""
        cdef uint64_t budget = self.options.number_ios or <uint64_t>-1, _loop
        cdef int ddir, counted = WRITE if self.options.does_write else READ  # one that reads draws what the other wrote
        cdef piece drawn
        self.ios_left = budget
        for _loop in range(self.options.loops):
            workload_rewind(&self.work)
            self.bytes_left = self.pass_bytes
            self.may_repeat = self.pass_bytes > self.region_bytes
            self.has_begun = False
            while True:
                ddir = self.draw_dry(&drawn)
                if ddir < 0:
                    break
                if ddir == counted:
                    self.vouched.seen -= 1
                    self.vouched.note(&drawn)
        self.vouched.seen = 0

    cdef bint draw_vouched(self, int ddir, piece *drawn) noexcept nogil:
        """`draw` for a job that reads what the state file vouches for."""
        while self.vouched.seen < self.vouched.count and self.ios_left and self.bytes_left and self.draw(ddir, drawn):
            self.vouched.seen += 1
            if not self.vouched.doubts(drawn):
                return True
            self.has_begun = True
            self.ios_left -= 1
            self.bytes_left -= min(self.bytes_left, <uint64_t>drawn.length)
        return False

    cdef void trim_dry(self, bint is_last) noexcept nogil:
        """Book the trims that are due, as if they had been made."""
        cdef io_u *io = &self.ios[0]
        cdef piece drawn
        while self.integrity.trim_backlog and self.integrity.next_trim(is_last, &drawn):
            io.ddir = TRIM
            io.file = <uint16_t>drawn.file
            io.offset = drawn.offset
            io.length = io.block_length = drawn.length
            self.integrity.begin(io, True)
            self.integrity.trimmed(io)

    cdef void phase(self, bint is_checking, uint64_t end_ns) noexcept nogil:
        """Run until nothing is left to pick, `end_ns` (0: no bound), a fatal error or the stop word; then drain."""
        cdef const clock_source *clock = &self.page.clock
        cdef uint64_t now = now_ns(clock), issued_ns, wake_ns
        cdef bint is_sync = self.engine.is_sync
        cdef uint32_t count, room, fresh, index
        cdef int reaped
        cdef io_u *io
        cdef QueueStatus status
        self.is_checking = is_checking
        self.is_plain = self.is_usual and not is_checking
        self.is_over = False
        self.sync_due = 0
        self.phase_end_ns = end_ns
        self.next_check_ns = 0
        self.chosen_ddir = -1
        think_start(&self.think, now)
        if self.access_advice >= 0:
            self.advise(self.access_advice)
        elif self.access_advice == BY_DIRECTION:
            # Readahead would move what a random job never asks for; the check goes in order of offset.
            self.advise(POSIX_FADV_RANDOM if self.options.is_random and not is_checking else POSIX_FADV_SEQUENTIAL)
        pace_start(&self.pace, now)
        if self.search.is_on:
            search_begin(&self.search, max(now, self.epoch_ns))
        self.begin_phase(now)

        while True:
            if slot_get(&self.page.stop):
                self.is_over = True
            if now >= self.next_check_ns:
                self.look_up(now)
            if self.being_checked:
                self.collect(0)
            wake_ns = 0

            if is_sync:
                io = self.pick(now, &wake_ns) if self.free_count or self.again_count else NULL
                if io != NULL:
                    # The start of a verified block was stamped after its contents were made: that was just now.
                    io.issued_ns = io.start_ns if self.options.is_verified else now_ns(clock)
                    slot_set(&self.page.inflight_ns[io.index], io.issued_ns)
                    self.engine.queue(io)
                    now = now_ns(clock)
                    self.complete(io, now)
                    # A check or a log took longer than a look at the clock does.
                    if self.restamps or (self.options.is_verified and io.ddir == READ):
                        now = now_ns(clock)
                    continue
            else:
                count = 0
                io = NULL
                room = 0
                if not self.is_draining and self.in_flight < self.depth_limit:
                    room = min(self.submit_most, self.depth_limit - self.in_flight)
                while count < room and (self.free_count or self.again_count):
                    io = self.pick(now, &wake_ns)
                    if io == NULL:
                        break
                    if io.ddir >= TRIM:
                        # An engine may make it at once: a disk that hangs then must be seen to.
                        slot_set(&self.page.inflight_ns[io.index], now)
                    status = self.engine.queue(io)
                    if status == QUEUED:
                        self.batch[count] = io
                        count += 1
                    elif status == BUSY:
                        slot_set(&self.page.inflight_ns[io.index], 0)
                        self.again[self.again_count] = io
                        self.again_count += 1
                        break
                    else:
                        # A verified block was stamped after `now`, when its contents had been made.
                        io.issued_ns = max(now, io.start_ns)
                        if self.is_fresh(io):
                            slot_add(&self.page.depth_level[depth_index(self.in_flight + count + 1)], 1)
                        now = now_ns(clock)
                        self.complete(io, now)
                        if now >= self.next_check_ns or slot_get(&self.page.stop):
                            break
                if count:
                    # Stamped before the system call that submits the batch: see docs/adr/0004.
                    issued_ns = now_ns(clock)
                    fresh = 0
                    for index in range(count):
                        self.batch[index].issued_ns = issued_ns
                        slot_set(&self.page.inflight_ns[self.batch[index].index], issued_ns)
                        fresh += self.is_fresh(self.batch[index])
                    self.in_flight += count
                    slot_add(&self.page.depth_level[depth_index(self.in_flight)], fresh)
                    slot_add(&self.page.submits[batch_index(count)], 1)
                if self.in_flight:
                    wake_ns = min(wake_ns, self.next_check_ns) if wake_ns else 0
                    if wake_ns:
                        wake_ns = wake_ns - now if wake_ns > now else 1
                    reaped = self.engine.reap(self.wanted(io), self.reap_most, wake_ns)
                    now = now_ns(clock)
                    if reaped < 0:
                        self.fail_engine(-reaped)
                        break
                    if reaped:
                        slot_add(&self.page.completes[batch_index(<uint32_t>reaped)], 1)
                    self.in_flight -= <uint32_t>reaped
                    for index in range(<uint32_t>reaped):
                        self.complete(self.engine.events[index], now)
                    if self.restamps or self.options.is_verified:
                        now = now_ns(clock)
                    continue
                if self.again_count or self.is_draining:
                    self.is_draining = False
                    continue

            # Nothing is in flight.
            if self.being_checked:
                self.collect(CHECK_WAIT_NS)
                now = now_ns(clock)
            elif wake_ns:
                now = sleep_until(clock, min(wake_ns, self.next_check_ns), &self.page.stop)
            elif self.is_quiescing:
                self.search_on(now)
            elif self.is_scrub and io == NULL and not self.has_failed() and self.scrub.go_on():
                now = now_ns(clock)
            elif (self.think.pause_ns and not is_checking and self.ios_left and self.bytes_left and not self.is_over
                    and think_is_due(&self.think, now)):
                pace_paused(&self.pace, think_pause(&self.think, clock, self.phase_end_ns, &self.page.stop))
                now = now_ns(clock)
            elif io == NULL:
                break
        while self.being_checked:  # the engine has failed, and the checkers have what came before
            self.collect(CHECK_WAIT_NS)
        self.end_phase(now_ns(clock))

    cdef inline bint is_fresh(self, const io_u *io) noexcept nogil:
        """Whether an I/O counts among the depths: no sync, no rest of a short one."""
        return io.ddir <= TRIM and io.length == io.block_length

    cdef inline uint32_t wanted(self, const io_u *last) noexcept nogil:
        """For how many completions to wait, after `last` (NULL: none) was picked."""
        if self.is_batching:
            if self.options.iodepth_low:
                self.is_draining = self.in_flight > (
                    self.options.iodepth_low if self.is_draining else self.depth_limit - 1)
            # Where there is more to submit, and room, nothing is waited for.
            if last != NULL and self.free_count and self.in_flight < self.depth_limit and not self.is_draining:
                return 0
            return min(self.reap_least, self.in_flight)
        return 1

    cdef inline io_u *pick(self, uint64_t now, uint64_t *wake_ns) noexcept nogil:
        """The next I/O, ready to be queued.

        NULL when there is none: `wake_ns` then says when to ask again, or stays 0 when that depends on
        what is in flight, or when the phase has no more.
        """
        cdef io_u *io
        cdef int ddir
        cdef piece drawn
        if not self.is_plain or self.again_count or self.is_over or not self.ios_left or not self.bytes_left:
            return self.pick_any(now, wake_ns)
        ddir = next_ddir(&self.work)
        if not next_piece(&self.work, ddir, &drawn) and not self.draw(ddir, &drawn):
            self.bytes_left = 0
            return NULL
        io = self.take_slot(<uint8_t>ddir, &drawn)
        io.start_ns = now
        if ddir == WRITE:
            contents_write(&self.contents, io.buf, io.length, io.offset, now)
            self.has_written = True
        self.has_begun = True
        self.ios_left -= 1
        self.bytes_left -= min(self.bytes_left, <uint64_t>io.length)
        return io

    cdef io_u *pick_any(self, uint64_t now, uint64_t *wake_ns) noexcept nogil:
        """The same with everything that few jobs ask for."""
        cdef io_u *io
        cdef int ddir = -1 if self.is_checking else self.drawn_ddir
        cdef uint64_t due_ns = now, generation = 0
        cdef bint is_trimmed = False
        cdef piece drawn
        if self.again_count:
            self.again_count -= 1
            return self.again[self.again_count]
        if self.is_scrub:
            return self.pick_scrub(now, wake_ns)
        if self.is_over or self.is_quiescing:
            return NULL
        if self.sync_due:
            return self.pick_sync(now)
        if self.has_backlog and not self.is_checking:
            io = self.pick_backlog(now)
            if io != NULL:
                return io
        if not self.ios_left or not self.bytes_left:
            return NULL
        if self.is_held(now, wake_ns):
            return NULL
        if self.options.is_replayed and not self.is_checking:
            return self.pick_replayed(now, wake_ns)

        if ddir >= 0:
            drawn = self.drawn
            due_ns = self.drawn_due_ns
        else:
            ddir = READ if self.is_checking else self.choose(now)
            if self.pace.is_on:
                due_ns = pace_due_ns(&self.pace, ddir)
                if due_ns > now:
                    wake_ns[0] = due_ns
                    return NULL
                due_ns = due_ns or now
            if self.is_checking:
                if not self.integrity.next_unchecked(&drawn, &generation, &is_trimmed):
                    self.bytes_left = 0
                    return NULL
            elif not (self.draw_vouched(ddir, &drawn) if self.vouched.is_loaded else self.draw(ddir, &drawn)):
                self.bytes_left = 0
                # The last trims are due now.
                return self.pick_backlog(now) if self.has_backlog else NULL
            self.chosen_ddir = -1
        if self.has_conflicts and not self.is_checking and self.is_taken(ddir, &drawn):
            # Two writes of one block under way would leave open which one it holds: let the first end.
            self.drawn_ddir = ddir
            self.drawn = drawn
            self.drawn_due_ns = due_ns
            if self.integrity.is_shared:
                self.wait_for_others(now, wake_ns)
            return NULL
        if not self.is_checking:
            self.drawn_ddir = -1
            self.blocked_ns = 0

        io = self.take_slot(<uint8_t>ddir, &drawn)
        io.start_ns = now
        if self.pace.is_on:
            self.due_ns[io.index] = due_ns
            pace_issued(&self.pace, ddir, drawn.length, now)
        flow_note(&self.flow)
        if ddir == READ:
            if self.checks_reads or self.is_checking:
                io.numberio = generation
                io.flags |= IO_VERIFIED | (IO_TRIMMED if is_trimmed else 0)
            elif self.integrity.is_expecting:
                self.integrity.watch(io)
        elif ddir == WRITE:
            if self.options.is_verified:
                self.integrity.begin(io, False)
                io.start_ns = now_ns(&self.page.clock)
                if self.keeps_outcomes:
                    self.outcomes.issue(io.index)
            else:
                contents_write(&self.contents, io.buf, io.length, io.offset, now)
                if self.contents.making == REMAKE:
                    io.start_ns = now_ns(&self.page.clock)
            self.count_write(&drawn)
        elif self.integrity.is_logged:
            self.integrity.begin(io, False)
        self.has_begun = True
        self.ios_left -= 1
        if ddir != TRIM or not self.options.is_trimwrite:  # of a pair only the write counts
            self.bytes_left -= min(self.bytes_left, <uint64_t>drawn.length)
        if self.think.pause_ns:
            think_issued(&self.think)
        if self.is_recorded:
            self.recorder.note(io, now)
        return io

    cdef void wait_for_others(self, uint64_t now, uint64_t *wake_ns) noexcept nogil:
        """A block to be written is in the hands of another job: look again, and give it up if that job has died."""
        self.blocked_ns = self.blocked_ns or now
        if elapsed(self.blocked_ns, now) > LONGEST_BLOCKED_NS:
            self.drawn_ddir = -1
            self.blocked_ns = 0
        wake_ns[0] = now + BLOCKED_LOOK_NS

    cdef io_u *pick_replayed(self, uint64_t now, uint64_t *wake_ns) noexcept nogil:
        cdef io_u *io
        cdef replay_step step
        cdef piece drawn
        if self.replay.is_over():
            if not self.options.time_based:
                self.bytes_left = 0
                return NULL
            self.replay.rewind(now)
        if not self.replay.next(now, &step, wake_ns):
            return NULL
        drawn = piece(offset=step.offset, length=step.length, file=step.file)
        io = self.take_slot(step.ddir, &drawn)
        io.start_ns = now
        self.due_ns[io.index] = step.due_ns
        if io.ddir == WRITE:
            contents_write(&self.contents, io.buf, io.length, io.offset, now)
            self.count_write(&drawn)
        flow_note(&self.flow)
        if self.think.pause_ns:
            think_issued(&self.think)
        self.has_begun = True
        self.ios_left -= 1
        if self.is_recorded:
            self.recorder.note(io, now)
        return io

    cdef inline bint is_held(self, uint64_t now, uint64_t *wake_ns) noexcept nogil:
        """Whether something other than a rate keeps the next I/O from starting."""
        if self.think.pause_ns and not self.is_checking and think_is_due(&self.think, now):
            return True
        if flow_is_ahead(&self.flow):
            wake_ns[0] = now + self.flow.sleep_ns
            return True
        return False

    cdef inline int choose(self, uint64_t now) noexcept nogil:
        """The direction of the next I/O; stays the same until that I/O is picked."""
        cdef int ddir = self.chosen_ddir
        if ddir < 0:
            ddir = next_ddir(&self.work)
        if self.pace.is_on and self.is_mixed and pace_due_ns(&self.pace, ddir) > now:
            # The other direction may be behind its own rate.
            if pace_due_ns(&self.pace, 1 - ddir) < pace_due_ns(&self.pace, ddir):
                ddir = 1 - ddir
        self.chosen_ddir = ddir
        return ddir

    cdef bint draw(self, int ddir, piece *drawn) noexcept nogil:
        """Where the next I/O goes; False when the pass is over and no other may follow."""
        cdef bint is_new = False
        while not next_piece(&self.work, ddir, drawn):
            # A round that begins where the last pass ended begins another.
            if is_new or (self.has_begun and not self.may_repeat):
                return False
            workload_pass(&self.work)
            is_new = True
        return True

    cdef bint is_taken(self, int ddir, const piece *drawn) noexcept nogil:
        """Whether an I/O in flight stands in the way of this one."""
        cdef uint32_t index
        cdef const io_u *io
        if self.options.serialize_overlap:
            for index in range(self.depth):
                io = &self.ios[index]
                if (io.flags & IO_OUT and io.file == drawn.file and io.offset < drawn.offset + drawn.length
                        and drawn.offset < io.offset + io.length):
                    return True
        # Last: units that others may want are taken by this.
        return ddir != READ and self.integrity.is_logged and self.integrity.is_taken(drawn)

    cdef io_u *pick_scrub(self, uint64_t now, uint64_t *wake_ns) noexcept nogil:
        """The next I/O of a scrub; NULL also between its stages, which begin when nothing is in flight.

        When its time is over it makes an end of the window that is under way. Its rate, that of the reads, is for
        reads and writes together.
        """
        cdef io_u *io
        cdef piece drawn
        cdef int ddir = -1
        cdef uint64_t due_ns = now
        if self.has_failed():
            return NULL
        if self.is_over:
            self.scrub.wind_down(slot_get(&self.page.stop) != 0)
        elif self.pace.is_on:
            due_ns = pace_due_ns(&self.pace, READ)
            if due_ns > now:
                wake_ns[0] = due_ns
                return NULL
            due_ns = due_ns or now
        if not self.scrub.next_piece(&drawn, &ddir):
            return NULL
        io = self.take_slot(<uint8_t>ddir, &drawn)
        io.start_ns = now
        if self.pace.is_on and ddir <= WRITE:
            self.due_ns[io.index] = due_ns
            pace_issued(&self.pace, READ, drawn.length, now)
        if ddir == WRITE:
            self.scrub.stamp(io)
            io.start_ns = now_ns(&self.page.clock)
        self.has_begun = True
        return io

    cdef io_u *pick_sync(self, uint64_t now) noexcept nogil:
        cdef io_u *io
        cdef piece drawn = self.last_written
        drawn.length = 0
        if self.sync_due == SYNC_RANGE:
            drawn.offset = self.dirty_start
            drawn.length = <uint32_t>min(self.dirty_end - self.dirty_start, <uint64_t>0xFFFFFFFF)
            self.dirty_end = 0
        io = self.take_slot(self.sync_due, &drawn)
        if self.keeps_outcomes and io.ddir != <uint8_t>SYNC_RANGE and self.targets.count == 1:  # one file is synced
            self.outcomes.begin_sync(io.index)
        self.sync_due = 0
        io.start_ns = now
        if self.is_recorded:
            self.recorder.note(io, now)
        return io

    cdef io_u *pick_backlog(self, uint64_t now) noexcept nogil:
        """A block that verify_backlog wants to see again, or that trim_backlog wants gone; NULL when none is due."""
        cdef io_u *io
        cdef piece drawn
        cdef uint64_t generation = 0
        cdef bint is_trimmed = False
        if self.integrity.verify_backlog and self.integrity.next_backlog(&drawn, &generation, &is_trimmed):
            io = self.take_slot(READ, &drawn)
            io.numberio = generation
            io.flags |= IO_VERIFIED | IO_BACKLOG | (IO_TRIMMED if is_trimmed else 0)
        elif self.integrity.trim_backlog and self.integrity.next_trim(not self.ios_left or not self.bytes_left, &drawn):
            io = self.take_slot(TRIM, &drawn)
            self.integrity.begin(io, False)
        else:
            return NULL
        io.start_ns = now
        if self.pace.is_on:
            self.due_ns[io.index] = now
        if self.is_recorded:
            self.recorder.note(io, now)
        return io

    cdef inline io_u *take_slot(self, uint8_t ddir, const piece *drawn) noexcept nogil:
        cdef io_u *io
        cdef const target_file *file = &self.targets.files[drawn.file]
        if READ < ddir <= TRIM and (
                drawn.offset < file.start or drawn.offset + drawn.length > file.start + file.length):
            # Never seen; but what is beside the region is somebody's data.
            die_rather_than_write()
        self.free_count -= 1
        io = self.free[self.free_count]
        io.ddir = ddir
        io.file = <uint16_t>drawn.file
        io.offset = drawn.offset
        io.length = io.block_length = drawn.length
        io.numberio = 0
        io.flags = IO_OUT
        return io

    cdef inline void count_write(self, const piece *drawn) noexcept nogil:
        self.has_written = True
        self.last_written = drawn[0]
        if not self.syncs:
            return
        self.unsynced_writes += 1
        if self.range_writes:
            self.dirty_start = min(self.dirty_start, drawn.offset) if self.dirty_end else drawn.offset
            self.dirty_end = max(self.dirty_end, drawn.offset + drawn.length)
        if self.options.fsync and not self.unsynced_writes % self.options.fsync:
            self.sync_due = SYNC
        elif self.options.fdatasync and not self.unsynced_writes % self.options.fdatasync:
            self.sync_due = DATASYNC
        elif self.range_writes and not self.unsynced_writes % self.range_writes:
            self.sync_due = SYNC_RANGE

    cdef inline void release(self, io_u *io) noexcept nogil:
        io.buf -= io.block_length - io.length  # what of the block had been transferred
        if io.flags & IO_OUT:
            self.leave(io)
        io.flags = 0
        self.free[self.free_count] = io
        self.free_count += 1

    cdef inline void leave(self, io_u *io) noexcept nogil:
        """An I/O is not the engine's any more: another may have its slot."""
        slot_set(&self.page.inflight_ns[io.index], 0)
        io.flags &= ~<int>IO_OUT

    cdef inline void complete(self, io_u *io, uint64_t now) noexcept nogil:
        """Take an I/O back from the engine: count it, check it, or offer the rest of it again."""
        if io.result != io.length or io.ddir > TRIM or io.length != io.block_length:
            self.complete_odd(io, now)
            return
        self.account(io, now, io.length)
        if not self.settles or self.settle(io):
            self.release(io)

    cdef void complete_odd(self, io_u *io, uint64_t now) noexcept nogil:
        """The completions that are not one whole block: errors, short transfers, syncs."""
        if io.result == -ECANCELED and (self.failure.error or slot_get(&self.page.stop)):
            # Taken back by stop_early, or given up by an engine that was told to stop: no word of the disk's.
            self.forget(io)
            if self.is_scrub:
                self.scrub.is_given_up = True
            self.release(io)
        elif io.result < 0:
            self.fail(io, <int>-io.result)
        elif io.ddir > TRIM:
            if io.start_ns >= self.epoch_ns:
                slot_add(&self.page.counter[<int>Counter.IOS][<int>SYNC], 1)
                record(&self.page.latency[<int>Latency.LAT][<int>SYNC], elapsed(io.start_ns, now), 1)
            if self.keeps_outcomes:
                self.outcomes.end_sync(io.index, True)
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
            if not self.settles or self.settle(io):
                self.release(io)

    cdef inline void account(self, io_u *io, uint64_t now, uint32_t length) noexcept nogil:
        cdef int ddir = io.ddir
        if not self.measures_all:
            self.account_some(io, now, length)
        elif io.start_ns >= self.epoch_ns:
            slot_add(&self.page.counter[<int>Counter.IOS][ddir], 1)
            slot_add(&self.page.counter[<int>Counter.BYTES][ddir], length)
            record(&self.page.latency[<int>Latency.SLAT][ddir], elapsed(io.start_ns, io.issued_ns), 1)
            record(&self.page.latency[<int>Latency.CLAT][ddir], elapsed(io.issued_ns, now), 1)
            record(&self.page.latency[<int>Latency.LAT][ddir], elapsed(io.start_ns, now), 1)

    cdef void account_some(self, io_u *io, uint64_t now, uint32_t length) noexcept nogil:
        """The same for jobs that want less of it, or more."""
        cdef int ddir = io.ddir
        if io.start_ns < self.epoch_ns or self.is_idle:
            return
        slot_add(&self.page.counter[<int>Counter.IOS][ddir], 1)
        slot_add(&self.page.counter[<int>Counter.BYTES][ddir], length)
        if not self.skips_slat:
            record(&self.page.latency[<int>Latency.SLAT][ddir], elapsed(io.start_ns, io.issued_ns), 1)
        if not self.skips_clat:
            record(&self.page.latency[<int>Latency.CLAT][ddir], elapsed(io.issued_ns, now), 1)
        if not self.skips_lat:
            record(&self.page.latency[<int>Latency.LAT][ddir], elapsed(io.start_ns, now), 1)
        if self.is_watched:
            self.watch(io, now)

    cdef void watch(self, io_u *io, uint64_t now) noexcept nogil:
        """What few jobs want to know of each I/O."""
        cdef uint64_t took_ns = elapsed(io.start_ns, now)
        if self.search.is_on and not self.is_checking:
            search_note(&self.search, took_ns)
            self.steer(now)
        if self.logs.is_wanted:
            self.logs.note(io, now)
        if self.pace.is_on or self.options.is_replayed:
            record(&self.page.latency[<int>Latency.RESPONSE][io.ddir], elapsed(self.due_ns[io.index], now), 1)
        if self.options.max_latency[io.ddir] and took_ns > 1000 * self.options.max_latency[io.ddir]:
            if not self.failure.error:
                self.failure.error = ETIMEDOUT
                self.failure.ddir = io.ddir
                self.failure.offset = io.offset
                self.failure.length = io.block_length
                self.failure.took_ns = took_ns
                self.is_over = True

    cdef bint settle(self, io_u *io) noexcept nogil:
        """Book a whole write or trim, or have a block that was read judged. False: a checker keeps it."""
        if self.is_scrub:
            if io.ddir == READ:
                self.scrub.check(io)
        elif io.ddir == WRITE:
            self.integrity.finish(io, io.numberio)
            if self.keeps_outcomes:
                self.outcomes.complete(io.index, io.file, io.offset)
        elif io.ddir == TRIM:
            if self.integrity.is_logged:
                self.integrity.trimmed(io)
        elif io.flags & IO_VERIFIED and self.integrity.admit(io):
            if self.has_checkers:
                self.leave(io)
                self.checkers.give(io)
                self.being_checked += 1
                return False
            if not self.integrity.is_good(io, self.integrity.scratch):
                self.judge(io)
        return True

    cdef void judge(self, io_u *io) noexcept nogil:
        """Say what is wrong with a block, and end the job where that is asked for."""
        self.integrity.judge(io)
        if self.options.verify_fatal and not self.may_pass(EILSEQ, PASS_VERIFY):
            self.is_corrupt = True
            self.is_over = True

    cdef void collect(self, uint64_t wait_ns) noexcept nogil:
        """Take back what the checkers are done with, after waiting for the first of them."""
        cdef bint is_wrong = False
        cdef io_u *io = self.checkers.take(wait_ns, &is_wrong)
        while io != NULL:
            self.being_checked -= 1
            if is_wrong:
                self.judge(io)
            self.release(io)
            io = self.checkers.take(0, &is_wrong)

    cdef inline void forget(self, const io_u *io) noexcept nogil:
        """What a write that failed has left behind is unknown: nothing to check."""
        if self.integrity.is_logged and (io.ddir == WRITE or io.ddir == TRIM):
            self.integrity.finish(io, 0)
        if self.keeps_outcomes:
            if io.ddir == WRITE:
                self.outcomes.fail(io.index)
            else:
                self.outcomes.end_sync(io.index, False)

    cdef bint may_pass(self, int error, unsigned kind) noexcept nogil:
        """Whether continue_on_error, with ignore_error's list where there is one, lets an error pass."""
        cdef int index, which = 0 if kind == PASS_READ else 1 if kind == PASS_WRITE else 2
        if not self.options.passed & kind:
            return False
        for index in range(self.ignored_count[which]):
            if self.ignored[which][index] == error:
                return True
        return self.ignored_count[which] == 0

    cdef void fail(self, io_u *io, int error) noexcept nogil:
        """Count an I/O that returned an error, and end the job unless that error may pass."""
        cdef int ddir = min(<int>io.ddir, <int>SYNC)
        cdef bint is_gone = self.is_gone(io.file)
        if is_gone:
            error = ENODEV
        self.forget(io)
        slot_set(&self.page.inflight_ns[io.index], 0)  # nothing to be taken back
        if error == ENOSPC and self.options.fill_device and io.ddir == WRITE:
            self.is_full = True
            self.is_over = True
        else:
            slot_add(&self.page.errors[ddir][error if error < <int>ERRNO_COUNT else 0], 1)
            slot_add(&self.page.counter[<int>Counter.IOS][ddir], 1)
            slot_add(&self.page.total_errors, 1)
            slot_set(&self.page.first_error, slot_get(&self.page.first_error) or <uint64_t>error)
            if self.is_scrub and not is_gone and self.scrub.failed(io, error):
                pass  # counted, and the scrub goes on to its other blocks
            elif not self.failure.error and (
                    is_gone or not self.may_pass(error, PASS_READ if io.ddir == READ else PASS_WRITE)):
                self.failure.error = error
                self.failure.ddir = io.ddir
                self.failure.offset = io.offset
                self.failure.length = io.length
                self.stop_early()
        self.release(io)

    cdef bint is_gone(self, uint32_t index) noexcept nogil:
        """Whether the device of an I/O that went wrong is there no more: whatever was said of the I/O, that is why."""
        cdef const target_file *file = &self.targets.files[index]
        return file.is_device and has_gone(file.fd)

    cdef void stop_early(self) noexcept nogil:
        """A fatal error: pick no more, drop what waits to be offered again, take back what is in flight."""
        cdef uint32_t index
        self.is_over = True
        while self.again_count:
            self.again_count -= 1
            self.forget(self.again[self.again_count])
            self.release(self.again[self.again_count])
        if self.engine.is_sync:
            return
        for index in range(self.depth):
            if self.ios[index].flags & IO_OUT and slot_get(&self.page.inflight_ns[self.ios[index].index]):
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
        if self.keeps_outcomes:
            self.outcomes.begin_sync(NO_SLOT)
        for file in range(self.targets.count):
            while not error and self.targets.files[file].fd >= 0:
                error = -self.engine.flush(file)
                if error != EINTR or slot_get(&self.page.stop):
                    break
                error = 0
            if error and error != EINTR and self.is_gone(file):
                error = ENODEV
                break
        slot_set(&self.page.inflight_ns[0], 0)
        if self.keeps_outcomes:
            self.outcomes.end_sync(NO_SLOT, not error)
        if error and error != EINTR:
            slot_add(&self.page.errors[<int>SYNC][error if error < <int>ERRNO_COUNT else 0], 1)
            slot_add(&self.page.total_errors, 1)
            slot_set(&self.page.first_error, slot_get(&self.page.first_error) or <uint64_t>error)
            if not self.may_pass(error, PASS_WRITE) and not self.failure.error:
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

    cdef void steer(self, uint64_t now) noexcept nogil:
        """latency_target: do what follows from the I/Os so far."""
        cdef SearchAction action = search_look(&self.search, now)
        if action == SEARCH_CHANGED or action == SEARCH_SETTLED:
            self.is_quiescing = True
            self.is_settled = action == SEARCH_SETTLED
        elif action == SEARCH_DONE:
            self.is_answered = True
            self.is_over = True
        elif action == SEARCH_FAILED and not self.failure.error:
            self.failure.error = ETIMEDOUT
            self.failure.ddir = <uint8_t>-1
            self.is_over = True

    cdef void search_on(self, uint64_t now) noexcept nogil:
        """Nothing is in flight any more: go on at the new depth."""
        self.is_quiescing = False
        if self.is_settled:
            self.forget_figures(now)
            self.is_settled = False
        search_begin(&self.search, now)
        self.limit_depth(self.search.depth)

    cdef void forget_figures(self, uint64_t now) noexcept nogil:
        """Measure anew from here: what was before has led to a depth, and is not what is asked for."""
        cdef int kind, ddir
        for ddir in range(DDIR_COUNT):
            for kind in range(COUNTER_COUNT):
                slot_set(&self.page.counter[kind][ddir], 0)
            for kind in range(LATENCY_COUNT):
                clear(&self.page.latency[kind][ddir])
            slot_set(&self.page.runtime_ns[ddir], 0)
            memset(&self.page.bw[ddir], 0, sizeof(rate_samples))
            memset(&self.page.iops[ddir], 0, sizeof(rate_samples))
        for ddir in range(3):
            pace_forget(&self.pace, ddir)
        self.forget_depths()
        self.epoch_ns = now
        slot_set(&self.page.epoch_ns, now)
        if self.page.phase_ns:
            slot_set(&self.page.phase_ns, now)
        rates_start(&self.rates, &self.options, now)

    cdef void forget_depths(self) noexcept nogil:
        cdef int kind
        for kind in range(DEPTH_COUNT):
            self.page.depth_level[kind] = self.page.submits[kind] = self.page.completes[kind] = 0

    cdef void enter(self, int state) noexcept nogil:
        slot_set(&self.page.state, <uint64_t>state)

    cdef void begin_phase(self, uint64_t now) noexcept nogil:
        cdef bint reads = self.options.does_read or self.integrity.verify_backlog
        cdef bint trims = self.options.does_trim or self.integrity.trim_backlog
        cdef uint64_t ddirs = (reads << <int>READ) | (self.options.does_write << <int>WRITE) | (trims << <int>TRIM)
        slot_set(&self.page.phase_ddirs, <uint64_t>(1 << <int>READ) if self.is_checking else ddirs)
        slot_set(&self.page.phase_ns, 0 if self.is_ramping else now)
        if not self.page.first_io_ns:
            slot_set(&self.page.first_io_ns, now)

    cdef void end_phase(self, uint64_t now) noexcept nogil:
        cdef int ddir
        cdef uint64_t begun_ns = self.page.phase_ns, ios = 0
        self.tell_dropped()
        for ddir in range(3):
            ios += self.page.counter[<int>Counter.IOS][ddir]
            if begun_ns and self.page.phase_ddirs & (1 << ddir):
                slot_add(&self.page.runtime_ns[ddir], now - begun_ns)
        slot_set(&self.page.phase_ns, 0)
        if self.engine.is_sync:
            # Always one deep: counted here rather than in the loop.
            self.page.depth_level[0] = self.page.submits[1] = self.page.completes[1] = ios

    cdef void tell_dropped(self) noexcept nogil:
        cdef int ddir
        for ddir in range(3):
            slot_set(&self.page.counter[<int>Counter.DROPPED_IOS][ddir], pace_dropped(&self.pace, ddir))

    cdef void begin_measuring(self, uint64_t now) noexcept nogil:
        """The ramp is over: what starts from now on counts."""
        if self.is_ramping:
            self.is_ramping = False
            self.forget_depths()
        slot_set(&self.page.epoch_ns, self.epoch_ns)
        slot_set(&self.page.phase_ns, now)
        self.enter(RunState.VERIFYING if self.is_checking else RunState.RUNNING)

    cdef void look_up(self, uint64_t now) noexcept nogil:
        """What needs no look at every I/O: the ends of ramp and phase, samples, minimum rates."""
        cdef uint64_t next_ns = now + LONGEST_UNSEEN_NS, log_ns
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
            next_ns = min(next_ns, self.rates.next_look_ns)
        if self.pace.is_on:
            self.tell_dropped()
        if self.logs.is_wanted:
            log_ns = self.logs.look(self.page, now)
            if log_ns:
                next_ns = min(next_ns, log_ns)
        self.next_check_ns = max(next_ns, now + 1)

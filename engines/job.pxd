# One job, running: where it stands.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from iovigil.engines.depth_search cimport search
from iovigil.engines.io_u cimport io_u
from iovigil.engines.prepared_job cimport PreparedJob
from iovigil.engines.rates cimport rates
from iovigil.engines.workload cimport piece


cdef struct first_failure:
    int error
    uint8_t ddir
    uint64_t offset
    uint64_t length
    uint64_t took_ns  # of an I/O above max_latency


cdef class Job(PreparedJob):
    # The phase now running.
    cdef bint is_plain  # a usual job's own I/O
    cdef bint is_checking  # the verify phase: blocks come from the log
    cdef uint64_t ios_left  # still to be picked
    cdef bint may_repeat  # begin another pass where one has no more
    cdef uint64_t bytes_left  # beside ios_left it would be counted down together with it, which is slower
    cdef int drawn_ddir  # of a write drawn while its block is in flight; -1 is none
    cdef piece drawn
    cdef piece last_written
    cdef uint64_t drawn_due_ns
    cdef uint64_t blocked_ns  # since when that write waits for another job; 0: it does not
    cdef int chosen_ddir  # of the next I/O, while its time has not come; -1 is none
    cdef bint has_begun
    cdef bint has_checked  # the verify phase has begun
    cdef uint64_t unsynced_writes
    cdef uint64_t dirty_start  # written since the last sync_file_range
    cdef uint64_t dirty_end
    cdef uint8_t sync_due  # Ddir of a sync to issue, 0 is none
    cdef bint has_written
    cdef bint is_over  # no more picks: runtime, stop or a fatal error
    cdef bint is_full  # fill_device met the end of the target
    cdef bint is_corrupt  # verify_fatal met a mismatch

    # Time, in ns of the job's clock.
    cdef uint64_t epoch_ns
    cdef uint64_t phase_end_ns  # 0 is no bound
    cdef uint64_t next_check_ns
    cdef rates rates
    cdef bint is_ramping
    cdef first_failure failure
    cdef uint32_t in_flight
    cdef bint is_quiescing  # the search goes on when nothing is in flight
    cdef bint is_settled  # ... and measures from there
    cdef bint is_answered
    cdef uint32_t being_checked
    cdef bint is_draining  # iodepth_low

    cdef explain(self)
    cdef save_state(self)
    cdef bytes random_words(self)
    cdef void run_phases(self) noexcept nogil
    cdef void check(self, uint64_t end_ns) noexcept nogil
    cdef bint is_done(self, uint64_t now, uint64_t deadline) noexcept nogil
    cdef bint has_failed(self) noexcept nogil
    cdef void phase(self, bint is_checking, uint64_t end_ns) noexcept nogil
    cdef void run_dry(self) noexcept nogil
    cdef void retrace(self) noexcept nogil
    cdef int draw_dry(self, piece *drawn) noexcept nogil
    cdef bint draw_vouched(self, int ddir, piece *drawn) noexcept nogil
    cdef void trim_dry(self, bint is_last) noexcept nogil
    cdef bint is_fresh(self, const io_u *io) noexcept nogil
    cdef uint32_t wanted(self, const io_u *last) noexcept nogil
    cdef io_u *pick(self, uint64_t now, uint64_t *wake_ns) noexcept nogil
    cdef io_u *pick_any(self, uint64_t now, uint64_t *wake_ns) noexcept nogil
    cdef int choose(self, uint64_t now) noexcept nogil
    cdef bint draw(self, int ddir, piece *drawn) noexcept nogil
    cdef bint is_taken(self, int ddir, const piece *drawn) noexcept nogil
    cdef void wait_for_others(self, uint64_t now, uint64_t *wake_ns) noexcept nogil
    cdef io_u *pick_replayed(self, uint64_t now, uint64_t *wake_ns) noexcept nogil
    cdef io_u *pick_scrub(self, uint64_t now, uint64_t *wake_ns) noexcept nogil
    cdef io_u *pick_sync(self, uint64_t now) noexcept nogil
    cdef io_u *pick_backlog(self, uint64_t now) noexcept nogil
    cdef io_u *take_slot(self, uint8_t ddir, const piece *drawn) noexcept nogil
    cdef void count_write(self, const piece *drawn) noexcept nogil
    cdef void leave(self, io_u *io) noexcept nogil
    cdef void release(self, io_u *io) noexcept nogil
    cdef void complete(self, io_u *io, uint64_t now) noexcept nogil
    cdef void complete_odd(self, io_u *io, uint64_t now) noexcept nogil
    cdef void account(self, io_u *io, uint64_t now, uint32_t length) noexcept nogil
    cdef void account_some(self, io_u *io, uint64_t now, uint32_t length) noexcept nogil
    cdef void watch(self, io_u *io, uint64_t now) noexcept nogil
    cdef bint settle(self, io_u *io) noexcept nogil
    cdef void judge(self, io_u *io) noexcept nogil
    cdef void collect(self, uint64_t wait_ns) noexcept nogil
    cdef void forget(self, const io_u *io) noexcept nogil
    cdef bint may_pass(self, int error, unsigned kind) noexcept nogil
    cdef void advise(self, int advice) noexcept nogil
    cdef void fail(self, io_u *io, int error) noexcept nogil
    cdef bint is_gone(self, uint32_t index) noexcept nogil
    cdef bint has_lost_its_device(self)
    cdef str gone_hint(self)
    cdef void stop_early(self) noexcept nogil
    cdef void fail_engine(self, int error) noexcept nogil
    cdef void sync_target(self) noexcept nogil
    cdef bint is_held(self, uint64_t now, uint64_t *wake_ns) noexcept nogil
    cdef void steer(self, uint64_t now) noexcept nogil
    cdef void search_on(self, uint64_t now) noexcept nogil
    cdef void forget_figures(self, uint64_t now) noexcept nogil
    cdef void forget_depths(self) noexcept nogil
    cdef void tell_dropped(self) noexcept nogil
    cdef void enter(self, int state) noexcept nogil
    cdef void begin_phase(self, uint64_t now) noexcept nogil
    cdef void end_phase(self, uint64_t now) noexcept nogil
    cdef void begin_measuring(self, uint64_t now) noexcept nogil
    cdef void look_up(self, uint64_t now) noexcept nogil

# One job: its options, its I/Os, and where it stands.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport io_u
from iovigil.engines.job_options cimport job_options
from iovigil.engines.pace cimport pace
from iovigil.engines.rates cimport rates
from iovigil.engines.stats cimport StatsPage, stats_page
from iovigil.engines.target cimport TargetFiles
from iovigil.engines.verify cimport verdict, verify_format
from iovigil.engines.workload cimport piece, workload
from iovigil.engines.write_log cimport write_log


cdef struct first_failure:
    int error
    uint8_t ddir
    uint64_t offset
    uint64_t length


cdef class Job:
    cdef readonly StatsPage stats
    cdef stats_page *page
    cdef IoEngine engine
    cdef job_options options
    cdef TargetFiles targets
    cdef uint64_t min_bs  # of all directions that the job has
    cdef uint64_t max_bs
    cdef uint64_t region_bytes  # of all files
    cdef uint64_t pass_bytes  # to transfer in one loop

    cdef char *buffers
    cdef uint64_t buffers_size
    cdef char *scratch
    cdef io_u *ios
    cdef io_u **free
    cdef uint32_t free_count
    cdef io_u **again  # to be offered once more: refused for lack of room, or the rest of a short I/O
    cdef uint32_t again_count
    cdef io_u **batch  # queued since the last submission
    cdef uint32_t in_flight

    cdef workload work
    cdef pace pace
    cdef write_log log
    cdef verify_format form
    cdef uint64_t unit  # bytes under one verify header

    # The phase now running.
    cdef bint is_checking  # the verify phase: blocks come from the log
    cdef uint64_t ios_left  # still to be picked
    cdef uint64_t bytes_left
    cdef bint may_repeat  # begin another pass where one has no more
    cdef int drawn_ddir  # of a write drawn while its block is in flight; -1 is none
    cdef piece drawn
    cdef piece last_written
    cdef uint64_t think_left  # I/Os until the next pause
    cdef uint64_t unsynced_writes
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

    cdef int set_up(self, dict options, files, uint32_t number, location) except -1
    cdef bint uses(self, int ddir) noexcept
    cdef explain(self)
    cdef void run_phases(self) noexcept nogil
    cdef bint is_done(self, uint64_t now, uint64_t deadline) noexcept nogil
    cdef void phase(self, bint is_checking, uint64_t end_ns) noexcept nogil
    cdef io_u *pick(self, uint64_t now, uint64_t *wake_ns) noexcept nogil
    cdef io_u *take_slot(self, uint8_t ddir, const piece *drawn) noexcept nogil
    cdef void count_write(self) noexcept nogil
    cdef void release(self, io_u *io) noexcept nogil
    cdef void complete(self, io_u *io, uint64_t now) noexcept nogil
    cdef void complete_odd(self, io_u *io, uint64_t now) noexcept nogil
    cdef void account(self, io_u *io, uint64_t now, uint32_t length) noexcept nogil
    cdef void settle(self, io_u *io) noexcept nogil
    cdef uint64_t unit_of(self, const piece *drawn) noexcept nogil
    cdef bint next_to_check(self, piece *drawn, uint64_t *generation) noexcept nogil
    cdef void forget_write(self, const io_u *io) noexcept nogil
    cdef void advise(self, int advice) noexcept nogil
    cdef void note_mismatch(self, const io_u *io, uint64_t at, const verdict *answer) noexcept nogil
    cdef void fail(self, io_u *io, int error) noexcept nogil
    cdef void stop_early(self) noexcept nogil
    cdef void fail_engine(self, int error) noexcept nogil
    cdef void sync_target(self) noexcept nogil
    cdef void think(self) noexcept nogil
    cdef void enter(self, int state) noexcept nogil
    cdef void begin_phase(self, uint64_t now) noexcept nogil
    cdef void end_phase(self, uint64_t now) noexcept nogil
    cdef void begin_measuring(self, uint64_t now) noexcept nogil
    cdef void look_up(self, uint64_t now) noexcept nogil

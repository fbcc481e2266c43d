# A scrub: what of its region comes next, what each block must hold, and where it stands.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from iovigil.engines.findings cimport Findings
from iovigil.engines.io_u cimport io_u
from iovigil.engines.scrub_state cimport ScrubState
from iovigil.engines.stats cimport StatsPage, stats_page
from iovigil.engines.target cimport TargetFiles
from iovigil.engines.verify cimport verify_format
from iovigil.engines.workload cimport piece


# What of a window is under way. Nothing is in flight between two of these.
cdef enum Stage:
    OPENING = 0
    READING = 1
    WRITING = 2
    FLUSHING = 3
    SCRUB_OVER = 4


cdef enum Mark:
    MARK_REWRITE = 1  # whatever the block holds
    MARK_FAILED = 2  # to be written, and could not be


cdef class Scrub:
    cdef stats_page *page
    cdef Findings findings
    cdef ScrubState state
    cdef readonly list notes  # what people should know
    cdef str path  # of the state, for people
    cdef int fd  # of the target; -1: an engine without one
    cdef bint is_device
    cdef verify_format form
    cdef char *scratch[2]
    cdef uint8_t *marks  # of each block of the window
    cdef uint64_t window_most
    cdef uint32_t block_bytes
    cdef uint64_t start  # of the region
    cdef uint64_t blocks
    cdef uint64_t n  # for the cycles to come
    cdef int64_t period_s  # 0: no schedule, `cycles_left` ends the run
    cdef int64_t every_s
    cdef uint64_t cycles_left

    cdef int stage
    cdef uint64_t next
    cdef uint64_t end  # of the window, as far as this run works it off
    cdef bint is_in_doubt  # the window was under way when the last run ended
    cdef bint is_stopping
    cdef bint is_given_up  # an I/O of the window was taken back: the window stays open
    cdef bint has_written
    cdef bint has_found  # bad blocks, of which the state does not know yet
    cdef uint64_t errors
    cdef uint64_t failed_offset  # of the first of them
    cdef int failed_error
    cdef int failed_ddir
    cdef uint64_t newer_offset  # a block newer than the state
    cdef uint64_t newer_found
    cdef uint64_t newer_expected
    cdef bint is_newer
    cdef int error  # of writing the state

    cdef bint next_piece(self, piece *drawn, int *ddir) noexcept nogil
    cdef void stamp(self, io_u *io) noexcept nogil
    cdef void check(self, io_u *io) noexcept nogil
    cdef bint failed(self, const io_u *io, int error) noexcept nogil
    cdef void wind_down(self, bint at_once) noexcept nogil
    cdef bint go_on(self) noexcept nogil
    cdef str trouble(self)
    cdef sum_up(self, str error)

    cdef adopt(self, object identity, uint64_t inode, uint64_t born, uint64_t length, uint64_t now)
    cdef keep_identity(self, dict labels)
    cdef bint is_inhabited(self)
    cdef uint64_t block_at(self, uint64_t offset) noexcept nogil
    cdef uint64_t expected(self, uint64_t block) noexcept nogil
    cdef uint8_t *mark(self, uint64_t block) noexcept nogil
    cdef bint is_mix(self, const char *block, uint64_t offset, uint64_t older, uint64_t newer) noexcept nogil
    cdef bint open_window(self) noexcept nogil
    cdef bint close_window(self) noexcept nogil
    cdef void pass_to(self, uint64_t cursor, uint64_t now) noexcept nogil
    cdef uint64_t goal(self, uint64_t now) noexcept nogil
    cdef bint save(self) noexcept nogil
    cdef void tell(self) noexcept nogil
